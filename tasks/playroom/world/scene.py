"""What one picture shows: toys with their materials and places, camera, light, background.

Shapes: V vertices, F triangles, O objects, N points. The world's z is up; toys stand on z = 0.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.playroom.world.materials import ROOM, TOY, Material, material
from tasks.playroom.world.solids import Floats, Ints, turned
from tasks.playroom.world.toys import Category

SIDEWAYS = 22  # degrees between where a toy looks and where the camera is, at least
MARGIN = 0.04  # of the picture's side, kept free around the toys


@dataclass(frozen=True)
class Placed:
    """One toy in the world: world = local @ rotation.T * scale + offset."""

    category: Category
    vertices: Floats  # (V, 3), local
    faces: Ints  # (F, 3)
    owner: Ints  # (F,): index into `parts`
    parts: list[str]
    anchors: dict[str, tuple[Floats, str]]
    materials: list[Material]  # one per part
    rotation: Floats  # (3, 3)
    scale: float
    offset: Floats  # (3,)
    yaw: float  # degrees

    def to_world(self, local: Floats) -> Floats:
        return local @ self.rotation.T * self.scale + self.offset

    def to_local(self, world: Floats) -> Floats:
        return (world - self.offset) @ self.rotation / self.scale


@dataclass(frozen=True)
class Camera:
    """A perspective camera whose image plane is [0, 1] x [0, 1], y downwards."""

    eye: Floats  # (3,)
    axes: Floats  # (3, 3): right, down, forward
    focal: float
    centre: Floats  # (2,)
    pitch: float  # degrees
    roll: float

    def project(self, points: Floats) -> Floats:
        """World (N, 3) -> picture (N, 2)."""
        seen = (points - self.eye) @ self.axes.T
        return np.asarray(seen[:, :2] / seen[:, 2:] * self.focal + self.centre)

    def rays(self, places: Floats) -> Floats:
        """Picture (N, 2) -> unit directions (N, 3)."""
        flat = (places - self.centre) / self.focal
        seen = np.concatenate([flat, np.ones((len(flat), 1))], 1)
        out = seen @ self.axes
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))


@dataclass(frozen=True)
class Room:
    """Floor and wall, or a seamless backdrop (the floor's material, in picture coordinates)."""

    seamless: bool
    floor: Material
    wall: Material
    wall_normal: Floats  # (3,), horizontal, towards the camera
    wall_distance: float  # from the origin


@dataclass(frozen=True)
class Scene:
    """Everything that rendering needs."""

    toys: list[Placed]
    camera: Camera
    room: Room
    light: Floats  # (3,) unit, towards the light
    ambient: float
    shadow: float  # how much of the background's light a shadow takes
    grain: float  # standard deviation of the sensor's noise

    def truth(self) -> dict[str, Any]:
        """What was drawn, for figures about purity and invariance; never read by ingest."""
        return {
            "camera": {"pitch": round(self.camera.pitch, 2), "roll": round(self.camera.roll, 2)},
            "light": np.round(self.light, 3).tolist(),
            "scene": {
                "kind": "seamless" if self.room.seamless else "room",
                "floor": self.room.floor.truth(),
                "wall": self.room.wall.truth(),
            },
            "objects": [_toy_truth(toy) for toy in self.toys],
        }


def _toy_truth(toy: Placed) -> dict[str, Any]:
    parts = {part: m.truth() for part, m in zip(toy.parts, toy.materials, strict=True)}
    return {"category": toy.category.name, "yaw": round(toy.yaw, 2), "material": parts}


def draw_scene(rng: np.random.Generator, kinds: list[Category], *, tumbled: bool = False) -> Scene:
    """A random scene with one toy of each of `kinds`, upright unless `tumbled`."""
    # Toys are lighter than their surroundings, or darker: seen well, whatever the colours.
    dark, light = (0.02, rng.uniform(0.15, 0.3)), (rng.uniform(0.4, 0.55), 0.95)
    on, behind = (light, dark) if rng.random() < 0.5 else (dark, light)
    toys: list[Placed] = []
    for kind in kinds:
        toys.append(_place(rng, kind, toys, on, tumbled=tumbled))
    elevation, azimuth = np.radians(rng.uniform(35, 80)), rng.uniform(0, 2 * np.pi)
    flat = np.cos(elevation)
    sun = np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    camera = _camera(rng, toys, tumbled=tumbled)
    return Scene(
        toys, camera, _room(rng, camera, behind), sun,
        float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.0, 0.45)), float(rng.uniform(0, 0.02)),
    )  # fmt: skip


