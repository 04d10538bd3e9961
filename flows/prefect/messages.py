"""What a stage's channel may say; see tasks/channel.py for how it is written.

A message that is not as it should be raises ValueError: whoever reads it leaves it out.
"""

import json
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from tasks.channel import MOST, visible

LONGEST = 1e9  # seconds still to go that anybody would believe


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Progress(_Message):
    """How far the stage is, and how long it still takes."""

    kind: Literal["progress"]
    fraction: Annotated[FiniteFloat, Field(ge=0, le=1)]
    text: str = ""
    eta: Annotated[FiniteFloat, Field(ge=0, le=LONGEST)] | None = None


class Metrics(_Message):
    """Figures of the moment; NaN and infinity may be among them."""

    kind: Literal["metrics"]
    values: dict[str, float]


class Table(_Message):
    """A few lines for people."""

    kind: Literal["table"]
    name: str
    rows: list[dict[str, str | int | float | bool | None]]


class Picture(_Message):
    """A file that the stage has written; the path is relative to the project."""

    kind: Literal["picture"]
    name: str
    path: str


_One: TypeAlias = Annotated[Progress | Metrics | Table | Picture, Field(discriminator="kind")]
_MESSAGE: TypeAdapter[_One] = TypeAdapter(_One)


def read(text: str) -> dict[str, Any]:
    """The message in `text`, with the control characters of names in it written out."""
    if len(text) > MOST:
        raise ValueError(f"longer than {MOST} characters")
    try:
        return _MESSAGE.validate_python(_shown(json.loads(text))).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, dict):
        return {visible(key): _shown(each) for key, each in value.items()}
    return value
