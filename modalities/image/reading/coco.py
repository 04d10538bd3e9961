"""COCO folders: `annotations/*.json` and pictures, in `images/` or as the original lays them out.

A picture's label is the category of its largest annotation; its split is in the json's name. One
without annotations, and all of `unlabelled*.json`, is unlabelled. Pictures that no json lists but
that lie in folders of listed ones (or in `unlabel*/`) are unlabelled too. Annotations are kept in
`extra` for tasks such as detection, with the category by name.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modalities.common.reading.folders import read_text
from modalities.items import Item, UserError

ORDER = {"test": 0, "val": 1, "train": 2, None: 3}  # a picture in two splits is never trained on


def is_coco(source: Path) -> bool:
    return any((source / "annotations").glob("*.json"))


def coco(source: Path, files: list[str], pictures: list[str]) -> list[Item]:
    """The items of a COCO folder, ordered by path."""
    found: dict[str, Item] = {}
    known = frozenset(files)
    for path in sorted((source / "annotations").glob("*.json")):
        for item in _items(path, known):
            before = found.get(item.source)
            found[item.source] = item if before is None else _merged(before, item)
    tops = {file.split("/", 1)[0] for file in found if "/" in file}
    for file in pictures:
        top = file.split("/", 1)[0] if "/" in file else None
        if top and (top in tops or top.lower().startswith("unlabel")):
            found.setdefault(file, Item(file))
    return [found[file] for file in sorted(found)]


def _items(path: Path, known: frozenset[str]) -> list[Item]:
    data = _load(path)
    match = re.search(r"train|val|test|unlabel", path.stem.lower())
    kind = match.group() if match else None
    folders = ("images/", f"images/{_last(path)}/", f"{_last(path)}/", "")
    try:
        kinds = data.get("categories", [])
        names = {c["id"]: str(c["name"]) for c in kinds}
        points = {str(c["name"]): [*map(str, c["keypoints"])] for c in kinds if "keypoints" in c}
        by_image: dict[Any, list[dict[str, Any]]] = {}
        for note in data.get("annotations", []):
            by_image.setdefault(note["image_id"], []).append(_note(note, names))
        items = []
        for image in data["images"]:
            name = str(image["file_name"])
            tried = [folder + name for folder in folders]
            file = next((f for f in tried if f in known), tried[0])
            notes = [] if kind == "unlabel" else by_image.get(image["id"], [])
            split = None if kind == "unlabel" else kind
            items.append(Item(file, _label(notes), split, _extra(image, notes, points)))
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not in COCO's format: {type(error).__name__} {error}") from None
    return items


def _load(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("images"), list):
        raise UserError(f"{path}: not in COCO's format: expected an object with a list `images`")
    return data


def _last(path: Path) -> str:
    """`instances_train2017` -> `train2017`, the folder of its pictures."""
    return path.stem.rsplit("_", 1)[-1]


def _note(note: Mapping[str, Any], names: Mapping[Any, str]) -> dict[str, Any]:
    kept = {key: note[key] for key in note if key not in ("image_id", "category_id")}
    if "category_id" in note:
        kept["category"] = names[note["category_id"]]
    return kept


def _extra(
    image: Mapping[str, Any], notes: list[dict[str, Any]], points: Mapping[str, list[str]]
) -> dict[str, Any]:
    """What richer tasks need; `points`: the names of the keypoints of each category."""
    if not notes:
        return {}
    size = {key: image[key] for key in ("width", "height") if key in image}
    shown = {n["category"] for n in notes if "keypoints" in n and "category" in n}
    named = {kind: names for kind, names in points.items() if kind in shown}
    return {**size, "annotations": notes, **({"keypoints": named} if named else {})}


def _label(notes: list[dict[str, Any]]) -> str | None:
    """The category of the largest annotation that is one object; ties go by name."""
    named = [n for n in notes if "category" in n and not n.get("iscrowd")]
    if not named:
        return None
    return str(min(named, key=lambda n: (-_area(n), n["category"]))["category"])


def _area(note: Mapping[str, Any]) -> float:
    width, height = (*note.get("bbox", ()), 0, 0, 0, 0)[2:4]
    return float(note.get("area", width * height))


def _merged(one: Item, other: Item) -> Item:
    """The same picture in two files (instances, keypoints, captions): the safer split and all
    annotations, one object's, which share an id and a category, as one."""
    notes: list[dict[str, Any]] = []
    places: dict[Any, int] = {}
    for note in [*one.extra.get("annotations", []), *other.extra.get("annotations", [])]:
        key = (note.get("id"), note.get("category"))
        if None not in key and key in places:
            notes[places[key]] = {**notes[places[key]], **note}
            continue
        places[key] = len(notes)
        notes.append(note)
    size = {**other.extra, **one.extra}
    extra = {**size, "annotations": notes} if notes else size
    split = min((one.split, other.split), key=lambda s: ORDER[s])
    return Item(one.source, _label(notes), split, extra)
