"""What is the same for an item at every step, done once where the results fit into memory.

Shapes: N items.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from modalities.items import Arrays, Items

Work: TypeAlias = Callable[[Tensor], Tensor]

BYTES = 2**28  # of results, at most
CHUNK = 256  # items at a time, always the same ones together: a resumed run gets the same bits


def precomputed(items: Items, work: Work | None, device: torch.device | str = "cpu") -> Items:
    """Results of `work` for all items; the items themselves without work, or too much of it, or
    where a batch is more than its items, as with lengths: a result alone would not be enough."""
    if work is None or not len(items) or set(items.batch([0])) != {"items"}:
        return items

    def part(start: int, stop: int) -> np.ndarray:
        with torch.no_grad():
            raw = items.batch(np.arange(start, min(stop, len(items))))["items"]
            return work(torch.from_numpy(raw).to(device)).cpu().numpy()

    if part(0, 1).nbytes * len(items) > BYTES:
        return items
    return Arrays(np.concatenate([part(at, at + CHUNK) for at in range(0, len(items), CHUNK)]))
