"""Masks as COCO and VOC write them -> one map of classes.

Shapes: H W of the picture. Values: 0 background, 1.. classes, 255 ignored.
"""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalities.items import IGNORE

Map: TypeAlias = NDArray[np.uint8]


def decode(segmentation: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Polygons ([[x, y, ...], ...]) or run lengths ({size, counts: list or COCO's string}) of one
    object -> (H, W). ValueError(reason) for what is neither, or not of this picture."""
    from pycocotools import mask as coco

    height, width = shape
    if isinstance(segmentation, list):
        for polygon in segmentation:
            numbers = isinstance(polygon, list) and all(
                isinstance(v, int | float) and np.isfinite(v) for v in polygon
            )
            if not numbers or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError(
                    "segmentation: expected polygons [x, y, x, y, x, y, ...], found "
                    f"{str(polygon)[:60]}"
                )
        runs: Any = coco.merge(coco.frPyObjects(segmentation, height, width))
    else:
        runs = _runs(segmentation, shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its arrays are older than NumPy 2
        return np.asarray(coco.decode(runs)).astype(bool)


def _runs(segmentation: Any, shape: tuple[int, int]) -> Any:
    from pycocotools import mask as coco

    if not isinstance(segmentation, Mapping) or not {"size", "counts"} <= segmentation.keys():
        raise ValueError(
            "segmentation: expected polygons or run lengths {size, counts}, found "
            f"{str(segmentation)[:60]}"
        )
    if list(segmentation["size"]) != list(shape):
        raise ValueError(
            f"segmentation: size {list(segmentation['size'])} is not that of the picture, "
            f"{list(shape)} (height, width)"
        )
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if not all(isinstance(n, int) and n >= 0 for n in counts) or sum(counts) != np.prod(shape):
            raise ValueError(f"segmentation: counts do not add up to {shape[0]} x {shape[1]}")
        return coco.frPyObjects(dict(segmentation), *shape)
    text = counts.encode() if isinstance(counts, str) else counts
    return {"size": list(shape), "counts": text}


def semantic(
    objects: Sequence[Mapping[str, Any]], numbers: Mapping[str, int], shape: tuple[int, int]
) -> Map:
    """All objects of a picture -> (H, W); crowds, and places where two classes lie, are ignored."""
    found = np.zeros(shape, np.uint8)
    for note in objects:
        try:
            mask = decode(note["segmentation"], shape)
        except ValueError as error:
            name = f"annotation {note.get('id', '')} ({note['category']})"
            raise ValueError(f"{name}: {error}") from None
        value = IGNORE if note.get("iscrowd") else numbers[note["category"]]
        clash = mask & (found != 0) & (found != value)
        found[mask] = value
        found[clash] = IGNORE
    return found


def voc_file(path: Path, shape: tuple[int, int]) -> Map:
    """SegmentationClass/*.png, a palette picture whose indices are the classes -> (H, W)."""
    with Image.open(path) as image:
        if image.mode not in ("P", "L"):
            raise ValueError(f"{path}: expected a palette picture of classes, found {image.mode}")
        found = np.asarray(image).astype(np.uint8)
    if found.shape != shape:
        wanted = f"{shape[1]} x {shape[0]}"
        raise ValueError(f"{path}: {found.shape[1]} x {found.shape[0]} pixels, not {wanted}")
    return found
