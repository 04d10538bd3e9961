"""Labels from a csv: columns `file` and `label`, `split` if wanted; others are kept with the item.

`file` is relative to the source folder. An empty label, or no row at all: unlabelled.
"""

import csv
import unicodedata
from pathlib import Path, PurePosixPath

from modalities.items import Item, UserError

SPLITS = ("train", "val", "test", "")


def read_labels(path: Path, source: Path, files: list[str]) -> dict[str, Item]:
    """Items by file; UserError with the line for whatever cannot be meant."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "not found"
        text = "expected a csv with the columns file, label, or the source folder itself"
        raise UserError(f"{path}: {what}; {text}")
    known = {unicodedata.normalize("NFC", f): f for f in files}
    items: dict[str, Item] = {}
    lines: dict[str, int] = {}
    missing: list[str] = []
    for line, row in _rows(path):
        name = PurePosixPath(row.pop("file").strip().replace("\\", "/")).as_posix()
        file = known.get(unicodedata.normalize("NFC", name))
        if file is None:
            missing.append(f"line {line}: {name!r}")
            continue
        item = _item(file, row, f"{path}:{line}")
        if file in items and items[file] != item:
            raise UserError(f"{path}:{line}: {name!r} stands in line {lines[file]} already,"
                            f" with other values")  # fmt: skip
        items[file], lines[file] = item, line
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        shown = "; ".join(missing[:5]) + more
        raise UserError(f"{path}: not in {source} (files are relative to it): {shown}")
    return items


def _item(file: str, row: dict[str, str], where: str) -> Item:
    label, split = row.pop("label").strip(), row.pop("split", "").strip()
    if split not in SPLITS:
        raise UserError(f"{where}: split {split!r}; allowed: train, val, test or nothing")
    return Item(file, unicodedata.normalize("NFC", label) or None, split or None, row)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> value) of every row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check(path, header)
            rows = [(reader.line_num, row) for row in reader if any(map(str.strip, row))]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a readable csv: {error}") from None
    for line, row in rows:
        if len(row) != len(header):
            raise UserError(f"{path}:{line}: {len(row)} values for {len(header)} columns")
    return [(line, dict(zip(header, row, strict=True))) for line, row in rows]


def _check(path: Path, header: list[str]) -> None:
    for column in ("file", "label"):
        if header.count(column) != 1:
            found = ",".join(header) or "nothing"
            raise UserError(f"{path}:1: expected a header with file,label; found {found}")
    if len(set(header)) != len(header):
        raise UserError(f"{path}:1: a column stands twice in the header {','.join(header)}")
