"""Which items a step sees, and how they come from the disk.

Shapes: N items, B items of the global batch, R processes, n = B / R.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from modalities.base import Batch, Items

Share = tuple[int, int]  # (which process, of how many)
WINDOW = 16  # groups of rows that lie together, whose rows are shuffled among each other
NO_COLUMNS: Mapping[str, Any] = MappingProxyType({})


def loader(
    items: Items, order: "Order", *, workers: int, free: Mapping[str, Any] = NO_COLUMNS
) -> DataLoader[Batch]:
    """Batches of N items and their free labels; any number of workers gives the same."""
    return DataLoader(
        Rows(items, free),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        multiprocessing_context="fork" if workers else None,  # a memory map is not copied
        generator=torch.Generator(),  # else it would draw its seeds from the global one
    )


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, the next one being read in a thread while its forerunner is worked on.

    For a GPU, which has most of a step to do when Python is through with it.
    """
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


class Rows(Dataset[Batch]):
    """Items and their free labels (N, ...) by row numbers (B,): a batch at a time."""

    def __init__(self, items: Items, free: Mapping[str, Any] = NO_COLUMNS) -> None:
        self.items, self.free = items, free

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, rows: Any) -> Batch:
        free = {name: column[rows] for name, column in self.free.items()}
        found = {**self.items.batch(rows), **free, "index": rows}
        return {name: torch.from_numpy(column) for name, column in found.items()}


class Order(Sampler[Any]):
    """Which items each of the steps sees: (n,) numbers, this process's part of the batch.

    Every epoch has an order of its own, which follows from (seed, epoch). `near`: rows that lie
    together and are read one after another, as `Items.near` has it.
    """

    def __init__(
        self, items: int, size: int, seed: int, steps: range, share: Share, near: int | None = None
    ) -> None:
        self.items, self.size, self.seed, self.steps, self.share = items, size, seed, steps, share
        self.near = near

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Any]:
        size, (rank, world) = self.size, self.share
        per_epoch = self.items // size
        epoch, order = -1, np.empty(0, np.int64)
        for step in self.steps:
            if step // per_epoch != epoch:
                epoch = step // per_epoch
                order = shuffled(self.items, self.near, np.random.default_rng([self.seed, epoch]))
            batch = order[step % per_epoch * size :][:size]
            yield batch[rank * size // world : (rank + 1) * size // world]


def shuffled(items: int, near: int | None, rng: np.random.Generator) -> np.ndarray:
    """The rows in random order, (N,). With `near`: groups of so many rows, then the rows of each
    WINDOW groups, so that no more than two windows are in use at a time."""
    if near is None:
        return rng.permutation(items)
    groups = rng.permutation(-(-items // near))
    rows = (groups[:, None] * near + np.arange(near)).ravel()
    rows = rows[rows < items]  # the last group may be a smaller one
    for start in range(0, items, WINDOW * near):
        rng.shuffle(rows[start : start + WINDOW * near])
    return rows


def mixed(*numbers: int) -> int:
    """One seed out of several numbers, without patterns between neighbours."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def seed_torch(seed: int) -> None:
    """torch.manual_seed without what it does besides, once a step: it asks for devices again, and
    where there are none it writes down a stack trace for later."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
