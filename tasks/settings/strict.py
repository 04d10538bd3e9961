"""What every section of params.yaml is made of."""

from typing import Annotated

from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict

NONE = "none"  # stands for no labels, no run, no objective, no weights
Positive = Annotated[int, Gt(0)]
Natural = Annotated[int, Ge(0)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
