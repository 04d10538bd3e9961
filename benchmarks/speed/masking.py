"""What it saves that MAE's encoder sees the visible patches alone.

    python -m benchmarks.speed.masking

The same step, with the encoder given all patches and the masked ones dropped after it. The aim, and
the claim of arXiv:2111.06377, is a factor of 3 at 75 % masked. One thread.
"""

import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.common.network.masking import take_tokens
from modalities.common.steps.optim import optimizer
from modalities.image.network.factory import build
from modalities.image.network.vit import ViT
from modalities.image.objectives.mae import MAE

BATCH = 64


class Everything(ViT):
    """The same network, which encodes every patch."""

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        found = super().tokens(x)
        return found if visible is None else take_tokens(found, visible)


def seconds(encoder: ViT, size: int, precision: str, steps: int) -> float:
    """CPU time of a whole step, views and update included; the median."""
    torch.manual_seed(0)
    objective = MAE(encoder)
    adam = optimizer("adamw", objective.parameters(), 1e-3, 0.05)
    items = torch.randint(0, 256, (BATCH, size, size, 3), dtype=torch.uint8)
    taken = []
    for step in range(steps + 1):
        started = time.process_time()
        rng = Randomness(torch.Generator().manual_seed(step), total=BATCH)
        views = objective.views({"items": items}, rng)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = objective(views).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
        taken.append(time.process_time() - started)
    return median(taken[1:])


def main(steps: int = 4, sizes: tuple[int, ...] = (32, 64), **shape: Any) -> str:
    """The table, in Markdown."""
    torch.set_num_threads(1)
    lines = [
        "| vit, patch 4 | visible patches only, pictures/s | all patches | factor (aim 3) |",
        "|---|---:|---:|---:|",
    ]
    for size in sizes:
        for precision in ("bf16", "fp32"):
            only = seconds(build("vit", **shape), size, precision, steps)  # type: ignore[arg-type]
            every = seconds(Everything(**shape), size, precision, steps)
            cells = f"{BATCH / only:.0f} | {BATCH / every:.0f} | **{every / only:.1f}**"
            lines.append(f"| {size} px, {precision} | {cells} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
