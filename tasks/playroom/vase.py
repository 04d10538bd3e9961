"""A shape whose parts meet without an edge: what no convex piece and no crease gives away."""

import numpy as np

from tasks.playroom.world.solids import Toy
from tasks.playroom.world.toys import Category

SIDES = 20  # of a lathe
RINGS = 40


def vase(toy: Toy) -> None:
    """One smooth skin, of which the lower rings are the foot and the upper ones the neck."""
    foot, waist, belly = toy.pick(0.25, 0.45), toy.pick(0.14, 0.26), toy.pick(0.42, 0.65)
    throat, lip = toy.pick(0.12, 0.26), toy.pick(0.2, 0.42)
    knots = np.array([0, toy.pick(0.12, 0.2), toy.pick(0.42, 0.55), toy.pick(0.74, 0.84), 1])
    height = toy.pick(1.4, 2.2)
    level = np.linspace(0, 1, RINGS)
    radius = _smooth(level, knots, np.array([foot, waist, belly, throat, lip]))
    toy.lathe("body", [*zip(radius, level * height, strict=True)])
    ring = np.arange(RINGS - 1).repeat(SIDES)  # of the wall's quads; two triangles each, then ends
    middle = (level[ring] + level[ring + 1]) / 2
    parts = np.where(middle < knots[1], 1, np.where(middle > knots[3], 2, 0))
    toy.parts += ["foot", "neck"]
    ends = np.repeat([1, 2], SIDES)
    toy.own(np.concatenate([parts.repeat(2), ends]))
    for side in (-1, 1) if toy.chance(0.6) else ():
        turn = np.linspace(-np.pi / 2, np.pi / 2, 12)
        low, high = height * knots[2], height * (knots[3] + 0.04)
        start, end = belly - 0.03, float(np.interp(knots[3] + 0.04, level, radius)) - 0.02
        out = np.linspace(start, end, 12) + toy.pick(0.18, 0.3) * np.cos(turn)
        path = np.stack([side * out, 0 * turn, np.linspace(low, high, 12)], -1)
        toy.tube("handles", path, np.full(12, toy.pick(0.04, 0.07)), sides=8)


def _smooth(at: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values between knots, with a level tangent at each: no crease anywhere."""
    place = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    share = (at - knots[place]) / (knots[place + 1] - knots[place])
    eased = share * share * (3 - 2 * share)
    found: np.ndarray = values[place] + (values[place + 1] - values[place]) * eased
    return found


VASE = Category("vase", "vessels", ("body", "foot", "neck", "handles"), (), (), False, vase)
