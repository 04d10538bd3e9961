"""PASCAL VOC folders: JPEGImages, Annotations/*.xml, ImageSets/{Main,Segmentation}/*.txt and
SegmentationClass/*.png, as on disk; Everingham et al., IJCV 2010.

A picture's split is the list that names it (train, val, test; the safer one where two do), its
label the class of its largest object. Objects that are `difficult` become COCO's crowds: neither
found nor missed. VOC counts pixels from 1 and means the last one to be in the box, so xmin 1 and
xmax 2 become [0, 2]. What is kept in `extra` has COCO's keys, and `segmentation_file`.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from modalities.items import Item, UserError

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
SETS = ("test", "val", "train")  # safest first


def is_voc(source: Path) -> bool:
    return (source / "JPEGImages").is_dir() and (source / "Annotations").is_dir()


def voc(source: Path, pictures: list[str]) -> list[Item]:
    """The items of a VOC folder, ordered by path; UserError for annotations that make no sense."""
    splits = _splits(source)
    shown = {Path(f).stem: f for f in pictures if f.startswith("JPEGImages/")}
    # One that is listed but not there is an item too, to be quarantined by name.
    files = {stem: f"JPEGImages/{stem}.jpg" for stem in splits} | shown
    items = [_item(source, file, splits.get(stem)) for stem, file in files.items()]
    return sorted(items, key=lambda item: item.source)


def _splits(source: Path) -> dict[str, str]:
    """Picture -> split."""
    found: dict[str, str] = {}
    for kind in ("Main", "Segmentation"):
        for split in SETS:
            path = source / "ImageSets" / kind / f"{split}.txt"
            for line in path.read_text("utf-8").splitlines() if path.is_file() else []:
                if name := line.strip():
                    found[name] = min(split, found.get(name, split), key=SETS.index)
    return found


def _item(source: Path, file: str, split: str | None) -> Item:
    stem = Path(file).stem
    extra: dict[str, Any] = {}
    path = source / "Annotations" / f"{stem}.xml"
    if path.is_file():
        extra = _read(path)
    mask = f"SegmentationClass/{stem}.png"
    if (source / mask).is_file():
        extra["segmentation_file"] = mask
    notes = extra.get("annotations", [])
    clear = [n for n in notes if not n["iscrowd"]]
    label = min(clear, key=lambda n: (-n["area"], n["category"]))["category"] if clear else None
    return Item(file, label, split, extra)


def _read(path: Path) -> dict[str, Any]:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not valid XML: {error}") from None
    width, height = (_number(path, root, f"size/{key}") for key in ("width", "height"))
    notes = [_note(path, each, width, height) for each in root.iter("object")]
    return {"width": int(width), "height": int(height), "annotations": notes}


def _note(path: Path, node: ElementTree.Element, width: float, height: float) -> dict[str, Any]:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise UserError(f"{path}: an object without a name")
    keys = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(path, node, f"bndbox/{key}") for key in keys)
    if not (0.5 <= left <= right <= width + 1 and 0.5 <= top <= bottom <= height + 1):
        raise UserError(
            f"{path}: {name}: bndbox {left:g}, {top:g}, {right:g}, {bottom:g} is no box in a "
            f"picture of {width:g} x {height:g} pixels, counted from 1"
        )
    box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
    return {
        "category": name, "bbox": box, "area": box[2] * box[3],
        "iscrowd": int((node.findtext("difficult") or "0").strip() == "1"),
    }  # fmt: skip


def _number(path: Path, node: ElementTree.Element, key: str) -> float:
    text = node.findtext(key)
    try:
        return float(text or "")
    except ValueError:
        raise UserError(f"{path}: {key}: expected a number, found {text!r}") from None
