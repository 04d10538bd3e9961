"""The hook of ingest: boxes, masks and keypoints, moved as their pictures are, beside items.npy.

Written where a source has annotations, from `extra` and from headers alone, so that an edited
annotation decodes no picture:

- `objects.parquet`: a row per object: row of items.npy, category, left, top, right, bottom and area
  in the item's pixels, crowd, keypoints (x, y, visibility of each, or null);
- `segmentation.npy` (M, S, S) uint8, 0 background, 255 ignored, and `segmentation_rows.npy` (M,);
- `annotations.json`: the names of categories, of the keypoints of each, of segmentation's classes.

Shapes: M annotated pictures, S the item's side, K keypoints of a category.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.image.reading.geometry import Frame, frame
from modalities.image.reading.masks import semantic, voc_file
from modalities.image.reading.voc import CLASSES
from modalities.items import UserError

LEAST = 1e-3  # of an item's pixel: a box that is thinner was cut off
MOST = 254  # classes that a byte names beside the background and 255
CHUNK = 256
COLUMNS = ("row", "category", "left", "top", "right", "bottom", "area", "crowd", "keypoints")


@dataclass(frozen=True)
class Noted:
    """One item with annotations: its row in items.npy, its file, and what `find` kept of it."""

    row: int
    path: Path
    extra: Mapping[str, Any]

    @property
    def objects(self) -> list[Mapping[str, Any]]:
        return [n for n in self.extra.get("annotations", []) if "category" in n]

    @property
    def segmented(self) -> bool:
        """A mask of all classes can be drawn: from a file, or as every object has one."""
        objects = self.objects
        return "segmentation_file" in self.extra or (
            bool(objects) and all(n.get("segmentation") for n in objects)
        )


def annotate(
    source: Path, found: Sequence[tuple[int, str, Mapping[str, Any]]], folder: Path, *,
    size: int, jobs: int = 1, warn: Callable[[str], None] = lambda _: None,
) -> None:  # fmt: skip
    """Write what `found` (row, file, extra) says into `folder`; nothing where it says nothing."""
    noted = [Noted(row, source / file, extra) for row, file, extra in found]
    noted = [each for each in noted if each.objects or each.segmented]
    if not noted:
        return
    boxed = any(n.get("bbox") for each in noted for n in each.objects)
    names = sorted({str(n["category"]) for each in noted for n in each.objects})
    points: dict[str, list[str]] = {}
    for each in noted:
        points.update(each.extra.get("keypoints", {}))
    drawn = [each for each in noted if each.segmented]
    classes = _classes(names, drawn)
    if len(classes) > MOST + 1:
        warn(f"{len(classes)} classes are too many for one byte: no masks for segmentation")
        drawn = []
    told = {"categories": names, "keypoints": points, "boxes": boxed, "segmentation": classes}
    text = json.dumps(told, indent=1, sort_keys=True) + "\n"
    (folder / "annotations.json").write_text(text, "utf-8")
    numbers = {name: number for number, name in enumerate(names, 1)}
    work = Work(source, size, points, numbers, frozenset(each.row for each in drawn))
    _write(folder, work, noted, jobs)


def _classes(names: list[str], drawn: list[Noted]) -> list[str]:
    """The names of segmentation's values; VOC's files know numbers only, which have one order."""
    files = any("segmentation_file" in each.extra for each in drawn)
    if files and set(names) <= set(CLASSES):
        names = list(CLASSES)
    return ["background", *names]


@dataclass(frozen=True)
class Work:
    """What turns one noted item into rows and a mask; picklable."""

    source: Path
    size: int
    points: Mapping[str, list[str]]
    numbers: Mapping[str, int]  # category -> value in a mask
    drawn: frozenset[int]  # rows that get a mask

    def __call__(self, part: list[Noted]) -> list[tuple[Noted, list[Any], Any]]:
        return [self._one(each) for each in part]

    def _one(self, each: Noted) -> tuple[Noted, list[Any], NDArray[np.uint8] | None]:
        try:
            sizes = [each.extra[key] for key in ("width", "height") if key in each.extra]
            if len(sizes) == 2 and not all(isinstance(v, int) and v > 0 for v in sizes):
                raise ValueError(f"width, height: expected two whole numbers, found {sizes}")
            there = frame(each.path, self.size, (sizes[0], sizes[1]) if len(sizes) == 2 else None)
            rows = []
            for number, note in enumerate(each.objects, 1):
                rows += _named(number, note, partial(self._object, each.row, note, there))
            mask = self._mask(each, there) if each.row in self.drawn else None
        except (ValueError, OSError) as error:
            raise UserError(f"annotations of {each.path}: {error}") from None
        return each, rows, mask

    def _object(self, row: int, note: Mapping[str, Any], there: Frame) -> list[list[Any]]:
        """The object's line, or none where nothing of it is in the item."""
        if not note.get("bbox"):
            return []
        left, top, width, height = _numbers(note, "bbox", 4)
        if width < 0 or height < 0:
            raise ValueError(f"bbox: expected left, top, width, height, found {note['bbox']}")
        whole = np.array([[left, top, left + width, top + height]], np.float32)
        box = there.boxes(whole)[0]
        wide, high = float(box[2] - box[0]), float(box[3] - box[1])
        if min(wide, high) < LEAST:
            return []
        area = there.area(float(note.get("area", width * height)))
        share = wide * high / max(there.area(width * height), 1e-9)  # of the box that is left
        keypoints = self._keypoints(note, there)
        return [[
            row, str(note["category"]), *map(float, box), area * min(1.0, share),
            bool(note.get("iscrowd")), keypoints,
        ]]  # fmt: skip

    def _keypoints(self, note: Mapping[str, Any], there: Frame) -> list[float] | None:
        if note.get("keypoints") is None or note["category"] not in self.points:
            return None
        names = self.points[note["category"]]
        triples = np.array(_numbers(note, "keypoints", 3 * len(names)), np.float32).reshape(-1, 3)
        if not np.isin(triples[:, 2], (0, 1, 2)).all():
            raise ValueError(f"keypoints: visibility is 0, 1 or 2, found {triples[:, 2].tolist()}")
        at = there.points(triples[:, :2] + 0.5)  # indices of pixels -> places: their centres
        seen = (triples[:, 2] > 0) & ((at >= 0) & (at <= there.size)).all(1)
        return np.where(seen[:, None], np.c_[at, triples[:, 2]], 0).ravel().tolist()

    def _mask(self, each: Noted, there: Frame) -> NDArray[np.uint8]:
        if file := each.extra.get("segmentation_file"):
            return there.mask(voc_file(self.source / file, (there.height, there.width)))
        return there.mask(semantic(each.objects, self.numbers, (there.height, there.width)))


