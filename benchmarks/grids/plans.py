"""Which cells each grid has. Settings that a cell does not name are the lecture profile's."""

from collections.abc import Mapping
from typing import Any

from benchmarks.grids import cells
from benchmarks.grids.cells import Cell
from benchmarks.world import ROOT

# Epochs that take about 45 s of one core; the lecture profile has three to five times as many.
EPOCHS = {
    "rotation": 7, "jigsaw": 8, "context": 14, "colorization": 7, "inpainting": 8,
    "moco_v1": 12, "moco_v2": 12, "simclr": 10, "byol": 8, "mae": 6, "contrastive": 10,
}  # fmt: skip
SEEDS = (0, 1, 2)
SEVERAL = ("rotation", "moco_v2")  # methods with several pretraining seeds
VIEWS = {"crop": 0.4, "grey": 0.4}


def lecture() -> dict[str, dict[str, Any]]:
    """The lecture profile's runs, one per method, as plain values."""
    from tasks.params import load

    runs = load(ROOT / "profiles" / "lecture.yaml").image.runs
    return {
        name: run.model_dump(exclude={"seed"}, exclude_defaults=True)
        for name, run in runs.items()
        if run.seed is None
    }


def cell(method: str, change: Mapping[str, Any] | None = None, **other: Any) -> Cell:
    """A method's short run; `change` is of its options, `other` of the run or the cell."""
    run = lecture()[method]
    own = {key: other.pop(key) for key in ("world", "items", "seed") if key in other}
    run |= {"epochs": EPOCHS[method], **other}
    run["options"] = {**run.get("options", {}), **(change or {})}
    return Cell(run, **own)


def transfer() -> dict[str, list[Cell]]:
    """By the name of a row: its cells, one per pretraining seed; then the controls."""
    found = {
        name: [cell(name, seed=seed) for seed in (SEEDS if name in SEVERAL else SEEDS[:1])]
        for name in lecture()
    }
    return found | {name: [Cell(control=name)] for name in cells.CONTROLS}
