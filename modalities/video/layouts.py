"""Folders of clips: the layouts of `modalities.common.folders`, or with a csv of labels."""

from pathlib import Path

from modalities.common import folders
from modalities.common.csv_labels import read_labels
from modalities.items import Item, UserError

EXTENSIONS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"))


def find(source: Path, labels: Path | None = None) -> list[Item]:
    """All clips of a folder, ordered by path; `labels` a csv, or None or the source itself."""
    files = folders.files(source, "clips")
    clips = folders.with_extension(files, EXTENSIONS)
    if labels is not None and labels.resolve() != source.resolve():
        given = read_labels(labels, source, files)
        items = [given.get(f, Item(f)) for f in sorted({*clips, *given})]
    else:
        items = folders.items(clips)
    if not items:
        known = " ".join(sorted(EXTENSIONS))
        raise UserError(f"{source}: no clips found; looked, in all its folders, for {known}")
    return items


def count(source: Path, labels: Path | None = None) -> int:
    """How many items `find` would give; nothing is decoded."""
    return len(find(source, labels))


def describe(source: Path, labels: Path | None = None) -> str:
    """The layout that `find` takes a source for, in words."""
    if labels is not None and labels.resolve() != source.resolve():
        return f"labels from {labels.name}"
    return folders.layout(folders.with_extension(folders.files(source, "clips"), EXTENSIONS))
