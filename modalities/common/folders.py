"""Folders of files of any modality: what lies in them, and what their names say of labels, splits.

- split folders: `train/`, `val/`, `test/` (any of them, and `unlabelled/`) on top, below each of
  them a folder per class, or files without labels;
- a folder per class: every file lies in a folder, and there are at least two on top; deeper folders
  have no meaning, and one named `unlabelled` is no class. Folders that mean something else (years,
  devices) look the same: give a csv of labels then, or put all into one `unlabelled/`;
- anything else: files without labels.

Hidden files and files with other extensions are no items.
"""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from modalities.items import Item, UserError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}


def files(source: Path, what: str) -> list[str]:
    """All files below `source`, "/" separated; UserError if it is no folder of `what`."""
    if not source.is_dir():
        wrong = "is not a folder" if source.exists() else "not found"
        raise UserError(f"{source}: {wrong}; expected a folder of {what}")
    return sorted(_walk(source, "", ()))


def with_extension(files: list[str], extensions: frozenset[str]) -> list[str]:
    """The files with one of these extensions, and the folders that could not be listed."""
    return [f for f in files if f.endswith("/") or os.path.splitext(f)[1].lower() in extensions]  # noqa: PTH122


def layout(files: list[str]) -> str:
    """Which of the three layouts, in words."""
    tops = {f.split("/", 1)[0] if "/" in f else "" for f in files}
    if tops and all(top.lower() in SPLIT_FOLDERS for top in tops):
        return "split folders"
    return "folder per class" if "" not in tops and len(tops) > 1 else "no labels"


def items(files: list[str]) -> list[Item]:
    """The files as items, labelled as their layout says."""
    return {"split folders": _by_split, "folder per class": _by_class, "no labels": _flat}[
        layout(files)
    ](files)


def name(text: str) -> str:
    """A class's name: one spelling of accents, and always valid text."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", clean)


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
    for entry, is_folder in listed:
        if is_folder:
            yield from _walk(folder / entry, f"{prefix}{entry}/", (*above, here))
        else:
            yield prefix + entry


def _hidden(entry: str) -> bool:
    return entry.startswith((".", "__MACOSX")) or entry.lower() in ("thumbs.db", "desktop.ini")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _by_split(files: list[str]) -> list[Item]:
    found = []
    for file in files:
        top, *folders = file.split("/")[:-1]
        split = SPLIT_FOLDERS[top.lower()]
        if split == "unlabelled":
            found.append(Item(file))
        else:
            found.append(Item(file, name(folders[0]) if folders else None, split))
    return found


def _by_class(files: list[str]) -> list[Item]:
    tops = [file.split("/", 1)[0] for file in files]
    return [
        Item(file, None if SPLIT_FOLDERS.get(top.lower()) == "unlabelled" else name(top))
        for file, top in zip(files, tops, strict=True)
    ]


def _flat(files: list[str]) -> list[Item]:
    return [Item(file) for file in files]
