"""The step that any training loop must make, and ours around it: endless, an item count each time.

`alone` is the ceiling: forward, backward and optimiser on views that are there. `looped` is what
`python -m tasks pretrain` does: reading from a memory map, views, the step, curves, checkpoints.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from modalities.base import Batch, Objective
    from modalities.common.training.loop import Plan

WARM = 2  # steps that are not counted


def alone(
    objective: "Objective", batch: "Batch", *, precision: str = "bf16", where: str = "cpu",
    channels_last: bool = True, compiled: bool = False,
) -> Iterator[int]:  # fmt: skip
    """The same batch again and again, its views made once."""
    import torch

    from modalities.base import Randomness
    from modalities.common.steps import memory
    from modalities.common.steps.optim import optimizer

    memory.keep()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    size = len(batch["items"])
    objective.begin(size)
    objective.to(where, memory_format=layout)  # type: ignore[call-overload]
    rng = Randomness(torch.Generator().manual_seed(0), total=size, device=where)
    batch = {"index": torch.arange(size), **batch}
    views = {
        k: v.contiguous(memory_format=layout) if v.ndim == 4 else v
        for k, v in objective.views({k: v.to(where) for k, v in batch.items()}, rng).items()
    }
    adam = optimizer("adamw", objective.parameters(), 1e-3, 1e-4)
    model: Any = torch.compile(objective) if compiled else objective
    while True:
        with torch.autocast(where, torch.bfloat16, enabled=precision == "bf16"):
            loss = model(views).loss
        loss.backward()
        adam.step()
        adam.zero_grad()
        yield size


def looped(
    objective: "Objective", items: np.ndarray, probe: Any, plan: "Plan",
    free: dict[str, np.ndarray] | None = None,
) -> Iterator[int]:  # fmt: skip
    """Our loop over the items, laid on the disk first."""
    from modalities.common.steps.deterministic import use_deterministic
    from modalities.common.training.checkpoints import Checkpoints
    from modalities.common.training.loop import Loop
    from modalities.common.training.monitor import Silence
    from modalities.items import Arrays

    use_deterministic()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "items.npy"
        np.save(path, items)
        made = Loop(objective, Arrays(np.load(path, mmap_mode="r")), plan, Silence(), probe)
        made.free = free or {}
        checkpoints = Checkpoints("bench", "bench", Path(name))
        for batch in made.batches(workers=0):
            made.forward(batch)
            if made.settled():
                made.checkpoint(checkpoints, None)
            yield plan.batch_size


def in_turn(
    bare: Iterator[int], loop: Iterator[int], seconds: float,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a step of each, medians over steps taken in turn for so long, three at least.

    In turn, because a machine's speed can change twofold from one second to the next.
    """
    taken: list[tuple[float, float]] = []
    until = math.inf
    while len(taken) < WARM + 3 or time.perf_counter() < until:
        started = clock()
        next(bare)
        between = clock()
        next(loop)
        taken.append((between - started, clock() - between))
        if len(taken) == WARM:
            until = time.perf_counter() + seconds
    step, ours = zip(*taken[WARM:], strict=True)
    return median(step), median(ours)
