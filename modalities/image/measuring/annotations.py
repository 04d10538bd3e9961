"""What ingest wrote of boxes, masks and keypoints, opened for measuring. See annotate.py.

Shapes: N items of a split, n objects of one item, m items picked, S the item's side, K keypoints.
Boxes are left, top, right, bottom in the item's pixels.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from modalities.base import Labelled
from modalities.items import IGNORE

Kind: TypeAlias = Literal["boxes", "masks", "keypoints"]


@dataclass(frozen=True)
class Objects:
    """The objects of one item."""

    boxes: np.ndarray  # (n, 4) float32
    labels: np.ndarray  # (n,) int64, codes of `Annotations.categories`
    area: np.ndarray  # (n,) float32
    crowd: np.ndarray  # (n,) bool: neither found nor missed
    keypoints: list[np.ndarray | None]  # (K, 3) x, y, visibility (0 no label, 1 hidden, 2 seen)

    def part(self, where: np.ndarray) -> "Objects":
        """These objects; (k,) places or booleans."""
        at = np.arange(len(self.labels))[where]
        kept = [self.keypoints[i] for i in at]
        return Objects(self.boxes[at], self.labels[at], self.area[at], self.crowd[at], kept)


class Annotations:
    """The annotations of one split."""

    def __init__(self, split: Labelled) -> None:
        folder = split.folder
        assert folder is not None, "of ingested data"
        told = json.loads((folder / "annotations.json").read_text("utf-8"))
        self.categories: list[str] = told["categories"]
        self.keypoints: dict[str, list[str]] = told["keypoints"]
        self.classes: list[str] = told["segmentation"]
        self._start, self._count = split.start, len(split.ids)
        self._objects(folder)
        self._masks: Any = None
        path = folder / "segmentation.npy"
        if path.exists():
            self._masks = np.load(path, mmap_mode="r")
            self._mask_rows = np.load(folder / "segmentation_rows.npy")

    def _objects(self, folder: Path) -> None:
        import pyarrow.parquet as pq

        stretch = [
            ("row", ">=", self._start), ("row", "<", self._start + self._count)
        ]  # fmt: skip
        table = pq.read_table(folder / "objects.parquet", filters=stretch).to_pydict()
        code = {name: at for at, name in enumerate(self.categories)}
        sides = ("left", "top", "right", "bottom")
        boxes = np.array([table[side] for side in sides], np.float32).T.reshape(-1, 4)
        labels = np.array([code[name] for name in table["category"]], np.int64)
        points = [None if p is None else np.reshape(p, (-1, 3)) for p in table["keypoints"]]
        points = [None if p is None else p.astype(np.float32) for p in points]
        area, crowd = np.array(table["area"], np.float32), np.array(table["crowd"], bool)
        self._all = Objects(boxes, labels, area, crowd, points)
        rows = np.array(table["row"], np.int64)
        self._ends = np.searchsorted(rows, self._start + np.arange(self._count + 1))

    def objects(self, at: int) -> Objects:
        """Of the split's item `at`."""
        return self._all.part(np.arange(self._ends[at], self._ends[at + 1]))

    def masks(self, at: np.ndarray) -> np.ndarray:
        """(m,) items, each with a mask -> (m, S, S) uint8 of `classes`, 255 ignored."""
        found: np.ndarray = self._masks[np.searchsorted(self._mask_rows, at + self._start)]
        return found

    def known(self, kind: Kind) -> np.ndarray:
        """(N,) booleans: which items can be learnt from or measured on."""
        if kind == "masks":
            if self._masks is None:
                return np.zeros(self._count, bool)
            return np.isin(self._start + np.arange(self._count), self._mask_rows)
        told = ~self._all.crowd
        if kind == "keypoints":
            told = told & [p is not None and bool((p[:, 2] > 0).any()) for p in self._all.keypoints]
        before = np.concatenate([[0], np.cumsum(told)])
        return np.asarray(before[self._ends[1:]] > before[self._ends[:-1]])

    def present(self, at: np.ndarray) -> np.ndarray:
        """Codes of the categories that items (m,) show, ascending."""
        own = [self.objects(i) for i in at]
        return np.unique(np.concatenate([o.labels[~o.crowd] for o in own] or [np.array([], int)]))


def annotated(splits: Mapping[str, Labelled], kind: Kind) -> dict[str, Annotations]:
    """The annotations of every split; empty where the data have none of this kind."""
    folders = {split.folder for split in splits.values()}
    if not all(f is not None and (f / "annotations.json").exists() for f in folders):
        return {}
    found = {name: Annotations(split) for name, split in splits.items()}
    return found if any(notes.known(kind).any() for notes in found.values()) else {}


def only(
    splits: Mapping[str, Labelled], notes: Mapping[str, Annotations], kind: Kind
) -> dict[str, Labelled]:
    """The splits, where items without such annotations count as unlabelled."""
    return {
        name: replace(split, labels=np.where(notes[name].known(kind), split.labels, -1))
        for name, split in splits.items()
    }


def mirror(names: Sequence[str], pairs: Mapping[str, str]) -> np.ndarray:
    """(K,) which keypoint a keypoint is after a flip: `pairs`, and names with left and right."""
    place = {name: at for at, name in enumerate(names)}
    both = {**pairs, **{b: a for a, b in pairs.items()}}
    found = []
    for name in names:
        other = both.get(name) or _other_side(name)
        found.append(place.get(other, place[name]))
    return np.array(found, np.int64)


def _other_side(name: str) -> str:
    """front_left_foot -> front_right_foot."""
    marks = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}
    for one, other in marks.items():
        if one in name:
            return name.replace(one, other)
    return name


__all__ = ["IGNORE", "Annotations", "Objects", "annotated", "mirror", "only"]
