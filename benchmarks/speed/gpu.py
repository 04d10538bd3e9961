"""Training on a GPU: the full loop against the bare step and lightly: a section of the page.

    python -m benchmarks gpu [--quick]

Needs one that torch finds; about five minutes.
"""

import os
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.speed.loops.lightly_loops import LOOPS
from benchmarks.speed.training import shares

SECONDS = 3.0  # of each measurement, after its first steps
CASES: tuple[tuple[str, str, int, int], ...] = (  # objective, encoder, side, batch
    ("simclr", "small", 32, 256),
    ("simclr", "resnet18", 96, 256),
    ("simclr", "resnet50", 224, 256),
    ("moco_v2", "resnet50", 224, 256),
    ("byol", "resnet50", 224, 256),
    ("rotation", "resnet50", 224, 64),
    ("mae", "timm/vit_base_patch16_224", 224, 256),
)
OPTIONS: dict[str, dict[str, Any]] = {"moco_v2": {"queue": 4096}, "byol": {"hidden": 1024}}
SECTION = """
## On a GPU

`python -m benchmarks gpu`. Pictures/s; bf16, one process for everybody, no loading worker
for our loop and {theirs} for lightly's. *Share*: what the full loop (reading, views on the GPU,
step, losses, curves, checkpoints) reaches of the bare step on a batch that is there (aim 0.9).
*Factor*: our loop against lightly's. Machine: {machine}.

{table}
"""


def table(cases: Sequence[tuple[str, str, int, int]], seconds: float) -> str:
    """In Markdown; without lightly installed its columns are empty."""
    lines = [
        "| objective | encoder | side | batch | bare step | our loop | share | lightly | factor |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for objective, encoder, size, batch in cases:
        setting = {
            "objective": objective, "encoder": encoder, "size": size, "batch": batch,
            "seconds": seconds, "options": OPTIONS.get(objective, {}), "threads": 2,
            "lightly_workers": lightly_workers(),
        }  # fmt: skip
        cells = shares(setting, lightly=objective in LOOPS and objective != "mae")
        lines.append(f"| {objective} | {encoder} | {size} | {batch} | {cells} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def lightly_workers() -> int:
    """One for each core but one."""
    return max(1, (os.cpu_count() or 2) - 1)


def page(*, quick: bool) -> str:
    """The section."""
    if not torch.cuda.is_available():
        raise SystemExit("python -m benchmarks gpu: torch finds no GPU here")
    made = table(CASES[:1], 0.5) if quick else table(CASES, SECONDS)
    return SECTION.format(theirs=lightly_workers(), machine=machine(), table=made)
