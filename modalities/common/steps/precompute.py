"""What is the same for an item at every step, done once where the results fit into memory.

Shapes: N items.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

Work: TypeAlias = Callable[[Tensor], Tensor]

BYTES = 2**28  # of results, at most
CHUNK = 256  # items at a time, always the same ones together: a resumed run gets the same bits


def done(items: Any, work: Work | None, device: torch.device | str = "cpu") -> Any:
    """Results of `work` for all items (N, ...); the items themselves without work, or too much."""
    if work is None or not len(items):
        return items

    def part(start: int, stop: int) -> np.ndarray:
        with torch.no_grad():
            return work(torch.from_numpy(np.array(items[start:stop])).to(device)).cpu().numpy()

    if part(0, 1).nbytes * len(items) > BYTES:
        return items
    return np.concatenate([part(at, at + CHUNK) for at in range(0, len(items), CHUNK)])
