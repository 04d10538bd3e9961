"""The layouts of folders of shapes that are understood, and what they say of labels and splits.

- ShapeNetPart: `synsetoffset2category.txt` on top, `SYNSET/ID.txt` below, the splits in
  `train_test_split/shuffled_{train,val,test}_file_list.json`; what lies in `unlabelled/` is so;
- ModelNet40 as meshes: `CLASS/{train,test}/*.off`; as points: `CLASS/CLASS_0001.txt` with lists
  named `modelnet40_{train,test}.txt` on top;
- PartNet: `ins_seg_h5/CATEGORY/{train,val,test}-00.h5`, or the same in `sem_seg_h5`; each of a
  file's shapes is an item, see `partnet`;
- those of `modalities.common.reading.folders`;
- any of them with a csv in place of their labels, see `modalities.common.reading.csv_labels`.

A cloud of points with a mesh of the same name beside it is one item: points and parts come from the
cloud, and the mesh is what labelers decompose. Where there are meshes, other text files are none.
"""

import json
from pathlib import Path, PurePosixPath

from modalities.common.reading import folders
from modalities.items import Item, UserError
from modalities.shape.reading import partnet
from modalities.shape.reading.suffixes import CLOUDS, MESHES

SYNSETS = "synsetoffset2category.txt"
LISTS = "train_test_split/shuffled_{}_file_list.json"
RESAMPLED = "modelnet40_train.txt"


def _shapes(files: list[str]) -> list[str]:
    meshes = folders.with_extension(files, MESHES)
    clouds = folders.with_extension(files, CLOUDS)
    beside = {str(PurePosixPath(f).with_suffix("")) for f in meshes if not f.endswith("/")}
    if meshes:
        clouds = [f for f in clouds if str(PurePosixPath(f).with_suffix("")) in beside]
    named = {str(PurePosixPath(f).with_suffix("")) for f in clouds if not f.endswith("/")}
    alone = [f for f in meshes if str(PurePosixPath(f).with_suffix("")) not in named]
    return sorted({*alone, *clouds})


def _shapenetpart(source: Path, files: list[str], shapes: list[str]) -> list[Item]:
    names = _synsets(source / SYNSETS)
    listed: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = LISTS.format(split)
        for entry in _entries(source / path) if path in files else []:
            listed["/".join(entry.split("/")[1:]) + ".txt"] = split
    found = [Item(f) for f in shapes if f.startswith("unlabelled/")]
    own = [f for f in shapes if f.count("/") == 1 and f.split("/")[0] in names]
    # A shape that a list names and the disk lacks is an item, to be quarantined by name.
    lacking = [f for f in listed if f not in own and f.split("/")[0] in names]
    named = {*own, *lacking}
    found += [Item(file, names[file.split("/")[0]], listed.get(file)) for file in named]
    return sorted(found, key=lambda item: item.source)


def _synsets(path: Path) -> dict[str, str]:
    """Folder -> category."""
    found = {}
    for number, line in enumerate(folders.read_text(path).splitlines(), 1):
        words = line.split()
        if words and len(words) != 2:
            raise UserError(f"{path}:{number}: expected a category and a folder, found {line!r}")
        if words:
            found[words[1]] = folders.name(words[0])
    return found


def _entries(path: Path) -> list[str]:
    try:
        found = json.loads(folders.read_text(path))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(found, list) or not all(isinstance(e, str) and "/" in e for e in found):
        raise UserError(f"{path}: expected a list of names such as shape_data/02691156/1a2b3c")
    return found


def _is_modelnet(shapes: list[str]) -> bool:
    """CLASS/{train,test}/... for all, and more than the folders of one class."""
    split = [f.split("/") for f in shapes]
    return bool(split) and all(len(s) > 2 and s[1] in ("train", "test") for s in split)


def _modelnet(file: str) -> Item:
    label, split, *_ = file.split("/")
    return Item(file, folders.name(label), split)


def _resampled(source: Path, shapes: list[str]) -> list[Item]:
    splits: dict[str, str] = {}
    for split in ("train", "test"):
        path = source / f"modelnet40_{split}.txt"
        lines = folders.read_text(path).split() if path.exists() else []
        splits.update(dict.fromkeys(lines, split))
    inside = [f for f in shapes if f.count("/") == 1]
    return [
        Item(f, folders.name(f.split("/")[0]), splits.get(PurePosixPath(f).stem)) for f in inside
    ]


KIND = folders.Kind(
    "shapes",
    MESHES | CLOUDS,
    (
        folders.Layout("ShapeNetPart", lambda _, files, __: SYNSETS in files, _shapenetpart),
        folders.Layout(
            "ModelNet40", lambda _, __, shapes: _is_modelnet(shapes),
            lambda _, __, shapes: [_modelnet(file) for file in shapes],
        ),
        folders.Layout(
            "ModelNet40", lambda _, files, __: RESAMPLED in files,
            lambda source, _, shapes: _resampled(source, shapes),
        ),
        folders.Layout(
            "PartNet", lambda _, files, __: any(map(partnet.is_file, files)),
            lambda source, files, _: partnet.items(source, [*filter(partnet.is_file, files)]),
        ),
    ),
    _shapes,
)  # fmt: skip
find, count, describe = KIND.find, KIND.count, KIND.describe
