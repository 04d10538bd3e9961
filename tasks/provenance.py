"""What an output was made of, and whether that is what is there now.

Every stage leaves a record beside its output, `models/RUN.json` of `models/RUN`: digests of what it
read and of the code that decides it, and its parameters as they were written. The record is an
output of its own in dvc.yaml: DVC keeps and restores it with the other, and nothing reads it but
the report, so a remark in a stage's code re-runs that stage and not those after it.

An output is current if its record says what would be recorded now, and if the same holds for all
that it was made from. Only what is current may be shown as a result.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.settings.params import PARAMS, Params
from tasks.settings.templates import at
from tasks.stage import read_json, write_json
from tasks.wiring import ROOT, Wired, wired

CODE = ("tasks", "modalities")
# Files whose content counts; of all others, such as pictures and sounds, the name and the size do.
READ = {".csv", ".json", ".npy", ".parquet", ".safetensors", ".tsv", ".txt", ".xml"}
WHOLE = 1 << 24  # bytes; of a larger file so many blocks are read, evenly spread
BLOCKS, BLOCK = 256, 1 << 16
FEW = 3  # names in a reason

Record = dict[str, Any]


def record_file(stage: Wired) -> Path | None:
    """Where a stage leaves its record, if it leaves one: the report does not."""
    path = f"{stage.outs[0]}.json" if stage.outs else ""
    return Path(path) if path in stage.outs else None


class Now:
    """What is there now; every file is looked at once."""

    def __init__(self, params: Params) -> None:
        values = params.model_dump(mode="json")
        # As they were written, as DVC compares them: a default that is written out is a change.
        self.told = params.model_dump(mode="json", exclude_unset=True)
        self.stages = wired(values)
        self.maker = {out: stage.name for stage in self.stages.values() for out in stage.outs}
        sections = [each for each in values.values() if "source" in each]
        self.sources = {each[key] for each in sections for key in ("source", "labels")}
        self._digests: dict[str, str | None] = {}
        self._reasons: dict[str, tuple[str, ...]] = {}

    def made_of(self, stage: Wired) -> Record:
        """The record that the stage would leave now."""
        read = [dep for dep in stage.deps if dep.split("/")[0] not in CODE]
        return {
            "stage": stage.name,
            "inputs": {dep: self._digest(dep) for dep in read},
            "params": {key: at(self.told, key) for key in stage.params},
            "code": code_of(stage),
        }

    def reasons(self, name: str) -> tuple[str, ...]:
        """Why what a stage left is not of now; empty if it is, or if there is nothing."""
        if name not in self._reasons:
            self._reasons[name] = tuple(dict.fromkeys(self._why(name)))
        return self._reasons[name]

    def current(self, name: str) -> bool:
        return not self.reasons(name)

    def stale(self) -> list[dict[str, Any]]:
        """All that is there and not of now: stage, reasons, and the command that renews it."""
        return [
            {"stage": name, "reasons": list(self.reasons(name)), "renew": f"glean run {name}"}
            for name in self.stages
            if not self.current(name)
        ]

    def _why(self, name: str) -> Iterator[str]:
        stage = self.stages.get(name)
        if stage is None:
            yield f"dvc.yaml has no stage {name}"
            return
        path = record_file(stage)
        if path is None or not Path(stage.outs[0]).exists():
            return
        record = read_json(path)
        if record is None:
            yield f"nothing says what {stage.outs[0]} was made of"
            return
        now = self.made_of(stage)
        yield from _changes(record.get("params") or {}, now["params"])
        yield from self._inputs(record.get("inputs") or {}, now["inputs"])
        yield from _code(record.get("code") or {}, now["code"])
        for dep in stage.deps:
            if dep in self.maker:
                yield from self.reasons(self.maker[dep])

    def _inputs(self, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
        for path, digest in now.items():
            if digest is None and path in self.sources:
                continue  # a disk that is not plugged in: what was read from it is still there
            if digest is None and then.get(path) is not None:
                yield f"{path} is not there any more"
            elif path not in then:
                yield f"it reads {path} now"
            elif then[path] != digest:
                yield f"{path} has changed since"

    def _digest(self, path: str) -> str | None:
        if path not in self._digests:
            self._digests[path] = digest(Path(path))
        return self._digests[path]


def code_of(stage: Wired) -> dict[str, str | None]:
    """The code that decides a stage: the files and folders that dvc.yaml names, with digests.

    It must not see what DVC does not: such a change would be told and could not be renewed.
    """
    named = [dep for dep in stage.deps if dep.split("/")[0] in CODE]
    return {dep: _code_digest(ROOT / dep) for dep in named}


def _code_digest(path: Path) -> str | None:
    if path.is_file():
        return _short(path.read_bytes())
    files = sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    text = "".join(f"{p.relative_to(path)} {_short(p.read_bytes())}\n" for p in files)
    return _short(text.encode()) if files else None


def digest(path: Path) -> str | None:
    """Of a file's content, or of a folder's names, sizes and the contents that count."""
    if path.is_file():
        return _short(_content(path))
    if not path.is_dir():
        return None
    lines = [
        f"{file.relative_to(path).as_posix()} {file.stat().st_size} "
        + (_short(_content(file)) if file.suffix.lower() in READ else "")
        for file in _files(path)
    ]
    return _short(os.fsencode("\n".join(sorted(lines))))  # names may be no UTF-8


def _files(folder: Path) -> Iterator[Path]:
    """All that is not hidden; links to folders are followed, loops are not."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(Path(place).resolve())
        folders[:] = [f for f in folders if f[0] != "." and Path(place, f).resolve() not in seen]
        yield from (p for n in names if n[0] != "." and (p := Path(place, n)).is_file())


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size <= WHOLE:
        return path.read_bytes()
    taken = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for block in range(BLOCKS):
            file.seek(block * (size - BLOCK) // (BLOCKS - 1))
            taken.update(file.read(BLOCK))
    return taken.digest()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _changes(then: Any, now: Any, key: str = "") -> Iterator[str]:
    """`params.yaml: image.size is 64, was 32`, for each value that differs."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for part in dict.fromkeys([*then, *now]):
            name = f"{key}.{part}" if key else str(part)
            yield from _changes(then.get(part), now.get(part), name)
    elif then != now:
        said = ["not set" if each is None else str(each) for each in (now, then)]
        yield f"{PARAMS}: {key} is {said[0]}, was {said[1]}"


def _code(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    changed = [path for path in dict.fromkeys([*now, *then]) if then.get(path) != now.get(path)]
    if changed:
        more = f" and {len(changed) - FEW} more" if len(changed) > FEW else ""
        yield f"other code: {', '.join(changed[:FEW])}{more}"


@contextmanager
def recorded(params: Params, name: str) -> Iterator[None]:
    """Leave a stage's record when the block ends without an error.

    It says what was there when the stage began; an older record goes before anything else does.
    """
    now = Now(params)
    stage = now.stages.get(name)
    path = record_file(stage) if stage else None
    if stage is None or path is None:
        yield
        return
    path.unlink(missing_ok=True)
    record = now.made_of(stage)
    yield
    write_json(path, record)
