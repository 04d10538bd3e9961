"""A classification problem with few labels: what may be seen when, and which labels are told.

Shapes: N items of a split, m of them picked, D feature width, C classes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import numpy as np

from modalities.items import Arrays, Items, Labelled, item


@dataclass(frozen=True)
class Subset:
    """Some labelled items of one split; they stay where they lie until they are asked for."""

    split: str
    items: Items  # N
    at: np.ndarray  # (m,) positions, ascending
    labels: np.ndarray  # (m,) int64 in [0, C)

    def __len__(self) -> int:
        return len(self.at)

    def part(self, where: np.ndarray) -> "Subset":
        """The items at these places of this subset."""
        return Subset(self.split, self.items, self.at[where], self.labels[where])

    def raw(self) -> np.ndarray:
        """The picked items as ingest kept them, (m, ...)."""
        return self.items.batch(self.at)["items"]

    def each(self) -> Iterator[np.ndarray]:
        """The same, one after the other: memory stays flat."""
        return (item(self.items, at) for at in self.at.tolist())


@dataclass(frozen=True)
class FewLabels:
    """All that fitting and choosing may see. Test items are not in here."""

    train: Subset  # the items whose label one draw tells
    val: Subset  # the same for every method and budget
    classes: int
    budget: int | str
    draw: int
    seed: int  # depends on (training.seed, budget, draw) only


@dataclass(frozen=True)
class Fitted:
    """A model chosen on validation."""

    predict: Callable[[Subset], np.ndarray]  # (m,) int64
    score: float | None  # accuracy on validation; None without any
    chosen: Mapping[str, Any] = field(default_factory=dict)


class Method(ABC):
    """A way to turn told labels into a classifier."""

    repeats = False  # with all labels every draw gives the same, so it is computed once
    tries = 1  # how many times the cost the first draw takes

    @abstractmethod
    def cost(self, items: int) -> float:
        """Roughly how long `fit` takes with so many labels, in items trained on."""

    @abstractmethod
    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        """Fit and choose; `note(cost)` says what part of the cost is done."""


@dataclass(frozen=True)
class Problem:
    """The three splits over the classes that have a labelled training item."""

    train: Subset
    val: Subset
    test: Subset
    ids: Sequence[str]  # of all items of the train split
    known: np.ndarray  # (C,) this problem's classes as codes of the data set
    left_out: Mapping[str, int]  # val and test items of other classes, which nobody could learn


def problem(splits: Mapping[str, Labelled]) -> Problem:
    """The problem in ingested splits; a split may be missing, which is as if it were empty."""
    train = splits.get("train")
    codes = np.array([], dtype=np.int64) if train is None else np.asarray(train.labels)
    known = np.unique(codes[codes >= 0])
    picks, left_out = {}, {}
    for name in ("train", "val", "test"):
        split = splits.get(name)
        labels = np.array([], dtype=np.int64) if split is None else np.asarray(split.labels)
        at = np.flatnonzero(np.isin(labels, known))
        items = Arrays(np.zeros((0,))) if split is None else split.items
        picks[name] = Subset(name, items, at, np.searchsorted(known, labels[at]))
        left_out[name] = int((labels >= 0).sum()) - len(at)
    return Problem(
        picks["train"], picks["val"], picks["test"], train.ids if train else [], known, left_out
    )


def seed_of(*parts: Any) -> int:
    """A seed in [0, 2^63) that depends on every part and on nothing else."""
    return int.from_bytes(sha256(repr(parts).encode()).digest()[:8], "big") >> 1


def draw_labels(
    pool: Subset, ids: Sequence[str], budget: int | str, seed: int, draw: int
) -> np.ndarray:
    """Places in `pool` of one draw, ascending: `budget` items per class, or "all" of them; (n,).

    The items of a smaller budget are among those of a larger one of the same draw. An item's rank
    comes from its id alone, so adding an item to the data moves no other item.
    """
    if budget == "all":
        return np.arange(len(pool))
    keys = [sha256(f"{seed}/{draw}/{ids[i]}".encode()).digest() for i in pool.at]
    ranked = np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
    kinds = np.unique(pool.labels)
    taken = [ranked[pool.labels[ranked] == kind][: int(budget)] for kind in kinds]
    return np.sort(np.concatenate(taken))


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of right predictions; both (m,)."""
    return float((predictions == labels).mean())


def best(scores: Sequence[float | None]) -> int:
    """The first of the highest; without validation the middle one."""
    known = [s for s in scores if s is not None]
    return scores.index(max(known)) if known else len(scores) // 2
