"""Furniture: chair and stool are siblings, and so are table and (novel) bench."""

import numpy as np

from tasks.playroom.world.solids import Toy
from tasks.playroom.world.toys import category

CORNERS = {
    "front_left": (1, 1),
    "front_right": (1, -1),
    "rear_left": (-1, 1),
    "rear_right": (-1, -1),
}


def _legs(toy: Toy, length: float, width: float, height: float) -> None:
    """Four legs under the corners of a length x width top at `height`; marks the feet."""
    radius, splay = toy.pick(0.045, 0.09), toy.choose(1.0, 1.0, toy.pick(1.0, 1.25))
    square, taper = toy.chance(0.5), toy.pick(0.55, 1.0)
    for corner, (sx, sy) in CORNERS.items():
        top = (sx * (length / 2 - radius), sy * (width / 2 - radius), height)
        foot = (top[0] * splay, top[1] * splay, 0.0)
        toy.rod("legs", top, foot, radius * 1.2, radius * 1.2 * taper, sides=4 if square else 12)
        toy.mark(f"{corner}_foot", foot, "legs")


def _pedestal(toy: Toy, reach: float, height: float) -> None:
    """One column on a disc or on a star of feet."""
    toy.rod("legs", (0, 0, 0), (0, 0, height), toy.pick(0.06, 0.12))
    if toy.chance(0.5):
        toy.lathe("legs", [(reach, 0), (reach, 0.05), (0.1, toy.pick(0.08, 0.2))])
        return
    for angle in np.arange(count := toy.choose(3, 4, 5)) * 2 * np.pi / count:
        foot = (reach * np.cos(angle), reach * np.sin(angle), 0.05)
        toy.rod("legs", (0, 0, toy.pick(0.1, 0.2)), foot, 0.07, 0.05)


def _back(toy: Toy, length: float, width: float, seat: float, height: float) -> None:
    """A chair's back: a panel, upright slats or rails between two posts."""
    style, lean = toy.choose("panel", "slats", "rails"), toy.pick(0.0, 0.3)
    x, top, y = -length / 2 + 0.05, seat + height, width / 2 - 0.06
    post = toy.pick(0.04, 0.07)
    for side in (-y, y):
        toy.rod("back", (x, side, seat), (x - lean, side, top), post)
    head = toy.pick(0.12, 0.22)
    toy.box("back", (0.09, width, head), (x - lean, 0, top - head / 2 + 0.04))
    if style == "panel":
        low = seat + toy.pick(0.0, 0.35) * height
        middle, share = (low + top) / 2, ((low + top) / 2 - seat) / height
        tilt = -np.degrees(np.arctan2(lean, height))
        toy.box("back", (0.07, width * 0.94, top - low), (x - lean * share, 0, middle), ("y", tilt))
    elif style == "slats":
        for at in np.linspace(-y, y, toy.choose(4, 5, 6))[1:-1]:
            toy.rod("back", (x, at, seat), (x - lean, at, top), toy.pick(0.03, 0.06), sides=4)
    else:
        for share in np.linspace(0.3, 1, toy.choose(3, 4))[:-1]:
            at = (x - lean * share, 0, seat + height * share)
            toy.box("back", (0.07, width * 0.95, toy.pick(0.08, 0.14)), at)
    toy.mark("back_top", (x - lean, 0, top), "back")


@category(
    "seat back legs arms",
    "seat back_top front_left_foot front_right_foot rear_left_foot rear_right_foot",
    "seat-back_top seat-front_left_foot seat-front_right_foot seat-rear_left_foot"
    " seat-rear_right_foot",
)
def chair(toy: Toy) -> None:
    """A seat, four legs and a back; at times arms."""
    length, width, height = toy.pick(0.8, 1.05), toy.pick(0.8, 1.1), toy.pick(0.7, 1.0)
    thick = toy.pick(0.08, 0.18)
    toy.box("seat", (length, width, thick), (0, 0, height))
    toy.mark("seat", (0, 0, height + thick / 2), "seat")
    _legs(toy, length, width, height)
    _back(toy, length, width, height, toy.pick(0.85, 1.3))
    if toy.chance(0.25):
        up = height + toy.pick(0.3, 0.45)
        for side in (-width / 2, width / 2):
            toy.box("arms", (length, 0.1, 0.08), (0, side, up))
            toy.rod("arms", (length / 2 - 0.1, side, height), (length / 2 - 0.1, side, up), 0.05)