def _place(
    rng: np.random.Generator, kind: Category, others: list[Placed], luminance: tuple[float, float],
    *, tumbled: bool,
) -> Placed:  # fmt: skip
    toy = kind.make(rng)
    vertices, faces, owner = toy.mesh()
    # Never quite from the front or the rear, where a mug hides its handle and a truck is a box.
    yaw = float(rng.uniform(SIDEWAYS, 180 - SIDEWAYS) + rng.choice([0, 180]))
    rotation = turned(np.eye(3), "z", yaw).T
    if tumbled:
        rotation = rotation @ _any_rotation(rng)
    there = vertices @ rotation.T
    # One size for all: what a category is must not be read from how large it is drawn.
    reach = float(np.linalg.norm(there - there.mean(0), axis=1).max())
    scale = float(rng.uniform(0.45, 0.7) if others else rng.uniform(0.85, 1.15)) / reach
    offset = np.array([0.0, 0.0, -there[:, 2].min() * scale])
    offset[:2] = _free_spot(rng, [toy.offset[:2] for toy in others])
    style = replace(TOY, frequency=TOY.frequency / scale)
    palette = [material(rng, style, luminance) for _ in range(2)]
    mixed = rng.random() < 0.55
    chosen = [palette[int(rng.integers(2)) if mixed else 0] for _ in toy.parts]
    return Placed(
        kind, vertices, faces, owner, toy.parts, toy.anchors, chosen, rotation, scale, offset, yaw
    )


def _any_rotation(rng: np.random.Generator) -> Floats:
    """Uniform over all rotations: (3, 3)."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix())


def _free_spot(rng: np.random.Generator, taken: list[Floats]) -> Floats:
    """A place (2,) on the floor, clear of the others where a few tries find one."""
    spot, room = np.zeros(2), 1.0
    while taken:
        spot = rng.uniform(-room, room, 2)
        if min(np.linalg.norm(spot - other) for other in taken) > 1.5:
            break
        room += 0.1
    return spot


def _camera(rng: np.random.Generator, toys: list[Placed], *, tumbled: bool) -> Camera:
    """Looks at the toys from a little above and frames them to 68-92 % of the picture."""
    points = np.concatenate([toy.to_world(toy.vertices) for toy in toys])
    pitch = float(rng.uniform(-10, 80) if tumbled else rng.uniform(6, 34))
    roll = float(rng.uniform(-180, 180) if tumbled else rng.normal(0, 3))
    target = (points.min(0) + points.max(0)) / 2
    back = np.array([np.cos(np.radians(pitch)), 0.0, np.sin(np.radians(pitch))])
    spread = float(np.linalg.norm(points - target, axis=1).max())
    eye = target + back * spread * rng.uniform(3.0, 6.0)
    eye[2] = max(eye[2], 0.05)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    axes = np.stack([cos * right + sin * down, cos * down - sin * right, forward])
    raw = Camera(eye, axes, 1.0, np.zeros(2), pitch, roll)
    seen = raw.project(points)
    low, high = seen.min(0), seen.max(0)
    focal = float(rng.uniform(0.68, 0.92) / (high - low).max())
    free = np.maximum(0, 1 - 2 * MARGIN - (high - low) * focal)
    # Anywhere that keeps the toys inside, but rather in the middle.
    corner = MARGIN + free * rng.beta(2, 2, 2)
    return Camera(eye, axes, focal, corner - low * focal, pitch, roll)


def _room(rng: np.random.Generator, camera: Camera, luminance: tuple[float, float]) -> Room:
    """A horizon would tell which way is up, so most pictures have none."""
    floor, wall = (material(rng, ROOM, luminance) for _ in range(2))
    turn = np.radians(rng.uniform(-35, 35))
    normal = np.array([np.cos(turn), np.sin(turn), 0.0])
    toward = np.sign(normal @ camera.eye) or 1.0
    return Room(
        bool(rng.random() < 0.6), floor, wall, normal * toward,
        float(rng.uniform(1.6, 4.0)),
    )  # fmt: skip
