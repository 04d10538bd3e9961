"""Clouds of points as small pictures: thumbnails, and rows of them side by side.

Shapes: N clouds, P points, S side of a picture in pixels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Ten colours that stay apart for most colour-blind people too (Okabe and Ito, and two greys).
COLOURS = np.array([
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233),
    (150, 130, 20), (120, 120, 120), (110, 60, 160), (40, 90, 60),
], np.float64)  # fmt: skip
UNKNOWN = np.array((140.0, 140.0, 150.0))
LIGHT = np.array([0.3, 0.8, 0.52])


def thumbnails(items: Any) -> NDArray[np.uint8]:
    """(N, P, 7) -> (N, 64, 64, 3): seen from above and aside, coloured by part where known."""
    return np.stack([
        draw(np.asarray(item), ranked(np.asarray(item)[:, 6].astype(int))) for item in items
    ]) if len(items) else np.zeros((0, 64, 64, 3), np.uint8)  # fmt: skip


def ranked(parts: NDArray[Any]) -> NDArray[np.int64]:
    """Parts (P,) as small numbers in their order, -1 stays."""
    known = np.unique(parts[parts >= 0])
    return np.where(parts >= 0, np.searchsorted(known, parts), -1)


def draw(
    points: NDArray[Any], groups: NDArray[Any], *, size: int = 64, turn: float = 0.6
) -> NDArray[np.uint8]:
    """One cloud (P, 6 or more) as (S, S, 3): a disc per point, near ones over far ones, coloured by
    group (P,) and shaded by normal; `turn`: from where, in radians about the vertical."""
    cos, sin = np.cos(turn), np.sin(turn)
    tilt = 0.45
    spin = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    nod = np.array([
        [1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)],
    ])  # fmt: skip
    view = nod @ spin
    seen, normal = points[:, :3] @ view.T, points[:, 3:6] @ view.T
    shade = 0.45 + 0.55 * np.abs(normal @ LIGHT)
    base = np.where(groups[:, None] >= 0, COLOURS[groups % len(COLOURS)], UNKNOWN)
    colour = np.clip(base * shade[:, None] + 25 * seen[:, 2:], 0, 255)
    place = np.stack([size / 2 - seen[:, 1] * size * 0.47, size / 2 + seen[:, 0] * size * 0.47], 1)
    picture = np.full((size, size, 3), 255, np.uint8)
    radius = max(1, size // 50)
    disc = [(i, j) for i in range(-radius, radius + 1) for j in range(-radius, radius + 1)
            if i * i + j * j <= radius * radius + 0.5]  # fmt: skip
    order = np.argsort(seen[:, 2])
    pixel = np.rint(place[order]).astype(int)
    # Layer by layer in depth, so that no later disc of a far point hides a near one.
    for part in np.array_split(np.arange(len(order)), 16):
        for i, j in disc:
            at = np.clip(pixel[part] + (i, j), 0, size - 1)
            picture[at[:, 0], at[:, 1]] = colour[order[part]]
    return picture


def beside(pictures: list[NDArray[np.uint8]], *, gap: int = 4) -> NDArray[np.uint8]:
    """Pictures of one height in a row."""
    height = pictures[0].shape[0]
    space = np.full((height, gap, 3), 255, np.uint8)
    return np.concatenate([p for picture in pictures for p in (picture, space)][:-1], 1)


def below(rows: list[NDArray[np.uint8]], *, gap: int = 4) -> NDArray[np.uint8]:
    """Rows of one width under one another."""
    space = np.full((gap, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([p for row in rows for p in (row, space)][:-1], 0)


def numbered(which: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pieces' numbers 0, 1, ... by how many points they have, the largest first; none unused."""
    values, inverse, count = np.unique(which, return_inverse=True, return_counts=True)
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(-count, kind="stable")] = np.arange(len(values))
    return rank[inverse]
