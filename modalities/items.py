"""The part of the contracts that needs no torch: ingest and labels must start in a blink."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

IGNORE = 255  # in a map of classes: a place that is not judged, as in COCO and VOC


class UserError(Exception):
    """A mistake of the user's (file, key, value): shown as one clear message, never a traceback."""


@dataclass(frozen=True)
class Item:
    """One thing found in a source, not read yet. `label` None: unlabelled; `split` None: ours."""

    source: str  # path relative to the source folder, "/" separated
    label: str | None = None
    split: str | None = None  # train | val | test
    extra: Mapping[str, Any] = field(default_factory=dict)  # JSON-able: what richer tasks need


@dataclass(frozen=True)
class Labelled:
    """One split of an ingested modality: `items` is a memory map, `labels` int64 with -1 = none."""

    items: Any  # numpy array or memmap, (N, ...)
    labels: Any  # numpy (N,)
    ids: list[str]
    classes: list[str]
    folder: Path | None = None  # of the data, with what else ingest left there
    start: int = 0  # row of items.npy that is this split's first item
    free: Any = None  # (N, ...) free labels of these items, where a control asks for them


class Tell(Protocol):
    """How a stage says what it is doing; see tasks/channel.py. Knows nothing of Prefect."""

    def progress(self, fraction: float, text: str = "") -> None: ...
    def log(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def metrics(self, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: list[dict[str, Any]]) -> None: ...
    def picture(self, name: str, path: Path) -> None: ...
