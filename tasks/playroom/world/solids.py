"""The building blocks of toys: boxes, balls, tubes, lathes and plates, joined into named parts.

A toy stands on the floor z = 0 and looks along +x; its left is +y. Lengths are in its own unit.
Shapes: V vertices, F triangles, K stations of a path, S sides of a tube.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Place: TypeAlias = Sequence[float] | Floats  # (3,)
SIDES = 16
TIES = np.array([2e-6, 1e-6, 0.0])  # which axis is preferred where two would do


@cache
def _unit(kind: str) -> tuple[Floats, Ints]:
    """A unit box (side 1) or ball (radius 1) around the origin: (V, 3), (F, 3)."""
    from trimesh import creation

    mesh: Any = creation.box() if kind == "box" else creation.icosphere(subdivisions=2)
    return np.asarray(mesh.vertices, float), np.asarray(mesh.faces, np.int64)


@cache
def _tube_faces(stations: int, sides: int) -> Ints:
    """Triangles (F, 3) of `stations` rings of `sides` vertices, then the two end centres."""
    ring, side = np.meshgrid(np.arange(stations - 1), np.arange(sides), indexing="ij")
    a = ring * sides + side
    b = ring * sides + (side + 1) % sides
    wall = np.stack([a, b, b + sides, a, b + sides, a + sides], -1).reshape(-1, 3)
    around = np.arange(sides)
    after = (around + 1) % sides
    first, top = stations * sides, (stations - 1) * sides
    start = np.stack([after, around, np.full(sides, first)], -1)
    end = np.stack([around + top, after + top, np.full(sides, first + 1)], -1)
    return np.concatenate([wall, start, end])


@cache
def _circle(sides: int) -> tuple[Floats, Floats]:
    """Cosines and sines, (1, S, 1) each."""
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
    return np.cos(angle), np.sin(angle)


def _length(vectors: Floats) -> Floats:
    """(N, 3) -> (N, 1), never 0."""
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None] + 1e-12)


def tube(path: ArrayLike, radii: ArrayLike, *, sides: int = SIDES) -> tuple[Floats, Ints]:
    """A closed skin over rings along a path (K, 3); radii (K,), or (K, 2) for ellipses."""
    centre = np.asarray(path, float)
    wide = np.asarray(radii, float)
    wide = np.stack([wide, wide], 1) if wide.ndim == 1 else wide
    chord = centre[1:] - centre[:-1]
    tangent = np.concatenate([chord[:1], chord[1:] + chord[:-1], chord[-1:]])
    tangent /= _length(tangent)
    # The axis that a (mostly planar) path moves along least: its rings then never twist.
    least = int(np.argmin(np.abs(tangent).sum(0) + TIES))
    u = -tangent[:, least, None] * tangent
    u[:, least] += 1
    u /= _length(u)
    # The cross product of tangent and u, written out: np.cross is slow for small arrays.
    v = tangent[:, [1, 2, 0]] * u[:, [2, 0, 1]] - tangent[:, [2, 0, 1]] * u[:, [1, 2, 0]]
    across, along = (u * wide[:, :1])[:, None], (v * wide[:, 1:])[:, None]
    cos, sin = _circle(sides)
    rings = (centre[:, None] + cos * across + sin * along).reshape(-1, 3)
    return np.concatenate([rings, centre[[0, -1]]]), _tube_faces(len(centre), sides)


def turned(points: Floats, axis: str, degrees: float) -> Floats:
    """Points (V, 3) turned about a coordinate axis through the origin."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    out = points.copy()
    out[:, i] = cos * points[:, i] - sin * points[:, j]
    out[:, j] = sin * points[:, i] + cos * points[:, j]
    return out