@category("seat legs", "seat foot", "seat-foot")
def stool(toy: Toy) -> None:
    """A seat and nothing above it; taller than it is wide."""
    reach, height, thick = toy.pick(0.38, 0.52), toy.pick(0.95, 1.6), toy.pick(0.08, 0.22)
    if toy.chance(0.7):
        rim = toy.pick(0.85, 1.05) * reach
        toy.lathe(
            "seat", [(rim, height - thick), (reach, height - thick / 2), (reach * 0.96, height)]
        )
    else:
        toy.box("seat", (2 * reach, 2 * reach, thick), (0, 0, height - thick / 2))
    toy.mark("seat", (0, 0, height), "seat")
    if toy.chance(0.25):
        _pedestal(toy, reach * toy.pick(0.8, 1.1), height - thick / 2)
        toy.mark("foot", (0, 0, 0.1), "legs")
        return
    count, splay, radius = toy.choose(3, 4), toy.pick(1.0, 1.6), toy.pick(0.04, 0.075)
    ring = toy.pick(0.25, 0.6) if toy.chance(0.6) else 0.0
    feet, joints = [], []
    for angle in (np.arange(count) + 0.5) * 2 * np.pi / count:
        out = np.array([np.cos(angle), np.sin(angle), 0]) * reach * 0.8
        feet.append(out * splay)
        joints.append(out * (splay + (1 - splay) * ring) + [0, 0, ring * height])
        toy.rod("legs", (out[0], out[1], height - thick / 2), feet[-1], radius)
    for here, there in zip(joints, joints[1:] + joints[:1], strict=True):
        if ring:
            toy.rod("legs", here, there, radius * 0.8)
    toy.mark("foot", feet[0], "legs")


@category("top legs", "top corner foot", "top-corner top-foot")
def table(toy: Toy) -> None:
    """A wide, thin top on four legs, on a column or on two trestles."""
    length, height, thick = toy.pick(1.6, 2.4), toy.pick(0.85, 1.25), toy.pick(0.07, 0.14)
    width = length * toy.pick(0.55, 0.8)
    style = toy.choose("legs", "legs", "round", "trestle")
    toy.mark("top", (0, 0, height + thick / 2), "top")
    if style == "round":
        radius = toy.pick(0.75, 1.0)
        toy.lathe("top", [(radius, height - thick / 2), (radius, height + thick / 2)])
        _pedestal(toy, radius * toy.pick(0.4, 0.6), height)
        toy.mark("corner", (radius, 0, height), "top")
        toy.mark("foot", (0, 0, 0.1), "legs")
        return
    toy.box("top", (length, width, thick), (0, 0, height))
    toy.mark("corner", (length / 2, width / 2, height), "top")
    if style == "legs":
        _legs(toy, length * 0.95, width * 0.95, height)
        toy.mark("foot", toy.anchors.pop("front_left_foot")[0].tolist(), "legs")
        for corner in tuple(CORNERS)[1:]:
            toy.anchors.pop(f"{corner}_foot")
        return
    for side in (-length * 0.36, length * 0.36):
        toy.box("legs", (toy.pick(0.08, 0.14), width * 0.8, 0.1), (side, 0, 0.05))
        toy.box("legs", (0.12, toy.pick(0.2, 0.7) * width, height), (side, 0, height / 2))
    toy.box("legs", (length * 0.72, 0.08, 0.1), (0, 0, height * toy.pick(0.2, 0.6)))
    toy.mark("foot", (length * 0.36, 0, 0.05), "legs")


@category("base pole shade", "base joint shade", "base-joint joint-shade")
def lamp(toy: Toy) -> None:
    """A foot, a pole (straight, or bent over) and an open shade."""
    foot, height = toy.pick(0.35, 0.6), toy.pick(1.3, 2.0)
    toy.lathe("base", [(foot, 0), (foot, toy.pick(0.05, 0.12)), (0.08, toy.pick(0.12, 0.28))])
    toy.mark("base", (0, 0, 0.1), "base")
    thin, shade, wide = toy.pick(0.04, 0.075), toy.pick(0.5, 0.8), toy.pick(0.42, 0.68)
    narrow = wide * toy.pick(0.3, 0.75)
    toy.rod("pole", (0, 0, 0), (0, 0, height), thin)
    reach = 0.0
    if toy.chance(0.4):
        reach = toy.pick(0.5, 0.9)
        angle = np.linspace(np.pi, 0, 12)
        arc = np.stack(
            [reach / 2 * (1 + np.cos(angle)), 0 * angle, height + 0.3 * np.sin(angle)], -1
        )
        toy.tube("pole", arc, np.full(12, thin), sides=8)
    toy.mark("joint", (0, 0, height), "pole")
    low = height - shade * (1.0 if reach else toy.pick(0.3, 0.7))
    wall = [(wide, low), (narrow, low + shade), (narrow - 0.03, low + shade), (wide - 0.04, low)]
    toy.lathe("shade", wall, (reach, 0, 0))
    toy.mark("shade", (reach, 0, low + shade / 2), "shade")


@category("seat back legs", "seat back_top", "seat-back_top", novel=True)
def bench(toy: Toy) -> None:
    """A long seat with a back of rails, on two cheeks."""
    width, height = toy.pick(1.7, 2.4), toy.pick(0.55, 0.75)
    for x in np.linspace(-0.3, 0.3, toy.choose(3, 4)):
        toy.box("seat", (0.16, width, 0.08), (x, 0, height))
    for share in np.linspace(0.35, 1, toy.choose(2, 3)):
        toy.box("back", (0.07, width, 0.16), (-0.36 - 0.15 * share, 0, height + 0.75 * share))
    for side in (-width * 0.42, width * 0.42):
        toy.box("legs", (0.75, 0.1, height), (0, side, height / 2))
        toy.rod("back", (-0.34, side, height), (-0.5, side, height + 0.8), 0.06)
    toy.mark("seat", (0, 0, height), "seat")
    toy.mark("back_top", (-0.5, 0, height + 0.75), "back")
