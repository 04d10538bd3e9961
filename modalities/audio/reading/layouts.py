"""The layouts of folders of sounds that are understood, and what they say of labels and splits.

- ESC-50: `meta/esc50.csv` (filename, fold, category) beside `audio/`: fold 5 is the test split,
  fold 4 validates, the others train; files that the csv does not name are unlabelled;
- Speech Commands: `testing_list.txt` or `validation_list.txt` beside a folder per word; the files
  they name are test and val, the others train; `_background_noise_` is unlabelled;
- those of `modalities.common.reading.folders`;
- any of them with a csv in place of their labels, see `modalities.common.reading.csv_labels`.

Sound tracks of video files are items too.
"""

import csv
from pathlib import Path

from modalities.common.reading import folders
from modalities.items import Item, UserError

EXTENSIONS = frozenset(
    (".aac", ".aif", ".aiff", ".au", ".avi", ".caf", ".flac", ".m4a", ".m4v", ".mka", ".mkv",
     ".mov", ".mp3", ".mp4", ".mpeg", ".mpg", ".oga", ".ogg", ".opus", ".w64", ".wav", ".webm",
     ".wma")
)  # fmt: skip
FOLDS = {"1": "train", "2": "train", "3": "train", "4": "val", "5": "test"}
LISTS = {"testing_list.txt": "test", "validation_list.txt": "val"}
NOISE = "_background_noise_"


def _is_esc(source: Path) -> bool:
    return (source / "meta/esc50.csv").is_file()


def _is_commands(source: Path) -> bool:
    return any((source / name).is_file() for name in LISTS)


def _esc(source: Path, sounds: list[str]) -> list[Item]:
    path = source / "meta/esc50.csv"
    there, found, missing = set(sounds), {}, []
    for line, row in _rows(path, ("filename", "fold", "category")):
        file = f"audio/{row.pop('filename')}"
        fold, label = row.pop("fold"), row.pop("category")
        if fold not in FOLDS:
            raise UserError(f"{path}:{line}: fold: expected 1 to 5, found {fold!r}")
        if file not in there:
            missing.append(f"line {line}: {file}")
        found[file] = Item(file, folders.name(label), FOLDS[fold], {"fold": fold, **row})
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(f"{path}: not in {source}: {'; '.join(missing[:5])}{more}")
    return [found.get(file, Item(file)) for file in sounds]


def _rows(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """(line, column -> value) of every row."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restval="", restkey="more")
            header = reader.fieldnames or []
            for column in needed:
                if column not in header:
                    listed = ", ".join(header) or "nothing"
                    raise UserError(f"{path}:1: expected a column {column!r}, found {listed}")
            return [(reader.line_num, {k: str(v) for k, v in row.items()}) for row in reader]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except csv.Error as error:
        raise UserError(f"{path}: not a readable csv: {error}") from None


def _commands(source: Path, sounds: list[str]) -> list[Item]:
    """A list may name files that are not there: a part of the words is a data set too."""
    splits = {}
    for name, split in LISTS.items():
        path = source / name
        lines = path.read_text("utf-8").splitlines() if path.is_file() else []
        splits.update({line.strip(): split for line in lines if line.strip()})
    items = []
    for file in sounds:
        word = file.split("/", 1)[0]
        if "/" not in file or word == NOISE:
            items.append(Item(file))
        else:
            items.append(Item(file, folders.name(word), splits.get(file, "train")))
    return items


KIND = folders.Kind(
    "sounds",
    EXTENSIONS,
    (
        folders.Layout(
            "ESC-50", lambda source, *_: _is_esc(source),
            lambda source, _, sounds: _esc(source, sounds),
        ),
        folders.Layout(
            "Speech Commands", lambda source, *_: _is_commands(source),
            lambda source, _, sounds: _commands(source, sounds),
        ),
    ),
)  # fmt: skip
find, count, describe = KIND.find, KIND.count, KIND.describe