class Toy:
    """One instance while it is built: parts, and the anchors that become keypoints."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.parts: list[str] = []  # names, in order of appearance
        self.anchors: dict[str, tuple[Floats, str]] = {}  # keypoint -> (position, its part)
        self._vertices: list[Floats] = []
        self._faces: list[Ints] = []
        self._owner: list[Ints] = []
        self._count = 0

    def pick(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def add(self, part: str, vertices: Floats, faces: Ints) -> None:
        """Join a solid to the named part."""
        if part not in self.parts:
            self.parts.append(part)
        self._vertices.append(vertices)
        self._faces.append(faces + self._count)
        self._owner.append(np.full(len(faces), self.parts.index(part)))
        self._count += len(vertices)

    def solids(self) -> Iterator[tuple[Floats, Ints, Ints]]:
        """Each solid by itself: vertices (V, 3); faces (F, 3), counted over all; parts (F,)."""
        yield from zip(self._vertices, self._faces, self._owner, strict=True)

    def own(self, owner: Ints) -> None:
        """Give the faces (F,) of the last solid to parts of their own, by number."""
        self._owner[-1] = owner

    def mark(self, keypoint: str, position: Place, part: str) -> None:
        """Name a point of a part; it counts as seen where the first thing hit is that part."""
        self.anchors[keypoint] = (np.asarray(position, float), part)

    def box(
        self,
        part: str,
        size: Place,
        at: Place,
        turn: tuple[str, float] = ("z", 0),
    ) -> None:
        """A box of `size` whose centre is `at`, turned about its centre by (axis, degrees)."""
        vertices, faces = _unit("box")
        self.add(part, turned(vertices * size, *turn) + at, faces)

    def ball(
        self,
        part: str,
        radii: Place,
        at: Place,
        turn: tuple[str, float] = ("z", 0),
    ) -> None:
        """An ellipsoid."""
        vertices, faces = _unit("ball")
        self.add(part, turned(vertices * radii, *turn) + at, faces)

    def tube(self, part: str, path: ArrayLike, radii: ArrayLike, *, sides: int = SIDES) -> None:
        self.add(part, *tube(path, radii, sides=sides))

    def rod(
        self, part: str, start: Place, end: Place, radius: float,
        end_radius: float | None = None, *, sides: int = 12,
    ) -> None:  # fmt: skip
        """A straight round rod, or a cone where the radii differ."""
        radii = [radius, radius if end_radius is None else end_radius]
        self.tube(part, np.array([start, end], float), radii, sides=sides)

    def lathe(self, part: str, profile: ArrayLike, at: Place = (0, 0, 0)) -> None:
        """A body of revolution about the vertical: profile (K, 2) of radius, height."""
        outline = np.asarray(profile, float)
        # Rings may stand at equal heights (an inner wall, a rim): a nudge keeps tangents vertical.
        vertices, faces = tube(
            np.stack([np.zeros(len(outline)), np.zeros(len(outline)), np.arange(len(outline))], -1),
            np.maximum(outline[:, 0], 1e-4),
            sides=20,
        )
        vertices[:, 2] = np.concatenate([np.repeat(outline[:, 1], 20), outline[[0, -1], 1]])
        self.add(part, vertices + at, faces)

    def plate(self, part: str, outline: ArrayLike, thickness: Place) -> None:
        """A flat slab: outline (K, 3), star-shaped about its mean, extruded both ways by half."""
        edge = np.asarray(outline, float)
        half = np.asarray(thickness, float) / 2
        self.rings(part, edge - half, edge + half)

    def rings(self, part: str, low: Floats, high: Floats) -> None:
        """A closed skin between two rings (K, 3), each star-shaped about its mean."""
        vertices = np.concatenate([low, high, [low.mean(0), high.mean(0)]])
        self.add(part, vertices, _tube_faces(2, len(low)))

    def mesh(self) -> tuple[Floats, Ints, Ints]:
        """Vertices (V, 3), lowest at z = 0, centred in x and y; faces (F, 3); part of each (F,)."""
        vertices = np.concatenate(self._vertices)
        low, high = vertices.min(0), vertices.max(0)
        shift = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
        self.anchors = {k: (p - shift, part) for k, (p, part) in self.anchors.items()}
        return vertices - shift, np.concatenate(self._faces), np.concatenate(self._owner)
