"""Every objective's training speed, and what masking saves: a section of docs/BENCHMARKS.md.

    python -m benchmarks objectives [--quick]

About eight minutes on a quiet machine. `--quick` tries two objectives.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.machine import machine
from benchmarks.speed.loops.lightly_loops import LOOPS
from benchmarks.speed.masking import Everything
from benchmarks.speed.training import ROOT, shares
from modalities.common.network.masking import divide
from modalities.image.network.vit import ViT

SECONDS = 2.5  # of each measurement, after its first steps
BATCH = 256
ENCODERS = ("small", "resnet18")
PATCHED = {"mae": ("vit",)}  # objectives that need an encoder made of patches
OPTIONS: dict[str, dict[str, Any]] = {  # where the published ones do not fit 32 px or a CPU
    "moco_v1": {"queue": 4096}, "moco_v2": {"queue": 4096}, "byol": {"hidden": 1024},
}  # fmt: skip
SECTION = """
## Every objective

`python -m benchmarks objectives`. 32 px, batch {batch}, both cores for everybody, bf16: two runs of
ours at the same time, a thread each, as `glean run` has them, their pictures added up; lightly as
its documentation shows it, in float32, with two loading workers. *Share*: what the full loop
(reading, views, step, losses, curves, checkpoints) reaches of the bare step on a batch in memory,
steps of both taken in turn in one process (aim 0.9). *Factor*: our loop against lightly's, which
ran before and after (aim 3). Machine: {machine}.

{speed}

MAE's encoder alone, forward and backward, CPU time with one thread, batch 64, the vit of
`params.yaml` with patch 4, 75 % of the patches masked (aim 3):

{masked}
"""


def names() -> list[str]:
    """All objectives that learn from pictures alone."""
    folder = ROOT / "modalities" / "image" / "objectives"
    return sorted(p.stem for p in folder.glob("[a-z]*.py"))


def speed(objectives: Sequence[str], seconds: float = SECONDS) -> str:
    """The table, in Markdown; without lightly installed its columns are empty."""
    lines = [
        "| objective | encoder | bare step, pictures/s | our loop | share | lightly | factor |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for objective in objectives:
        for encoder in PATCHED.get(objective, ENCODERS):
            setting = {
                "objective": objective, "encoder": encoder, "size": 32, "batch": BATCH,
                "options": OPTIONS.get(objective, {}), "seconds": seconds,
            }  # fmt: skip
            cells = shares(setting, lightly=objective in LOOPS, together=True)
            lines.append(f"| {objective} | {encoder} | {cells} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def encoding(encoder: ViT, size: int, precision: str, steps: int) -> float:
    """CPU seconds of the encoder's forward and backward pass with 75 % masked; the median."""
    x = torch.randn(64, 3, size, size)
    visible, _ = divide(torch.rand(64, (size // encoder.patch) ** 2), 0.75)
    taken = []
    for _ in range(steps + 1):
        started = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            found = encoder.tokens(x, visible)
        found.float().square().mean().backward()  # type: ignore[no-untyped-call]
        taken.append(time.process_time() - started)
    return median(taken[1:])


def masked(steps: int = 5, sizes: Sequence[int] = (32, 64), **shape: Any) -> str:
    """The table, in Markdown: the encoder with the visible patches, and with all of them."""
    torch.set_num_threads(1)
    lines = ["| | visible patches only, ms | all patches, ms | factor |", "|---|---:|---:|---:|"]
    for size in sizes:
        for precision in ("bf16", "fp32"):
            only = encoding(ViT(**shape), size, precision, steps)
            every = encoding(Everything(**shape), size, precision, steps)
            cells = f"{1000 * only:.0f} | {1000 * every:.0f} | **{every / only:.1f}**"
            lines.append(f"| {size} px, {precision} | {cells} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def page(*, quick: bool) -> str:
    """The section."""
    if quick:
        table, saved = speed(["mae", "rotation"], 0.3), masked(1, (32,))
    else:
        table, saved = speed(names()), masked()
    return SECTION.format(batch=BATCH, speed=table, masked=saved, machine=machine())
