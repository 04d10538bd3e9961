"""Orders of nine tiles that are far from one another, for jigsaw puzzles (arXiv:1603.09246).

Two orders are as far apart as there are places at which they differ: their Hamming distance.

Shapes: P orders.
"""

from functools import cache

import torch
from torch import Tensor

MOST = 1512
_POWERS = (1, 2, 4, 3, 6, 7, 5)  # of x in the field of eight elements, as bits; x^3 = x + 1
_INFINITY = 8


@cache
def distant(count: int) -> tuple[Tensor, int]:
    """(P, 9) int64, P = count orders, and the least distance between two of them.

    Up to 504 are 7 apart, and no more than 504 can be; up to 1512 are 6 apart, so that no 1000
    orders are farther from one another than these. (At most n! / (d - 1)! orders of n tiles are d
    apart: Deza and Vanstone 1978, doi:10.1016/0378-3758(78)90008-3.) They are the maps of the
    projective line over the field of eight elements, its nine points being the tiles: first
    PSL(2, 8), in which what fixes three points fixes all, then the others of PGammaL(2, 8).
    """
    if not 0 < count <= MOST:
        raise ValueError(f"there are 1 to {MOST} orders, found {count}")
    field = range(8)
    inverse = [_INFINITY, *(_product(*[a] * 6) for a in range(1, 8)), 0]  # a^7 = 1
    shift = [*(a ^ 1 for a in field), _INFINITY]
    scale = [*(_product(a, 2) for a in field), _INFINITY]
    square = [*(_product(a, a) for a in field), _INFINITY]
    linear = _group(inverse, shift, scale)
    known = set(linear)
    others = [order for order in _group(inverse, shift, scale, square) if order not in known]
    return torch.tensor([*linear, *others][:count]), 7 if count <= len(linear) else 6


def least_distance(orders: Tensor) -> int:
    """The least number of places at which two of (P, N) orders differ."""
    same = torch.zeros(len(orders), len(orders), dtype=torch.uint8)
    for place in orders.cpu().unbind(1):
        same += place[:, None] == place
    return orders.shape[1] - int(same.fill_diagonal_(0).max())


def _product(*factors: int) -> int:
    """In the field of eight elements."""
    return 0 if 0 in factors else _POWERS[sum(map(_POWERS.index, factors)) % 7]


def _group(*generators: list[int]) -> list[tuple[int, ...]]:
    """All products of some permutations of nine, in the order in which they are found."""
    found = [tuple(range(9))]
    known = set(found)
    for one in found:
        for generator in generators:
            product = tuple(generator[place] for place in one)
            if product not in known:
                known.add(product)
                found.append(product)
    return found
