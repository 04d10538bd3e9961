"""params.yaml, typed: every key is known, every mistake is named with what is allowed."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from modalities.items import UserError
from tasks import options
from tasks.mistakes import Mistakes
from tasks.mistakes import nearest as nearest

PARAMS = Path("params.yaml")
MODALITIES = ("image",)

Positive = Annotated[int, Gt(0)]
Natural = Annotated[int, Ge(0)]


class Strict(BaseModel):
    """No unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class PlayroomShift(Strict):
    """A change of domain, for the splits that are named."""

    splits: list[Literal["labelled", "unlabelled", "val", "test"]] = []
    resolution: Annotated[float, Gt(0), Le(1)] = 1.0  # share of the side that is kept
    corruption: Literal["none", "noise", "blur", "contrast", "jpeg"] = "none"
    severity: Annotated[int, Ge(1), Le(5)] = 3  # of the corruption
    pose: Literal["upright", "tumbled"] = "upright"


class PlayroomImage(Strict):
    """How many pictures a category gets, their side in pixels, and what is made harder."""

    labelled: Positive = 100
    unlabelled: Natural = 400
    val: Positive = 40
    test: Positive = 80
    size: Annotated[int, Ge(16), Le(1024)] = 64
    objects: Annotated[list[Positive], MinLen(2), MaxLen(2)] = [1, 1]  # fewest, most per picture
    long_tail: Annotated[float, Ge(1)] = 1.0  # most to least frequent category, in training
    novel: Natural = 0  # categories that only the unlabelled pictures show
    shift: PlayroomShift = PlayroomShift()

    @field_validator("objects")
    @classmethod
    def _ordered(cls, value: list[int]) -> list[int]:
        if value[0] > value[1]:
            raise ValueError("expected [fewest, most]")
        return value


class Playroom(Strict):
    """The generated world: what to make of it."""

    make: list[str] = []
    seed: Natural = 0
    image: PlayroomImage = PlayroomImage()


class Training(Strict):
    """What holds for every training run."""

    seed: Natural = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    threads: Positive = 1


class Machine(Strict):
    """What changes speed and never a result."""

    jobs: Natural = 0
    workers: Natural = 0
    processes: Positive = 1
    dask: str | None = None


class Run(Strict):
    """One pretraining run."""

    objective: str
    options: dict[str, Any] = {}
    encoder: str = "small"
    encoder_options: dict[str, Any] = {}
    epochs: Positive = 20
    batch_size: Positive = 256
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    warmup: Annotated[float, Ge(0), Le(1)] = 0.05  # share of all steps
    clip: Annotated[float, Ge(0)] = 1.0  # gradient norm; 0: none
    seed: Natural | None = None  # in place of training.seed


class Image(Strict):
    """Pictures: where they are, what is learnt from them, what that is measured by."""

    source: str
    labels: str
    size: Annotated[int, Ge(8), Le(1024)] = 32
    runs: dict[str, Run] = {}
    controls: list[Literal["scratch", "random", "majority", "histogram", "pixels"]] = []
    tasks: dict[str, dict[str, Any]] = {}


class Report(Strict):
    """The page."""

    title: Annotated[str, MinLen(1)] = "What each signal was worth"


class Params(Strict):
    """The whole of params.yaml."""

    playroom: Playroom = Playroom()
    training: Training = Training()
    machine: Machine = Machine()
    image: Image
    report: Report = Field(default_factory=Report)

    def modality_of(self, run: str) -> str:
        """The modality that a run belongs to."""
        for name in MODALITIES:
            if run in getattr(self, name).runs:
                return name
        known = [r for name in MODALITIES for r in getattr(self, name).runs]
        raise UserError(f"{PARAMS}: no run named {run!r}{nearest(run, known)}")

    def run(self, name: str) -> Run:
        found: Run = getattr(self, self.modality_of(name)).runs[name]
        return found


def load(path: Path = PARAMS) -> Params:
    """Read and check params.yaml; UserError lists every mistake, with its line."""
    raw = _read(path)
    mistakes = Mistakes(path, raw)
    params = None
    try:
        params = Params.model_validate(_plain(raw))
    except ValidationError as error:
        mistakes.take(error, Params)
    for modality in MODALITIES:
        _check_methods(modality, _plain(raw.get(modality)), mistakes)
    made = params.playroom.make if params else []
    for unknown in [m for m in made if m not in MODALITIES]:
        mistakes.unknown(("playroom", "make"), "modality", unknown, MODALITIES)
    if mistakes.found or params is None:
        raise UserError("\n".join(mistakes.found))
    return params


def _read(path: Path) -> Any:
    if not path.exists():
        raise UserError(f"{path}: not found in {Path.cwd()}; start from the project's folder")
    try:
        raw = YAML().load(path.read_text("utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected sections such as `image:`, found {type(raw).__name__}")
    return raw


def _plain(value: Any) -> Any:
    """ruamel's round-trip types as plain ones, so that strict validation knows them."""
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _check_methods(modality: str, section: Any, mistakes: Mistakes) -> None:
    """What needs the methods' files: objectives, encoders, tasks and their options."""
    runs, tasks = (_section(section, key) for key in ("runs", "tasks"))
    for name, run in runs.items():
        keys = (modality, "runs", str(name))
        if not re.fullmatch(r"[a-z0-9_]+", str(name)):
            mistakes.add(keys, f"run {name!r}: expected small letters, digits and _ only")
        if not isinstance(run, dict):
            continue
        if isinstance(objective := run.get("objective"), str):
            find = options.method(modality, "objectives", objective)
            mistakes.method((*keys, "objective"), find, run.get("options"), (*keys, "options"))
        encoder = str(run.get("encoder", "small"))
        find = options.encoder(modality, encoder)
        chosen = run.get("encoder_options")
        mistakes.method((*keys, "encoder"), find, chosen, (*keys, "encoder_options"))
        _check_pair(modality, run.get("objective"), find, (*keys, "encoder"), mistakes)
    for task, chosen in tasks.items():
        keys = (modality, "tasks", str(task))
        mistakes.method(keys, options.method(modality, "tasks", str(task)), chosen, keys)


def _check_pair(
    modality: str, objective: Any, encoder: options.Found, keys: tuple[str, ...],
    mistakes: Mistakes,
) -> None:  # fmt: skip
    """Some objectives need an encoder of a certain kind."""
    if encoder.schema is None or objective not in options.names(modality, "objectives"):
        return  # said elsewhere
    if wrong := options.mismatch(modality, objective, encoder.name):
        mistakes.add(keys, wrong)


def _section(section: Any, key: str) -> dict[Any, Any]:
    """A part of what the user wrote; empty where it is malformed, which is said elsewhere."""
    found = section.get(key) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}
