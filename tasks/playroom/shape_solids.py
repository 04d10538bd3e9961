"""A toy as one watertight body whose every face knows its part, then bent, tapered and turned.

The union matters: solids that were only put into one file come apart again by connectivity alone,
and a convex decomposition of them would be told the answer (a test compares the two).

Shapes: V vertices, F triangles, P points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.playroom.world.solids import Floats, Ints, Toy

SLANT = 0.35  # radians, of a part at variety 1
EDGE = 0.3  # no edge is longer, in a toy's unit, so that bends are smooth


@dataclass(frozen=True)
class Body:
    """A triangle mesh with a part (an index into the toy's parts) for each face."""

    vertices: Floats  # (V, 3)
    faces: Ints  # (F, 3)
    part: Ints  # (F,)

    def areas(self) -> tuple[Floats, Floats]:
        """Area (F,) and unit normal (F, 3) of each face; the normal of a flat one is 0."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        twice = np.linalg.norm(cross, axis=1)
        return twice / 2, cross / np.maximum(twice, 1e-300)[:, None]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Ints]:
        """Points (P, 3), evenly over the surface, their normals (P, 3) and parts (P,)."""
        area, normal = self.areas()
        face = rng.choice(len(area), count, p=area / area.sum())
        u, v = rng.random((2, count, 1))
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        a, b, c = (self.vertices[self.faces[face, i]] for i in range(3))
        return a + u * (b - a) + v * (c - a), normal[face], self.part[face]


def union(toy: Toy) -> Body:
    """All solids of a toy as one; faces inside others are gone, the rest keep their part."""
    import manifold3d

    solids, start = [], 0
    for vertices, faces, owner in toy.solids():
        mesh = manifold3d.Mesh(
            vertices.astype(np.float32), (faces - start).astype(np.uint32),
            face_id=owner.astype(np.uint32),
        )  # fmt: skip
        solid = manifold3d.Manifold(mesh)
        if solid.volume() < 0:  # built inside out
            turned = (faces - start)[:, ::-1].astype(np.uint32)
            mesh = manifold3d.Mesh(
                vertices.astype(np.float32), np.ascontiguousarray(turned),
                face_id=owner.astype(np.uint32),
            )  # fmt: skip
            solid = manifold3d.Manifold(mesh)
        solids.append(solid)
        start += len(vertices)
    joined = manifold3d.Manifold.batch_boolean(solids, manifold3d.OpType.Add)
    out: Any = joined.refine_to_length(EDGE).to_mesh()
    vertices = np.asarray(out.vert_properties, float)[:, :3]
    return Body(vertices, np.asarray(out.tri_verts, np.int64), np.asarray(out.face_id, np.int64))


def apart(toy: Toy) -> Body:
    """The same without the union: separate bodies in one mesh. For comparison only."""
    parts = list(toy.solids())
    return Body(*(np.concatenate([each[i] for each in parts]) for i in range(3)))


def vary(toy: Toy, rng: np.random.Generator, amount: float) -> None:
    """Make each part thicker or thinner, longer or shorter, and slanted; all its solids alike.

    A solid is scaled along its own principal axes, longest first, so that convex ones stay convex.
    """
    solids = list(toy.solids())
    for number in range(len(toy.parts)):
        # A skin that several parts share goes with the first of them.
        own = [vertices for vertices, _, owner in solids if owner[0] == number]
        factor = np.exp(amount * rng.uniform([-0.2, -0.7, -0.7], [0.3, 0.7, 0.7]))
        slant = _small_rotation(rng, SLANT * amount)
        middle = np.concatenate(own).mean(0) if own else np.zeros(3)
        for vertices in own:
            centre = vertices.mean(0)
            axes = np.linalg.svd(vertices - centre, full_matrices=False)[2]
            scaled = centre + (vertices - centre) @ (axes.T * factor) @ axes
            vertices[:] = middle + (scaled - middle) @ slant.T


def _small_rotation(rng: np.random.Generator, most: float) -> Floats:
    """A rotation (3, 3) about any axis, by up to `most` radians either way."""
    x, y, z = (axis := rng.normal(size=3)) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = rng.uniform(-most, most)
    found: Floats = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return found


def warp(body: Body, rng: np.random.Generator, pose: str) -> Body:
    """Uneven scale, taper and bend; then from z up to y up, as ShapeNet has it; then the pose."""
    low, high = body.vertices.min(0), body.vertices.max(0)
    x, y, z = ((body.vertices - (low + high) / 2) / (high - low).max()).T  # in [-.5, .5]
    x, y, z = np.exp(rng.uniform(-0.25, 0.25, (3, 1))) * (x, y, z)
    x, y = (1 + rng.uniform(-0.5, 0.5) * z) * (x, y)
    bend, way = rng.uniform(0, 0.8), rng.uniform(0, 2 * np.pi)
    shift = bend * z * z / 2
    points = np.stack([y + shift * np.sin(way), z, x + shift * np.cos(way)], 1)  # y is up
    return Body(points @ rotation(rng, pose).T, body.faces, body.part)


def rotation(rng: np.random.Generator, pose: str) -> Floats:
    """(3, 3): none (upright), about the vertical y (turned), or any at all (tumbled)."""
    if pose == "upright":
        return np.eye(3)
    if pose == "turned":
        turn = rng.uniform(0, 2 * np.pi)
        cos, sin = np.cos(turn), np.sin(turn)
        return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    w, i, j, k = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array([
        [1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w)],
        [2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w)],
        [2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j)],
    ])  # fmt: skip
