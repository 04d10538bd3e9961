"""Annotations in COCO's format, written as they come: memory does not grow with the world.

Segmentations are uncompressed run lengths ({size, counts: [...]}): pycocotools reads them as well
as polygons, and they are exact. Polygons would close the holes that tell a chair from a box.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from tasks.playroom.world.render import Picture, Points
from tasks.playroom.world.toys import Category


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False)


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's run lengths: down the columns, beginning with the zeros."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def category_rows(kinds: Iterable[Category]) -> list[dict[str, Any]]:
    """COCO's `categories`, with the parts' names on top; ids count from 1."""
    rows = []
    for number, kind in enumerate(kinds, 1):
        place = {name: at for at, name in enumerate(kind.keypoints, 1)}
        skeleton = [[place[a], place[b]] for a, b in kind.skeleton]
        rows.append({
            "id": number, "name": kind.name, "supercategory": kind.family,
            "keypoints": list(kind.keypoints), "skeleton": skeleton, "parts": list(kind.parts),
        })  # fmt: skip
    return rows


def annotation(mask: NDArray[np.bool_], points: Points, kind: Category) -> dict[str, Any]:
    """Box, area, mask and keypoints of one toy: mask (S, S), not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top = int(columns[0]), int(rows[0])
    box = [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1]
    seen = {name: points.get(name, (0, 0, 0)) for name in kind.keypoints}
    side = len(mask)
    for name, (x, y, v) in seen.items():
        # COCO's keypoints are pixels' indices: those of the upper left one are 0, 0 at its centre.
        inside = 0 <= x < side and 0 <= y < side
        seen[name] = (round(x - 0.5, 2), round(y - 0.5, 2), v) if inside and v else (0, 0, 0)
    return {
        "bbox": box, "area": int(mask.sum()), "iscrowd": 0, "segmentation": run_lengths(mask),
        "keypoints": [value for point in seen.values() for value in point],
        "num_keypoints": sum(visible > 0 for _, _, visible in seen.values()),
    }  # fmt: skip


def annotations(picture: Picture, kinds: list[Category]) -> list[tuple[Category, dict[str, Any]]]:
    """One annotation per toy that can be seen at all."""
    out = []
    for index, (points, kind) in enumerate(zip(picture.keypoints, kinds, strict=True)):
        mask = picture.toy == index
        if mask.any():
            out.append((kind, annotation(mask, points, kind)))
    return out


class CocoFile:
    """`annotations/SPLIT.json` while it grows; annotations wait in a file beside it."""

    def __init__(self, path: Path, kinds: Sequence[Category]) -> None:
        self._ids = {kind.name: number for number, kind in enumerate(kinds, 1)}
        self._spool_path = path.with_suffix(".part")
        self._file: TextIO = path.open("w", encoding="utf-8")
        self._spool: TextIO = self._spool_path.open("w+", encoding="utf-8")
        rows = ",\n".join(map(compact, category_rows(kinds)))
        self._file.write(f'{{"categories":[\n{rows}],\n"images":[')
        self.images = self.annotations = 0

    def add(self, name: str, size: int, notes: list[tuple[Category, dict[str, Any]]]) -> None:
        self._file.write(",\n" if self.images else "\n")
        self.images += 1
        image = {"id": self.images, "file_name": name, "width": size, "height": size}
        self._file.write(compact(image))
        for kind, note in notes:
            self._spool.write(",\n" if self.annotations else "\n")
            self.annotations += 1
            ids = {"id": self.annotations, "image_id": self.images}
            self._spool.write(compact({**note, **ids, "category_id": self._ids[kind.name]}))

    def __enter__(self) -> "CocoFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.write('],\n"annotations":[')
        self._spool.seek(0)
        for line in self._spool:
            self._file.write(line)
        self._file.write("]}\n")
        self._file.close()
        self._spool.close()
        self._spool_path.unlink()
