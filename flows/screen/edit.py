"""Changes to params.yaml on the user's behalf: comments kept, checked before, shown as a diff."""

import csv
import difflib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from modalities.items import UserError
from modalities.named import reading
from tasks.settings.mistakes import nearest
from tasks.settings.params import MODALITIES, PARAMS, load

PLAYROOM = "playroom"
BACKUP = Path("params.yaml.bak")
ODD = 5  # of what is no file in a source, so many are named
WARNING = "ingest goes on without what is no file; plain `dvc` stops or hangs at all of them"


def diff(before: str, after: str) -> list[str]:
    """The lines of a unified diff of params.yaml; empty when nothing changed."""
    name = str(PARAMS)
    return [
        line.rstrip("\n")
        for line in difflib.unified_diff(
            before.splitlines(), after.splitlines(), name, name, n=1, lineterm=""
        )
    ]


def _changed(text: str, change: Callable[[Any], None]) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        """Writes `null` where the user wrote it, not nothing."""

    Representer.add_representer(
        type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml = YAML()
    yaml.Representer = Representer
    yaml.preserve_quotes = True
    yaml.width = 4096  # never fold a line that the user wrote
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(text)
    change(tree)
    buffer = io.StringIO()
    yaml.dump(tree, buffer)
    return buffer.getvalue()


def _save(root: Path, text: str) -> None:
    """Checked as params.yaml before it becomes params.yaml."""
    part = root / f".{PARAMS}.{os.getpid()}.part"
    part.write_text(text, "utf-8")
    try:
        _check(part)
        part.replace(root / PARAMS)
    finally:
        part.unlink(missing_ok=True)


def _check(path: Path) -> None:
    try:
        load(path)
    except UserError as mistake:
        raise UserError(str(mistake).replace(str(path), str(PARAMS))) from None


def _stored(root: Path, path: Path) -> str:
    """A path as params.yaml keeps it: relative if inside the project, else absolute."""
    full = path.expanduser().resolve()
    if (name := os.fsencode(full).decode("utf-8", "backslashreplace")) != str(full):
        raise UserError(f"{name}: its name is not UTF-8, which params.yaml needs: rename it")
    inside = full.is_relative_to(root.resolve())
    return full.relative_to(root.resolve()).as_posix() if inside else str(full)


def named(root: Path, modality: str, source: str, where: Path | None, download: bool) -> str:
    """The folder of a data set by name, torchvision:NAME; any other source as it is."""
    from modalities.image.reading.torchvision_sets import PREFIX, folder

    if not source.startswith(PREFIX):
        if where is not None or download:
            raise UserError("--root and --download are for torchvision's data sets by name")
        return source
    if modality != "image":
        raise UserError(f"{source}: torchvision's data sets are pictures; found {modality!r}")
    name = source.removeprefix(PREFIX)
    target = root / "raw/torchvision" / name
    return str(folder(name, where or target, target, download=download))


def data(root: Path, modality: str, source: str, labels: Path | None) -> tuple[list[str], str]:
    """Point a modality at a folder, or at the Playroom again; (diff, what was found there)."""
    if modality not in MODALITIES:
        raise UserError(f"unknown modality {modality!r}{nearest(modality, list(MODALITIES))}")
    made = f"raw/playroom/{modality}"
    if source == PLAYROOM and not Path(source).exists():
        if labels is not None:
            raise UserError("the Playroom has its own labels: leave --labels out")
        where, told, found = made, made, "the Playroom, generated when the pipeline runs"
    else:
        where = _stored(root, Path(source))
        told = where if labels is None else _stored(root, labels)
        found = _look(root, modality, where, told)
    before = (root / PARAMS).read_text("utf-8")
    _check(root / PARAMS)  # a file that is already broken is the user's to mend

    def change(tree: Any) -> None:
        tree[modality]["source"], tree[modality]["labels"] = where, told
        make = tree.setdefault("playroom", {}).setdefault("make", [])
        if where == made and modality not in make:
            make.append(modality)
            make.sort(key=MODALITIES.index)
        if where != made and modality in make:
            make.remove(modality)

    after = _changed(before, change)
    _save(root, after)
    return diff(before, after), found


def _look(root: Path, modality: str, source: str, labels: str) -> str:
    """What is at the source; UserError if it is not there or holds nothing to learn from."""
    folder = root / source
    if not folder.is_dir():
        kind = "is a file, expected a folder" if folder.exists() else "does not exist"
        raise UserError(f"{folder}: {kind}")
    table = None if labels == source else root / labels
    if table is not None:
        _check_csv(table)
    items = reading(modality).find(folder, table)
    told = sum(item.label is not None for item in items)
    classes = {item.label for item in items} - {None}
    if not items:
        raise UserError(f"{folder}: nothing to read as {modality} was found")
    found = (
        f"{len(items)} items, {told} labelled, {len(classes)} classes"
        if told
        else f"{len(items)} items without labels: encoders, but no transfer table"
    )
    return "\n".join([found, *_odd(folder)])


def _odd(folder: Path) -> list[str]:
    """What is no file is quarantined or passed over; plain `dvc` does not get past it."""
    from flows.dvc.folders import hurdles
    from tasks.ingest.table import shown

    told = [f"{shown(name)} ({what})" for name, what in sorted(hurdles(folder).items())]
    more = f" and {len(told) - ODD} more" if len(told) > ODD else ""
    return [f"{len(told)} odd: {', '.join(told[:ODD])}{more}", WARNING] if told else []


def _check_csv(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: expected a csv file with the columns file, label; found none")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            header = [name.strip().lower() for name in next(csv.reader(file), [])]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not a csv file in UTF-8: {error}") from None
    if missing := {"file", "label"} - set(header):
        raise UserError(
            f"{path}: expected the columns file, label; found {', '.join(header) or 'nothing'} "
            f"(missing: {', '.join(sorted(missing))})"
        )


def profiles(root: Path) -> list[str]:
    """The ready-made params.yaml files, by name."""
    return sorted(p.stem for p in (root / "profiles").glob("*.yaml"))


def profile(root: Path, name: str) -> list[str]:
    """Put a ready-made params.yaml in place and keep the user's beside it; the diff."""
    known = profiles(root)
    if name not in known:
        raise UserError(f"no profile {name!r}{nearest(name, known)}")
    before = (root / PARAMS).read_text("utf-8")
    after = (root / "profiles" / f"{name}.yaml").read_text("utf-8")
    if before == after:
        return []
    _save(root, after)
    (root / BACKUP).write_text(before, "utf-8")
    return diff(before, after)
