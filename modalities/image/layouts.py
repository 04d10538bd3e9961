"""The layouts of picture folders that are understood, and what they say of labels and splits.

- COCO: `annotations/*.json` beside folders of pictures;
- VOC: `JPEGImages/` and `Annotations/*.xml`;
- split folders: `train/`, `val/`, `test/` (any of them, and `unlabelled/`) on top, below each of
  them a folder per class, or pictures without labels;
- a folder per class: every picture lies in a folder, and there are at least two on top; deeper
  folders have no meaning, and one named `unlabelled` is no class. Folders that mean something else
  (years, cameras) look the same: give a csv of labels then, or put all into one `unlabelled/`;
- anything else: pictures without labels;
- any of them with a csv in place of their labels: columns `file` and `label`, see `csv_labels`.

Hidden files and files with other extensions are no items.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from modalities.image.coco import coco, is_coco
from modalities.image.csv_labels import read_labels
from modalities.image.voc import is_voc, voc
from modalities.items import Item, UserError

EXTENSIONS = frozenset(
    (".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg",
     ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff",
     ".webp")
)  # fmt: skip
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}


def find(source: Path, labels: Path | None = None) -> list[Item]:
    """All pictures of a folder, ordered by path; `labels` a csv, or None or the source itself."""
    files = _files(source)
    if labels is not None and labels.resolve() != source.resolve():
        given = read_labels(labels, source, files)
        # a file named in the csv is an item whatever its extension
        items = [given.get(f, Item(f)) for f in sorted({*_pictures(files), *given})]
    elif is_coco(source):
        items = coco(source, files, _pictures(files))
    elif is_voc(source):
        items = voc(source, _pictures(files))
    else:
        items = LAYOUTS[_layout(_pictures(files))](_pictures(files))
    if not items:
        known = " ".join(sorted(EXTENSIONS))
        raise UserError(f"{source}: no pictures found; looked, in all its folders, for {known}")
    return items


def count(source: Path, labels: Path | None = None) -> int:
    """How many items `find` would give; nothing is decoded."""
    return len(find(source, labels))


def describe(source: Path, labels: Path | None = None) -> str:
    """The layout that `find` takes a source for, in words."""
    if labels is not None and labels.resolve() != source.resolve():
        return f"labels from {labels.name}"
    if is_coco(source):
        return "COCO"
    return "VOC" if is_voc(source) else _layout(_pictures(_files(source)))


def _files(source: Path) -> list[str]:
    if not source.is_dir():
        what = "is not a folder" if source.exists() else "not found"
        raise UserError(f"{source}: {what}; expected a folder of pictures")
    return sorted(_walk(source, "", ()))


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    """Paths of all files relative to the top, "/" separated; links to folders are followed, loops
    are not. A folder that may not be listed is yielded itself, to be quarantined by name."""
    try:
        status = folder.stat()
        with os.scandir(folder) as entries:
            listed = [(e.name, _is_folder(e)) for e in entries if not _hidden(e.name)]
    except OSError as error:
        if not prefix:
            raise UserError(f"{folder}: cannot be listed: {error.strerror}") from None
        yield prefix
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for name, is_folder in listed:
        if is_folder:
            yield from _walk(folder / name, f"{prefix}{name}/", (*above, here))
        else:
            yield prefix + name


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name.lower() in ("thumbs.db", "desktop.ini")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _pictures(files: list[str]) -> list[str]:
    return [f for f in files if f.endswith("/") or os.path.splitext(f)[1].lower() in EXTENSIONS]  # noqa: PTH122


def _layout(pictures: list[str]) -> str:
    tops = {f.split("/", 1)[0] if "/" in f else "" for f in pictures}
    if tops and all(top.lower() in SPLIT_FOLDERS for top in tops):
        return "split folders"
    return "folder per class" if "" not in tops and len(tops) > 1 else "no labels"


def _name(text: str) -> str:
    """A class's name: one spelling of accents, and always valid text."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", clean)


def _by_split(pictures: list[str]) -> list[Item]:
    items = []
    for file in pictures:
        top, *folders = file.split("/")[:-1]
        split = SPLIT_FOLDERS[top.lower()]
        if split == "unlabelled":
            items.append(Item(file))
        else:
            items.append(Item(file, _name(folders[0]) if folders else None, split))
    return items


def _by_class(pictures: list[str]) -> list[Item]:
    tops = [file.split("/", 1)[0] for file in pictures]
    return [
        Item(file, None if SPLIT_FOLDERS.get(top.lower()) == "unlabelled" else _name(top))
        for file, top in zip(pictures, tops, strict=True)
    ]


def _flat(pictures: list[str]) -> list[Item]:
    return [Item(file) for file in pictures]


LAYOUTS = {"split folders": _by_split, "folder per class": _by_class, "no labels": _flat}
