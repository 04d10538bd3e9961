"""Ray casting: a scene to a picture, its instance and part maps, and its keypoints.

Shapes: N rays, S side of the picture, F triangles, O objects.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tasks.playroom.world.scene import Placed, Scene
from tasks.playroom.world.solids import Floats, Ints

Bytes: TypeAlias = NDArray[np.uint8]
Points: TypeAlias = dict[str, tuple[float, float, int]]  # name: x, y in pixels, visibility
NEAR = 1e-3  # a shadow ray starts this far off its surface


@dataclass(frozen=True)
class Picture:
    """A rendered scene; `toy` and `part` (S, S) are -1 on the background."""

    pixels: Bytes  # (S, S, 3)
    toy: Ints
    part: Ints
    keypoints: list[Points]  # per toy


@dataclass(frozen=True)
class Hits:
    """What N rays met: toy and part are -1 where nothing."""

    toy: Ints
    part: Ints
    distance: Floats
    normal: Floats  # (N, 3), unit


@cache
def _device() -> Any:
    from embreex.rtcore import EmbreeDevice

    return EmbreeDevice()


class World:
    """All triangles of a scene's toys, ready for rays."""

    def __init__(self, toys: list[Placed]) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        vertices = np.concatenate([toy.to_world(toy.vertices) for toy in toys])
        before = np.cumsum([0, *(len(toy.vertices) for toy in toys)])
        faces = np.concatenate([t.faces + n for t, n in zip(toys, before[:-1], strict=True)])
        self._scene = EmbreeScene(_device())
        TriangleMesh(self._scene, vertices.astype(np.float32), faces.astype(np.int32))
        counts = [len(toy.faces) for toy in toys]
        # One entry more, so that embree's -1 for "nothing" finds -1.
        self._toy = np.append(np.repeat(np.arange(len(toys)), counts), -1)
        self._part = np.append(np.concatenate([toy.owner for toy in toys]), -1)

    def cast(self, origins: Floats, directions: Floats) -> Hits:
        """First hits of N rays."""
        found = self._scene.run(
            origins.astype(np.float32),
            directions.astype(np.float32),
            query="INTERSECT",
            output=True,
        )
        face = np.where(found["geomID"] < 0, -1, found["primID"])
        normal = found["Ng"].astype(float)
        length = np.sqrt(np.einsum("nd,nd->n", normal, normal)) + 1e-20
        # Skins are thin and seen from both sides: a normal is one that looks at the eye.
        normal /= -np.copysign(length, np.einsum("nd,nd->n", normal, directions))[:, None]
        return Hits(self._toy[face], self._part[face], found["tfar"].astype(float), normal)

    def blocked(self, origins: Floats, direction: Floats) -> NDArray[np.bool_]:
        """Whether anything lies between N points and the far light."""
        rays = np.ascontiguousarray(np.broadcast_to(direction, origins.shape), np.float32)
        return np.asarray(self._scene.run(origins.astype(np.float32), rays, query="OCCLUDED") >= 0)


def render(scene: Scene, size: int, rng: np.random.Generator) -> Picture:
    """A picture of `size` pixels: one ray per pixel, and four where an edge runs through."""
    world = World(scene.toys)
    middle = (np.arange(size) + 0.5) / size
    grid = np.stack(np.meshgrid(middle, middle), -1).reshape(-1, 2)
    colours, hits, shaded = _shade(scene, world, grid)
    toy, part = hits.toy.reshape(size, size), hits.part.reshape(size, size)
    edge = np.flatnonzero(_edges(((toy + 1) * 64 + part) * 2 + shaded.reshape(size, size)))
    quarter = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) / (4 * size)
    fine, _, _ = _shade(scene, world, (grid[edge][:, None] + quarter).reshape(-1, 2))
    colours[edge] = fine.reshape(-1, 4, 3).mean(1)
    encoded = np.clip(colours, 0, 1) ** (1 / 2.2)
    encoded += rng.normal(0, scene.grain, encoded.shape)
    pixels = np.clip(np.rint(encoded * 255), 0, 255).astype(np.uint8)
    points = _keypoints(scene, world, size)
    return Picture(pixels.reshape(size, size, 3), toy, part, points)


