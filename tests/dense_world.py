"""Tiny COCO and VOC folders in the exact layout, of pictures whose truth can be seen in them.

A picture shows bright rectangles (red: "brick", green: "leaf") on a dark ground.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

KINDS = ("brick", "leaf")
COLOURS = {"brick": (250, 20, 20), "leaf": (20, 250, 20)}
POINTS = ["left_top", "right_top", "bottom"]
Box = tuple[int, int, int, int]  # left, top, right, bottom


def draw(path: Path, size: tuple[int, int], objects: list[tuple[str, Box]], seed: int = 0) -> None:
    """A picture (width, height) of rectangles; `path` decides the format."""
    rng = np.random.default_rng([seed, *size, *(v for _, box in objects for v in box)])
    pixels = rng.integers(20, 60, (size[1], size[0], 3), dtype=np.uint8)
    for kind, (left, top, right, bottom) in objects:
        pixels[top:bottom, left:right] = COLOURS[kind]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def scatter(count: int, size: int, seed: int) -> list[list[tuple[str, Box]]]:
    """Random pictures with one or two rectangles side by side."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        kinds = [KINDS[number % 2], KINDS[int(rng.integers(2))]][: 1 + number % 3 // 2]
        objects, width = [], size // len(kinds)
        for at, kind in enumerate(kinds):
            wide, high = rng.integers(width // 2, width - 1), rng.integers(size // 3, size - 2)
            left = at * width + int(rng.integers(0, width - wide))
            top = int(rng.integers(0, size - high))
            objects.append((kind, (left, top, left + int(wide), top + int(high))))
        found.append(objects)
    return found


def coco_note(kind: str, box: Box, number: int, image: int, form: str, size: int) -> dict[str, Any]:
    """An annotation as COCO has it; `form` of the segmentation: polygon, counts or string."""
    left, top, right, bottom = box
    mask = np.zeros((size, size), np.uint8, order="F")
    mask[top:bottom, left:right] = 1
    edge = [left, top, right, top, right, bottom, left, bottom]
    segmentation: Any = [[float(v) for v in edge]]
    if form == "string":
        from pycocotools import mask as coco

        runs = coco.encode(mask)
        segmentation = {"size": runs["size"], "counts": runs["counts"].decode()}
    elif form == "counts":
        flat = mask.ravel(order="F")
        ends = np.flatnonzero(np.diff(flat)) + 1
        counts = np.diff([0, *ends, flat.size]).tolist()
        segmentation = {"size": [size, size], "counts": ([0, *counts] if flat[0] else counts)}
    points = [left, top, 2, right - 1, top, 2, (left + right) // 2, bottom - 1, 1]
    return {
        "id": number, "image_id": image, "category_id": KINDS.index(kind) + 3, "iscrowd": 0,
        "bbox": [left, top, right - left, bottom - top], "area": (right - left) * (bottom - top),
        "segmentation": segmentation, "keypoints": points, "num_keypoints": 3,
    }  # fmt: skip


def coco_world(folder: Path, per: dict[str, int], size: int = 32) -> Path:
    """annotations/instances_NAME2017.json and NAME2017/*.png, with keypoints for both kinds."""
    number = 0
    for place, (split, count) in enumerate(per.items()):
        images, notes = [], []
        for image, objects in enumerate(scatter(count, size, place), 1):
            name = f"{image:012d}.png"
            draw(folder / f"{split}2017" / name, (size, size), objects, place)
            images.append({"id": image, "file_name": name, "width": size, "height": size})
            for kind, box in objects:
                number += 1
                form = ("polygon", "counts", "string")[number % 3]
                notes.append(coco_note(kind, box, number, image, form, size))
        skeleton = {"keypoints": POINTS, "skeleton": [[1, 2], [2, 3]]}
        kinds = [{"id": at + 3, "name": name, **skeleton} for at, name in enumerate(KINDS)]
        write(folder, f"instances_{split}2017", images, notes, kinds)
    return folder


def write(folder: Path, name: str, images: Any, notes: Any, kinds: Any) -> None:
    path = folder / "annotations" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": notes, "categories": kinds}))


Shown = tuple[str, list[tuple[str, Box, bool]]]


def voc_world(folder: Path, pictures: dict[str, Shown], size: tuple[int, int]) -> Path:
    """name: (split, [(class, 0-based box, difficult)]); classes of VOC: every one has a colour."""
    for name, (split, objects) in pictures.items():
        sides = f"<width>{size[0]}</width><height>{size[1]}</height>"
        rows = ["<annotation>", f"<filename>{name}.jpg</filename>", f"<size>{sides}</size>"]
        mask = np.zeros((size[1], size[0]), np.uint8)
        pixels = np.full((size[1], size[0], 3), 30, np.uint8)
        for kind, (left, top, right, bottom), difficult in objects:
            corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
            ends = "".join(f"<{key}>{value}</{key}>" for key, value in corners.items())
            rows.append(
                f"<object><name>{kind}</name><difficult>{int(difficult)}</difficult>"
                f"<bndbox>{ends}</bndbox></object>"
            )
            mask[top:bottom, left:right] = 15 if kind == "person" else 12
            pixels[top:bottom, left:right] = (250, 20, 20)
            mask[top, left:right] = 255  # VOC's border, which counts for nothing
        for sub in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main",
                    "ImageSets/Segmentation"):  # fmt: skip
            (folder / sub).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"JPEGImages/{name}.jpg", quality=95)
        (folder / f"Annotations/{name}.xml").write_text("\n".join([*rows, "</annotation>"]))
        palette = Image.new("P", size)
        palette.putdata(mask.ravel().tolist())
        palette.putpalette([value for code in range(256) for value in (code, 255 - code, 90)])
        palette.save(folder / f"SegmentationClass/{name}.png")
        for kind in ("Main", "Segmentation"):
            with (folder / f"ImageSets/{kind}/{split}.txt").open("a") as file:
                file.write(f"{name}\n")
    return folder


def ingested(project: Path, source: Path, size: int) -> Path:
    """Run the stage ingest in `project`; the folder that it leaves."""
    import os

    from tasks.channel import Channel
    from tasks.ingest import ingest
    from tasks.settings.params import Params

    section = {"source": str(source), "labels": str(source), "size": size}
    params = Params.model_validate({"image": section, "machine": {"jobs": 1}})
    project.mkdir(parents=True, exist_ok=True)
    before = Path.cwd()
    os.chdir(project)
    try:
        ingest(params, Channel("test"), modality="image")
    finally:
        os.chdir(before)
    return project / "data/image"
