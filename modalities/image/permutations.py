"""Orders of tiles that are far from one another. Noroozi, Favaro 2016, arXiv:1603.09246, section 4.

Two orders are as far apart as there are places at which they differ: their Hamming distance.

Shapes: P orders, N tiles, M = N! orders of all.
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Orders = NDArray[np.uint8]


@cache
def distant(count: int, tiles: int = 9) -> tuple[Tensor, int]:
    """(P, N) int64, P = count orders of `tiles`, and the least distance between two of them.

    Chosen greedily: the next is the one whose nearest chosen one is farthest; among equals the one
    with the greatest distance to all, then the first in lexicographic order. Always the same.
    """
    every = _all(tiles).T.copy()  # (N, M)
    nearest = np.full(every.shape[1], tiles, np.uint8)  # distance to the nearest that is chosen
    total = np.zeros(every.shape[1], np.uint16)  # sum of the distances to them
    chosen: list[Orders] = []
    while len(chosen) < count:
        # As long as some are this far from all chosen ones, no other matters.
        least, known = int(nearest.max()), len(chosen)
        pool, far = every[:, nearest == least], total[nearest == least]
        while len(far) and len(chosen) < count:
            chosen.append(pool[:, far.argmax()].copy())
            away = _distance(pool, chosen[-1])
            pool, far = pool[:, away >= least], (far + away)[away >= least]
        for order in chosen[known:] if len(chosen) < count else ():
            away = _distance(every, order)
            np.minimum(nearest, away, out=nearest)
            total += away
    return torch.from_numpy(np.stack(chosen).astype(np.int64)), least


def least_distance(orders: Tensor) -> int:
    """The least number of places at which two of (P, N) orders differ."""
    same = torch.zeros(len(orders), len(orders), dtype=torch.uint8)
    for place in orders.cpu().unbind(1):
        same += place[:, None] == place
    return orders.shape[1] - int(same.fill_diagonal_(0).max())


def _all(tiles: int) -> Orders:
    """(M, N): every order once, in lexicographic order."""
    found = np.zeros((1, 0), np.uint8)
    for n in range(1, tiles + 1):
        first = np.arange(n, dtype=np.uint8).repeat(len(found))[:, None]
        rest = np.tile(found, (n, 1))
        found = np.concatenate([first, rest + (rest >= first)], 1, dtype=np.uint8)
    return found


def _distance(orders: Orders, order: Orders) -> Orders:
    """(N, M) orders in columns, (N,) -> (M,)."""
    away = np.zeros(orders.shape[1], np.uint8)
    for row, value in zip(orders, order, strict=True):
        away += row != value
    return away
