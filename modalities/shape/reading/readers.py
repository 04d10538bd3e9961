"""One file with a mesh or a point cloud -> points on it, whatever the file is.

Coordinates keep the axes of their file (ShapeNet, obj and glTF: y up; stl, 3mf, CAD: mostly z up);
units are lost, for each shape is moved and scaled into the unit sphere around the mean of its
points. Every failure is a ValueError whose text is `reason` or `reason: detail`.

Shapes: F faces, n points of a file, P points asked for.
"""

import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import trimesh
from numpy.typing import NDArray

from modalities.shape.drawing.pictures import thumbnails
from modalities.shape.reading import meshes, partnet
from modalities.shape.reading.layouts import count, describe, find
from modalities.shape.reading.meshes import Floats, Mesh

__all__ = ["count", "describe", "find", "read", "thumbnails"]

# Part of the key of cached items, as this file's text is.
_CODE = b"".join(Path(str(module.__file__)).read_bytes() for module in (meshes, partnet))
LIBRARY = f"trimesh {trimesh.__version__} {zlib.crc32(_CODE):x}"


class Frame(NamedTuple):
    """How a file's coordinates become an item's: (x - centre) / scale."""

    centre: Floats  # (3,)
    scale: float

    def enter(self, points: Floats) -> Floats:
        """Points (n, 3) of the file, as an item has them."""
        return np.asarray((points - self.centre) / self.scale)


def read(path: Path, *, points: int = 1024) -> NDArray[np.float32]:
    """Points on a shape, (P, 7) float32: x y z, unit normal, part (-1: not known).

    Meshes are sampled evenly over their surface; of clouds a part is taken, or all of it and some
    points again. Which ones follows from the content. ValueError(reason) if it cannot be read.
    """
    rows = _rows(meshes.load(path), points)
    repeats = -(-points // len(rows))
    rng = _generator(rows)
    order = np.concatenate([rng.permutation(len(rows)) for _ in range(repeats)])[:points]
    chosen = rows[np.sort(order)]
    place = _frame(rows)
    return np.concatenate([place.enter(chosen[:, :3]), chosen[:, 3:]], 1).astype(np.float32)


def frame(path: Path, points: int) -> Frame:
    """How `read` moves and scales what that file holds."""
    return _frame(_rows(meshes.load(path), points))


def _rows(found: Mesh | Floats, points: int) -> Floats:
    """(n, 7) in the file's coordinates."""
    return scattered(found, points) if isinstance(found, Mesh) else found


def _frame(rows: Floats) -> Frame:
    centre = rows[:, :3].mean(0)
    return Frame(centre, float(np.linalg.norm(rows[:, :3] - centre, axis=1).max()))


def scattered(mesh: Mesh, points: int) -> Floats:
    """Points evenly over a surface, (P, 7); faces without an area get none."""
    scale = np.abs(mesh.vertices - mesh.vertices.mean(0)).max()
    cross = Mesh((mesh.vertices - mesh.vertices.mean(0)) / scale, mesh.faces).cross()  # (F, 3)
    twice = np.linalg.norm(cross, axis=1)
    if not twice.any():
        raise ValueError("no surface: no face has an area")
    rng = _generator(mesh.vertices)
    # One point in each P-th of the area: as even as it gets without comparing points.
    place = (np.arange(points) + rng.random(points)) / points
    face = np.searchsorted(np.cumsum(twice) / twice.sum(), place, side="right")
    face = np.minimum(face, np.flatnonzero(twice)[-1])
    u, v = rng.random((2, points, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = (mesh.vertices[mesh.faces[face, i]] for i in range(3))
    normals = cross[face] / np.maximum(twice[face, None], 1e-300)
    return np.concatenate([a + u * (b - a) + v * (c - a), normals, np.full((points, 1), -1.0)], 1)


def _generator(values: Floats) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(values).tobytes()))
