"""Checkpoints that are whole or not there: safetensors and JSON, no pickle.

A checkpoint is one file, `STEP-DIGEST.safetensors`: tensors, and everything else as JSON in the
header. It is written under another name, flushed to the disk and renamed; the digest in its name
tells a damaged one, in whose place the one before it is used.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor

ROOT = Path(".checkpoints")
KEEP = 2


def fingerprint(value: Any) -> str:
    """One short name for everything that decides a run, as JSON-able values."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints of one stage, for one fingerprint: `.checkpoints/STAGE/FINGERPRINT/`."""

    def __init__(self, stage: str, name: str, root: Path = ROOT) -> None:
        self.stage = root / stage
        self.folder = self.stage / name

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Keep `state` (nested dicts and lists of tensors and JSON-able values) after `step`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, Tensor] = {}
        rest = _take(state, "", tensors)
        body = to_bytes(tensors, {"state": json.dumps(rest)})
        name = f"{step:09d}-{hashlib.sha256(body).hexdigest()[:16]}.safetensors"
        part = self.folder / f".{name}.{os.getpid()}.part"
        with part.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        part.rename(self.folder / name)
        _flush(self.folder)
        for old in self._found()[KEEP:]:
            old.unlink()

    def load(self) -> tuple[int, dict[str, Any]] | None:
        """The newest undamaged checkpoint: (step, state). None: there is none."""
        for path in self._found():
            step, digest = path.stem.split("-")
            body = path.read_bytes()
            if hashlib.sha256(body).hexdigest()[:16] != digest:
                path.unlink()  # torn by a crash: useless, and it must not count as one of KEEP
                continue
            length = int.from_bytes(body[:8], "little")
            rest = json.loads(json.loads(body[8 : 8 + length])["__metadata__"]["state"])
            return int(step), _give(rest, from_bytes(body))
        return None

    def clear(self) -> None:
        """Remove all checkpoints of the stage, those of other fingerprints too."""
        shutil.rmtree(self.stage, ignore_errors=True)

    def _found(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"), reverse=True)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Move tensors out of a nested value, leaving {"tensor": name} in their places."""
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": path}
    if isinstance(value, dict):
        return {"dict": [[k, _take(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_take(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _give(value: dict[str, Any], tensors: dict[str, Tensor]) -> Any:
    """What `_take` took apart, together again; keys keep their types, tuples become lists."""
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {k: _give(v, tensors) for k, v in value["dict"]}
    if "list" in value:
        return [_give(v, tensors) for v in value["list"]]
    return value["value"]