def _edges(label: Ints) -> NDArray[np.bool_]:
    """Pixels (S, S) with a neighbour of another label."""
    edge = np.zeros(label.shape, bool)
    down, right = label[1:] != label[:-1], label[:, 1:] != label[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge


def _shade(scene: Scene, world: World, places: Floats) -> tuple[Floats, Hits, NDArray[np.bool_]]:
    """Colours (N, 3) at places (N, 2) of the picture, what is there, and whether in shadow."""
    rays = scene.camera.rays(places)
    hits = world.cast(np.broadcast_to(scene.camera.eye, rays.shape), rays)
    colours, points, normals = np.empty_like(rays), np.empty_like(rays), hits.normal
    for index, toy in enumerate(scene.toys):
        mine = np.flatnonzero(hits.toy == index)
        points[mine] = scene.camera.eye + rays[mine] * hits.distance[mine, None]
        local, part = toy.to_local(points[mine]), hits.part[mine]
        for number, stuff in enumerate(toy.materials):
            here = np.flatnonzero(part == number)
            colours[mine[here]] = stuff.colour(local[here])
    rest = np.flatnonzero(hits.toy < 0)
    colours[rest], points[rest], normals[rest] = _background(scene, places[rest], rays[rest])
    shadow = world.blocked(points + normals * NEAR, scene.light)
    lit = np.clip(normals @ scene.light, 0, 1) * ~shadow
    # A little from the camera too: otherwise the side away from the light is flat.
    facing = -np.einsum("nd,nd->n", normals, rays)
    on_toy = scene.ambient * (0.75 + 0.25 * facing) + (1 - scene.ambient) * lit
    light = np.where(hits.toy >= 0, on_toy, 1 - scene.shadow * shadow)
    return colours * light[:, None], hits, shadow


def _background(scene: Scene, places: Floats, rays: Floats) -> tuple[Floats, Floats, Floats]:
    """Colour, position and normal (N, 3 each) of floor and wall where no toy is."""
    room, eye = scene.room, scene.camera.eye
    with np.errstate(divide="ignore"):
        to_floor = -eye[2] / rays[:, 2]
        to_wall = -(room.wall_distance + room.wall_normal @ eye) / (rays @ room.wall_normal)
    to_floor = np.where(to_floor > 0, to_floor, np.inf)
    to_wall = np.where(to_wall > 0, to_wall, 1e3)
    floor = to_floor < to_wall
    points = eye + rays * np.minimum(to_floor, to_wall)[:, None]
    normals = np.where(floor[:, None], [0.0, 0.0, 1.0], room.wall_normal)
    if room.seamless:
        flat = np.concatenate([places * 4 - 2, np.zeros((len(places), 1))], 1)
        return room.floor.colour(flat), points, normals
    colours = np.empty_like(points)
    colours[floor] = room.floor.colour(points[floor])
    colours[~floor] = room.wall.colour(points[~floor])
    return colours, points, normals


def _keypoints(scene: Scene, world: World, size: int) -> list[Points]:
    """Per toy: name -> x, y in pixels, and COCO's visibility (1 hidden, 2 visible)."""
    out = []
    for index, toy in enumerate(scene.toys):
        there = toy.to_world(np.stack([place for place, _ in toy.anchors.values()]))
        rays = there - scene.camera.eye
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        hits = world.cast(np.broadcast_to(scene.camera.eye, rays.shape), rays)
        places = scene.camera.project(there) * size
        points: Points = {}
        for number, (name, (_, part)) in enumerate(toy.anchors.items()):
            seen = hits.toy[number] == index and hits.part[number] == toy.parts.index(part)
            x, y = (round(float(v), 2) for v in places[number])
            points[name] = (x, y, 2 if seen else 1)
        out.append(points)
    return out
