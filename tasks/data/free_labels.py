"""The labels that a labeler left in labels/NAME, as columns of a pretraining run's batches."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities.items import UserError
from tasks.settings.strict import NONE

if TYPE_CHECKING:
    from tasks.settings.runs import Run

LABELS = Path("labels")


def columns(run: "Run", items: int) -> dict[str, Any]:
    """`free_label` and `free_confidence`: memory maps with one line per item, if a run has any."""
    name = getattr(run, "labels", NONE)
    return {} if name == NONE else of(name, items)


def of(name: str, items: int) -> dict[str, Any]:
    """The columns of labels/NAME, whose lines must be as many as the items."""
    import numpy as np

    folder = _folder(name)
    found = {
        f"free_{column}": np.load(folder / f"{file}.npy", mmap_mode="r")
        for column, file in (("label", "labels"), ("confidence", "confidence"))
    }
    for key, column in found.items():
        if len(column) != items:
            raise UserError(f"{folder}: {key} of {len(column)} items, expected {items}")
    return found


def fingerprint(run: "Run") -> str | None:
    """Of the labels that a run learns from."""
    name = getattr(run, "labels", NONE)
    return None if name == NONE else fingerprint_of(name)


def fingerprint_of(name: str) -> str:
    """Of labels/NAME."""
    told = json.loads((_folder(name) / "metrics.json").read_text("utf-8"))
    return str(told["fingerprint"])


def _folder(name: str) -> Path:
    folder = LABELS / name
    if not (folder / "metrics.json").exists():
        text = f"{folder}/metrics.json: not found; run `python -m tasks label {name}` first"
        raise UserError(text)
    return folder
