"""The contract of labelers, free of torch: many processes label side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from modalities.items import Items, Rows, Tell

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class LabelerInput:
    """What a labeler found on every item that pretraining may see (N of them, in their order)."""

    values: Array  # (N, ...) what `label` gave; zeros where it refused
    ok: Array  # (N,) bool: `label` gave something
    items: Items  # N
    truth: Array  # (N,) int64 codes of the classes, -1 unknown: to judge labels, never to make them
    classes: list[str]
    folder: Path  # of labels/NAME: pictures (*.png) and page fragments (*.html) go there
    seed: int
    tell: Tell
    run: str = "none"  # whose features labels are made from: models/RUN

    def raw(self, rows: Rows) -> Array:
        """Some of the items as ingest kept them, (n, ...)."""
        return self.items.batch(rows)["items"]


@dataclass(frozen=True)
class Labels:
    """Free labels: one per item, or one per part of it."""

    values: Array  # (N, ...) hard: integers, -1 = none; or soft: floats
    confidence: Array  # (N, ...) float32 in [0, 1]
    provenance: list[str]  # (N,) the tool behind each
    metrics: Mapping[str, float] = field(default_factory=dict)


class Labeler(Protocol):
    """An off-the-shelf tool as a source of labels. Keyword-only options are the schema.

    Instances can be pickled; nothing is drawn at random but from a seed.
    """

    needs: tuple[str, ...] = ()  # ("run",): it looks at the features of the run `LabelerInput.run`
    chunk: int = 64  # items labelled between two writes to the cache: few where each takes seconds

    def label(self, path: Path, item: Array) -> Array:
        """One item, its source file and what ingest kept -> an array of one shape and dtype.

        Pure: it is cached by content, code and options, and runs in parallel. ValueError(reason):
        this item gets no label.
        """
        ...

    def beside(self, path: Path) -> Path | None:  # noqa: ARG002
        """Another file that the label of an item depends on: where it changes, so may the label."""
        return None

    def gather(self, found: LabelerInput) -> Labels:
        """All items' arrays -> their labels; a clustering clusters here."""
        ...
