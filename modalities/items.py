"""The part of the contracts that needs no torch: ingest and labels must start in a blink.

Shapes: N items, B of them in a batch.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows: TypeAlias = "NDArray[np.integer[Any]] | list[int]"  # (B,) in any order, some of them twice
PIECE = 2**24  # bytes that are digested at a time

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


class Items(Protocol):
    """N items as ingest kept them, wherever they lie; only `batch` says what they are made of."""

    @property
    def near(self) -> int | None:
        """So many rows lie together, from row 0 on: training reads one group after another, in an
        order that is shuffled among groups and within a window. None: any row is as near."""

    def __len__(self) -> int: ...

    def batch(self, rows: Rows) -> "dict[str, NDArray[Any]]":
        """Columns of B rows, copies: `items` and whatever else objectives shall see beside it.

        Items of different lengths are padded to the longest of the batch, with a value by which
        `prepare` knows where one ends; their `lengths` (B,) stand beside them. Called in workers.
        """
        ...

    def part(self, start: int, stop: int) -> "Items":
        """The rows from `start` up to `stop`; nothing is copied."""
        ...

    def digest(self) -> str:
        """The same for the same content, wherever it lies; all of it is read."""
        ...


@dataclass(frozen=True)
class Arrays:
    """Items of one shape: an array or a memory map."""

    array: Any  # (N, ...)
    near: int | None = None

    def __len__(self) -> int:
        return len(self.array)

    def batch(self, rows: Rows) -> "dict[str, NDArray[Any]]":
        return {"items": self.array[rows]}

    def part(self, start: int, stop: int) -> "Arrays":
        return Arrays(self.array[start:stop], self.near)

    def digest(self) -> str:
        import numpy as np

        found = hashlib.sha256(f"{self.array.dtype.str} {self.array.shape}".encode())
        size = max(1, PIECE // max(1, self.array[:1].nbytes))
        for start in range(0, len(self), size):
            found.update(np.ascontiguousarray(self.array[start : start + size]).data)
        return found.hexdigest()


def item(items: Items, row: int) -> "NDArray[Any]":
    """One item alone."""
    found: NDArray[Any] = items.batch([row])["items"][0]
    return found


@dataclass(frozen=True)
class Labelled:
    """One split of an ingested modality; `labels` int64 with -1 = none."""

    items: Items
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
