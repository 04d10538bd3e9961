"""Convex pieces of a shape: which of them belong together, and which one a point lies on.

Shapes: H pieces, v f vertices and faces of one, P points.
"""

import heapq
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
INWARD = 0.01  # a point is asked for a little below the surface, where its piece is
TOUCH = 0.02  # pieces whose boxes are no further apart are neighbours


@dataclass(frozen=True)
class Hull:
    """A convex piece: vertices (v, 3), half-spaces normal . x + offset <= 0 (f, 4), volume."""

    vertices: Floats
    planes: Floats
    volume: float


def hull(points: Floats) -> Hull | None:
    """The convex hull of points (n, 3); None for fewer than four of them or for none at all.

    Flat ones are joggled (Qhull's QJ), so that they too have a volume, next to nothing.
    """
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 4 or not np.isfinite(points).all():
        return None
    for options in ("Qt", "QJ"):
        try:
            found = ConvexHull(points, qhull_options=options)
        except (QhullError, ValueError):
            continue
        return Hull(points[found.vertices], _thinned(found.equations), float(found.volume))
    return None


def _thinned(planes: Floats) -> Floats:
    """Coplanar triangles have one plane."""
    _, first = np.unique(np.round(planes, 6), axis=0, return_index=True)
    thinned: Floats = planes[np.sort(first)]
    return thinned


def merged(pieces: list[Hull], share: float) -> list[Hull]:
    """Join neighbours, the cheapest pair first, while that adds little empty space.

    A pair's price is the volume of their common hull less their own, as a share of the volume of
    all pieces; pairs dearer than `share` stay apart. So each shape gets a count of its own.
    """
    most = share * max(sum(piece.volume for piece in pieces), 1e-12)
    alive = dict(enumerate(pieces))
    queue: list[tuple[float, int, int, Hull]] = []
    for a in alive:
        _offer(queue, alive, a, [b for b in alive if b < a], most)
    count = len(pieces)
    while queue:
        _, a, b, both = heapq.heappop(queue)
        if a in alive and b in alive:
            del alive[a], alive[b]
            _offer(queue, alive | {count: both}, count, list(alive), most)
            alive[count] = both
            count += 1
    return list(alive.values())


def _offer(
    queue: list[tuple[float, int, int, Hull]], alive: dict[int, Hull], a: int, others: list[int],
    most: float,
) -> None:  # fmt: skip
    """Put the pairs of piece `a` and its neighbours that are cheap enough into the queue."""
    for b in others:
        one, two = alive[a], alive[b]
        both = hull(np.concatenate([one.vertices, two.vertices])) if _near(one, two) else None
        if both is not None and (price := both.volume - one.volume - two.volume) < most:
            heapq.heappush(queue, (price, a, b, both))


def _near(one: Hull, two: Hull) -> bool:
    low = np.maximum(one.vertices.min(0), two.vertices.min(0))
    high = np.minimum(one.vertices.max(0), two.vertices.max(0))
    return bool((low <= high + TOUCH).all())


def assign(pieces: list[Hull], points: Floats, normals: Floats) -> tuple[Ints, Floats]:
    """The piece that each point lies on (P,), and how far outside of it the point is, at least 0.

    Distances are those to the furthest violated half-space, for p - .01 n: every point gets a
    piece, whereas a test for being inside would leave out a fifth of them.
    """
    inner = np.concatenate([points - INWARD * normals, np.ones((len(points), 1))], 1)  # (P, 4)
    outside = np.stack([(inner @ piece.planes.T).max(1) for piece in pieces], 1)  # (P, H)
    which = outside.argmin(1)
    return which, np.maximum(outside[np.arange(len(points)), which], 0)
