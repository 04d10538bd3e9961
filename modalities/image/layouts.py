"""The layouts of picture folders that are understood, and what they say of labels and splits.

COCO (`annotations/*.json` beside folders of pictures), VOC (`JPEGImages/` and
`Annotations/*.xml`), those of `modalities.common.folders`, and
any of them with a csv in place of their labels: columns `file` and `label`, see
`modalities.common.csv_labels`.
"""

from pathlib import Path

from modalities.common import folders
from modalities.common.csv_labels import read_labels
from modalities.image.coco import coco, is_coco
from modalities.image.voc import is_voc, voc
from modalities.items import Item, UserError

EXTENSIONS = frozenset(
    (".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg",
     ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff",
     ".webp")
)  # fmt: skip


def find(source: Path, labels: Path | None = None) -> list[Item]:
    """All pictures of a folder, ordered by path; `labels` a csv, or None or the source itself."""
    files = folders.files(source, "pictures")
    pictures = folders.with_extension(files, EXTENSIONS)
    if labels is not None and labels.resolve() != source.resolve():
        given = read_labels(labels, source, files)
        # a file named in the csv is an item whatever its extension
        items = [given.get(f, Item(f)) for f in sorted({*pictures, *given})]
    elif is_coco(source):
        items = coco(source, files, pictures)
    elif is_voc(source):
        items = voc(source, pictures)
    else:
        items = folders.items(pictures)
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
    if is_voc(source):
        return "VOC"
    return folders.layout(folders.with_extension(folders.files(source, "pictures"), EXTENSIONS))
