"""params.yaml, typed: every key is known, every mistake is named with what is allowed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import MinLen
from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from modalities.items import UserError
from tasks.settings import methods, options, starts, templates
from tasks.settings.mistakes import Mistakes, nearest
from tasks.settings.playroom import Playroom
from tasks.settings.runs import Run, Training
from tasks.settings.sections import Audio, Image, Section, Shape, Video
from tasks.settings.strict import Natural, Positive, Strict

PARAMS = Path("params.yaml")
Modality = Literal["image", "video", "audio", "shape"]
MODALITIES: tuple[str, ...] = get_args(Modality)


class Machine(Strict):
    """What changes speed and never a result."""

    jobs: Natural = 0
    workers: Natural = 0
    processes: Positive = 1
    dask: str | None = None


class Report(Strict):
    """The page."""

    title: Annotated[str, MinLen(1)] = "What each signal was worth"


class Params(Strict):
    """The whole of params.yaml."""

    playroom: Playroom = Playroom()
    training: Training = Training()
    machine: Machine = Machine()
    image: Image
    video: Video = Video()
    audio: Audio = Audio()
    shape: Shape = Shape()
    report: Report = Field(default_factory=Report)

    def section(self, modality: str) -> Section:
        found: Section = getattr(self, modality)
        return found

    @property
    def demonstration(self) -> frozenset[str]:
        """What is left on the Playroom beside the user's own; none where all is the Playroom's."""
        made = {m for m in MODALITIES if self.section(m).source.rstrip("/") == f"raw/playroom/{m}"}
        return frozenset(made if made != set(MODALITIES) else ())

    def yardstick(self, modality: str) -> bool:
        """Whether the user's runs of another modality are measured on this one's items."""
        own = [m for m in MODALITIES if m not in self.demonstration]
        return any(options.home(m) == modality for m in own if m != modality)

    def modality_of(self, run: str) -> str:
        """The modality that a run, or a checkpoint in its place, belongs to."""
        sections = {m: self.section(m) for m in MODALITIES}
        return self._owner("run", run, {m: {**s.runs, **s.published} for m, s in sections.items()})

    def modality_of_labels(self, name: str) -> str:
        """The modality that a set of free labels belongs to."""
        return self._owner("labeler", name, {m: self.section(m).choices for m in MODALITIES})

    @staticmethod
    def _owner(kind: str, name: str, there: Mapping[str, Mapping[str, Any]]) -> str:
        known = {n: modality for modality, names in there.items() for n in names}
        if name not in known:
            raise UserError(f"{PARAMS}: no {kind} named {name!r}{nearest(name, known)}")
        return known[name]

    def run(self, name: str) -> Run:
        runs = self.section(self.modality_of(name)).runs
        if name not in runs:
            raise UserError(f"{PARAMS}: {name!r} are published weights, not a run")
        return runs[name]


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
        methods.check(modality, _plain(raw.get(modality)), mistakes)
    sections = {m: _plain(raw.get(m)) for m in MODALITIES}
    methods.check_names(sections, mistakes)
    starts.check(sections, mistakes)
    defaults = params.model_dump() if params else {}
    templates.check(path.with_name("dvc.yaml"), _plain(raw), defaults, mistakes)
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
