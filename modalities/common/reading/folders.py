"""Folders of files of any modality: what lies in them, and what their names say of labels, splits.

- split folders: `train/`, `val/`, `test/` (any of them, and `unlabelled/`) on top, below each of
  them a folder per class, or files without labels;
- a folder per class: every file lies in a folder, and there are at least two on top; deeper folders
  have no meaning, and one named `unlabelled` is no class. Folders that mean something else (years,
  devices) look the same: give a csv of labels then, or put all into one `unlabelled/`;
- anything else: files without labels.

Hidden files and files with other extensions are no items.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeGuard

from modalities.common.reading.csv_labels import read_labels
from modalities.items import Item, UserError

SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("unlabelled", "unlabeled"), "unlabelled"),
}

NO_FILES = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class Layout(NamedTuple):
    """One that a modality knows beside the three of all."""

    name: str
    # Both of: source, all files, those that count.
    fits: Callable[[Path, list[str], list[str]], bool]
    items: Callable[[Path, list[str], list[str]], list[Item]]


@dataclass(frozen=True)
class Kind:
    """What a modality's folders hold, by extension, and the layouts of its own."""

    what: str  # in the plural
    extensions: frozenset[str]
    layouts: tuple[Layout, ...] = ()
    select: Callable[[list[str]], list[str]] | None = None  # which files count, if not by extension

    def find(self, source: Path, labels: Path | None = None) -> list[Item]:
        """All items of a folder, ordered by path; `labels` a csv, or None or the source itself."""
        found = files(source, self.what)
        counted = self._counted(found)
        if _apart(labels, source):
            given = read_labels(labels, source, found)
            # a file named in the csv is an item whatever its extension
            told = [given.get(f, Item(f)) for f in sorted({*counted, *given})]
        elif own := self._own(source, found, counted):
            told = own.items(source, found, counted)
        else:
            told = items(counted)
        if not told:
            known = " ".join(sorted(self.extensions))
            text = f"no {self.what} found; looked, in all its folders, for {known}"
            raise UserError(f"{source}: {text}")
        return told

    def count(self, source: Path, labels: Path | None = None) -> int:
        """How many items `find` would give; nothing is decoded."""
        return len(self.find(source, labels))

    def describe(self, source: Path, labels: Path | None = None) -> str:
        """The layout that `find` takes a source for, in words."""
        if _apart(labels, source):
            return f"labels from {labels.name}"
        found = files(source, self.what)
        counted = self._counted(found)
        own = self._own(source, found, counted)
        return own.name if own else layout(counted)

    def _counted(self, found: list[str]) -> list[str]:
        return self.select(found) if self.select else with_extension(found, self.extensions)

    def _own(self, source: Path, found: list[str], counted: list[str]) -> Layout | None:
        return next((one for one in self.layouts if one.fits(source, found, counted)), None)


def _apart(labels: Path | None, source: Path) -> TypeGuard[Path]:
    """Whether labels come from a csv of their own."""
    return labels is not None and labels.resolve() != source.resolve()


def files(source: Path, what: str) -> list[str]:
    """All files below `source`, "/" separated; UserError if it is no folder of `what`."""
    if not source.is_dir():
        wrong = "is not a folder" if source.exists() else "not found"
        raise UserError(f"{source}: {wrong}; expected a folder of {what}")
    return sorted(_walk(source, "", ()))


def no_file(path: Path | str) -> str | None:
    """What lies there, if it is no file that can be opened: opening a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (a third of the time of Path.stat)
    except OSError as error:
        dangling = error.errno == errno.ENOENT and os.path.islink(path)  # noqa: PTH114
        return "a link to nothing" if dangling else error.strerror or "nothing"
    if stat.S_ISREG(mode):
        return None
    return f"{NO_FILES.get(stat.S_IFMT(mode), 'something else')}, not a file"


def read_text(path: Path) -> str:
    """A file's text in UTF-8; UserError for what is no file, ValueError for other text."""
    if (what := no_file(path)) is not None:
        raise UserError(f"{path}: {what}; expected a file")
    return path.read_text("utf-8")


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
            listed = [(e.name, _is_folder(e)) for e in entries if not hidden(e.name)]
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


def hidden(entry: str) -> bool:
    """Whether that is the name of something that is passed over without a word."""
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