def _named(number: int, note: Mapping[str, Any], body: Callable[[], list[Any]]) -> list[Any]:
    try:
        return body()
    except ValueError as error:
        which = note.get("id", f"number {number}")
        raise ValueError(f"annotation {which} ({note['category']}): {error}") from None


def _numbers(note: Mapping[str, Any], key: str, count: int) -> list[float]:
    found = note[key]
    good = isinstance(found, list) and len(found) == count
    if not good or not all(isinstance(v, int | float) and np.isfinite(v) for v in found):
        raise ValueError(f"{key}: expected {count} numbers, found {str(found)[:80]}")
    return [float(v) for v in found]


def _done(work: Work, noted: list[Noted], jobs: int) -> Iterator[tuple[Noted, list[Any], Any]]:
    """Every item's rows and mask, in order."""
    from joblib import Parallel, delayed

    parts = [noted[at : at + CHUNK] for at in range(0, len(noted), CHUNK)]
    results: Iterable[Any] = map(work, parts)
    if jobs != 1 and len(parts) > 8:
        results = Parallel(jobs or -1, return_as="generator")(delayed(work)(p) for p in parts)
    for part in results:
        yield from part


def _write(folder: Path, work: Work, noted: list[Noted], jobs: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    real = dict.fromkeys(COLUMNS[2:7], pa.float32())
    kinds = {"row": pa.int64(), "category": pa.string(), **real, "crowd": pa.bool_()}
    schema = pa.schema({**kinds, "keypoints": pa.list_(pa.float32())})
    masks, rows = None, sorted(work.drawn)
    if rows:
        np.save(folder / "segmentation_rows.npy", np.array(rows, np.int64))
        shape = (len(rows), work.size, work.size)
        path = folder / "segmentation.npy"
        masks = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    place = {row: at for at, row in enumerate(rows)}
    lines: list[list[Any]] = []
    for each, objects, mask in _done(work, noted, jobs):
        lines += objects
        if masks is not None and mask is not None:
            masks[place[each.row]] = mask
    lines.sort(key=lambda line: line[0])
    columns = {name: [line[at] for line in lines] for at, name in enumerate(COLUMNS)}
    pq.write_table(pa.table(columns, schema=schema), folder / "objects.parquet")
