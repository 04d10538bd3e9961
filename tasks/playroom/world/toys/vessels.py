"""Vessels: mug and teapot are siblings; the bottle is novel."""

import numpy as np

from tasks.playroom.world.solids import Toy
from tasks.playroom.world.toys import category


def _handle(toy: Toy, x: float, low: float, high: float, reach: float) -> None:
    """A loop at the side -x between two heights; marks its outermost point."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 14)
    middle, half = (low + high) / 2, (high - low) / 2
    power = toy.pick(0.6, 1.0)  # towards 0: square, 1: round
    out = np.cos(angle).clip(0) ** power
    path = np.stack([-x - reach * out, 0 * angle, middle + half * np.sin(angle)], -1)
    toy.tube("handle", path, np.full(14, toy.pick(0.06, 0.1)), sides=10)
    toy.mark("handle", (-x - reach, 0, middle), "handle")


@category("body handle", "rim base handle", "rim-base rim-handle base-handle")
def mug(toy: Toy) -> None:
    """An open cup with one handle."""
    low, high, height = toy.pick(0.42, 0.62), toy.pick(0.5, 0.66), toy.pick(0.9, 1.4)
    belly, wall = toy.pick(-0.06, 0.08), toy.pick(0.04, 0.08)
    level = np.linspace(0, 1, 8)
    outer = low + (high - low) * level + belly * np.sin(np.pi * level)
    profile = [*zip(outer, level * height, strict=True)]
    profile += [(r - wall, max(z, 0.12)) for r, z in reversed(profile)]
    toy.lathe("body", profile)
    at = min(low, high) - 0.02
    _handle(
        toy, at, height * toy.pick(0.15, 0.28), height * toy.pick(0.72, 0.88), toy.pick(0.32, 0.5)
    )
    toy.mark("rim", (high, 0, height), "body")
    toy.mark("base", (low, 0, 0.02), "body")


@category(
    "body lid spout handle", "knob spout_tip handle base", "knob-spout_tip knob-handle knob-base"
)
def teapot(toy: Toy) -> None:
    """A bellied body with a lid, a spout in front and a handle behind."""
    radius, height, foot = toy.pick(0.6, 0.8), toy.pick(0.8, 1.2), toy.pick(0.3, 0.45)
    mouth, level = toy.pick(0.25, 0.4), np.linspace(0, 1, 10)
    ends = foot + (mouth - foot) * level
    body = ends + (radius - (foot + mouth) / 2) * np.sin(np.pi * level) ** toy.pick(0.6, 1.1)
    toy.lathe("body", [*zip(body, level * height, strict=True)])
    rise, ball = toy.pick(0.06, 0.2), toy.pick(0.07, 0.13)
    lid = [(mouth * 1.08, height), (mouth * 0.8, height + rise * 0.7), (0.05, height + rise)]
    toy.lathe("lid", lid)
    toy.ball("lid", (ball, ball, ball), (0, 0, height + rise + ball * 0.7))
    toy.mark("knob", (0, 0, height + rise + ball), "lid")
    toy.mark("base", (foot, 0, 0.02), "body")
    tip = (radius + toy.pick(0.4, 0.65), 0, height * toy.pick(0.85, 1.1))
    start, t = (
        np.array([radius * 0.75, 0, height * toy.pick(0.25, 0.4)]),
        np.linspace(0, 1, 8)[:, None],
    )
    bend = np.array([0.18, 0, -0.12]) * np.sin(np.pi * t) * toy.pick(0, 1)
    width = toy.pick(0.16, 0.24)
    toy.tube("spout", start + (np.array(tip) - start) * t + bend, np.linspace(width, 0.08, 8))
    toy.mark("spout_tip", tip, "spout")
    _handle(toy, radius * 0.8, height * 0.2, height * 0.85, toy.pick(0.4, 0.6))


@category("body neck", "mouth base", "mouth-base", novel=True)
def bottle(toy: Toy) -> None:
    """A slim body that narrows to a neck."""
    radius, height, neck = toy.pick(0.3, 0.45), toy.pick(0.9, 1.3), toy.pick(0.09, 0.14)
    toy.lathe("body", [(radius, 0), (radius, height), (neck * 1.2, height * toy.pick(1.15, 1.4))])
    top = height + toy.pick(0.55, 0.8)
    toy.lathe(
        "neck", [(neck, height), (neck, top - 0.1), (neck * 1.4, top - 0.1), (neck * 1.4, top)]
    )
    toy.mark("mouth", (0, 0, top), "neck")
    toy.mark("base", (radius, 0, 0.02), "body")
