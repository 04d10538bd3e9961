"""Animals: dog and giraffe are siblings (a body on four legs); the duck is novel."""

import numpy as np

from tasks.playroom.world.solids import Floats, Toy
from tasks.playroom.world.toys import category

FEET = "front_left_foot front_right_foot rear_left_foot rear_right_foot"
BONES = (
    "front_left_foot-neck front_right_foot-neck rear_left_foot-rump rear_right_foot-rump"
    " nose-neck neck-rump rump-tail"
)


def _trunk(toy: Toy, length: float, radius: float, height: float, leg: float) -> None:
    """A lying body whose middle is at `height`, on four legs of radius `leg`; marks the feet."""
    t = np.linspace(-1, 1, 11)
    round_off = np.sqrt(np.clip(1 - np.abs(t) ** toy.pick(3, 6), 0.02, 1))
    sag = toy.pick(-0.05, 0.08) * np.cos(np.pi * t / 2)
    swell = round_off * (1 + toy.pick(-0.15, 0.15) * t)
    path = np.stack([t * length / 2, 0 * t, height - sag], -1)
    toy.tube("body", path, radius * swell)
    y, stride = radius * 0.6, toy.pick(-0.15, 0.15)
    for end, x in (("front", length * 0.38), ("rear", -length * 0.38)):
        for side, name in ((1, "left"), (-1, "right")):
            foot = (x + side * stride, side * y, 0.0)
            toy.rod("legs", (x, side * y, height), foot, leg * 1.15, leg)
            toy.mark(f"{end}_{name}_foot", foot, "legs")
    toy.mark("rump", (-length / 2, 0, height), "body")


def _tail(toy: Toy, start: Floats, end: Floats, radius: float) -> None:
    t = np.linspace(0, 1, 7)[:, None]
    bend = np.array([-0.12, 0, 0]) * np.sin(np.pi * t)
    toy.tube(
        "tail", start + (end - start) * t + bend, np.linspace(radius, radius * 0.5, 7), sides=8
    )
    toy.mark("tail", end.tolist(), "tail")


@category(
    "body legs head ears tail",
    f"nose neck rump tail {FEET}",
    BONES,
)
def dog(toy: Toy) -> None:
    """A long body low over the floor, a snout, two ears and a raised tail."""
    length, radius, leg = toy.pick(1.2, 1.8), toy.pick(0.24, 0.34), toy.pick(0.07, 0.11)
    height = radius + toy.pick(0.3, 0.6)
    _trunk(toy, length, radius, height, leg)
    skull = toy.pick(0.24, 0.34)
    x, z = length / 2 + toy.pick(0.05, 0.2), height + radius + toy.pick(0.1, 0.3)
    toy.rod("head", (length * 0.38, 0, height + 0.05), (x, 0, z), radius * 0.75, skull * 0.7)
    toy.mark("neck", (length * 0.42, 0, height + radius * 0.7), "body")
    toy.ball("head", (skull, skull * 0.9, skull * 0.95), (x, 0, z))
    snout = toy.pick(0.22, 0.42)
    toy.rod(
        "head", (x, 0, z - 0.05), (x + skull + snout * 0.7, 0, z - 0.1), skull * 0.55, skull * 0.35
    )
    toy.mark("nose", (x + skull + snout * 0.7, 0, z - 0.1), "head")
    hanging = toy.chance(0.5)
    for side in (-1, 1):
        if hanging:
            at = (x - 0.05, side * skull * 0.9, z - 0.08)
            toy.ball("ears", (0.12, 0.06, toy.pick(0.2, 0.28)), at, ("x", side * 12))
        else:
            base = (x - 0.05, side * skull * 0.6, z + skull * 0.5)
            toy.rod(
                "ears", base, (base[0], base[1] * 1.2, z + skull + toy.pick(0.15, 0.3)), 0.12, 0.02
            )
    start = np.array([-length / 2 + 0.08, 0, height + radius * 0.5])
    end = start + np.array([-toy.pick(0.1, 0.4), toy.pick(-0.15, 0.15), toy.pick(0.3, 0.6)])
    _tail(toy, start, end, toy.pick(0.05, 0.09))


@category(
    "body legs neck head tail",
    f"nose neck rump tail {FEET}",
    BONES,
)
def giraffe(toy: Toy) -> None:
    """A short body high on its legs, a very long neck, a small head with horns."""
    length, radius, leg = toy.pick(0.8, 1.15), toy.pick(0.22, 0.3), toy.pick(0.055, 0.085)
    height = radius + toy.pick(0.7, 1.0)
    _trunk(toy, length, radius, height, leg)
    reach, rise = toy.pick(0.15, 0.55), toy.pick(0.9, 1.4)
    x, z = length / 2 + reach, height + rise
    toy.rod("neck", (length * 0.36, 0, height), (x, 0, z), radius * toy.pick(0.6, 0.8), 0.09)
    toy.mark("neck", (length * 0.42, 0, height + radius * 0.5), "neck")
    head = toy.pick(0.13, 0.18)
    toy.ball("head", (head * 2.0, head, head), (x + head * 0.9, 0, z), ("y", toy.pick(0, 30)))
    toy.mark("nose", (x + head * 2.6, 0, z - 0.04), "head")
    for side in (-1, 1):
        toy.rod(
            "head",
            (x, side * 0.05, z),
            (x - 0.04, side * 0.09, z + head + toy.pick(0.1, 0.2)),
            0.035,
        )
    start = np.array([-length / 2 + 0.05, 0, height + radius * 0.3])
    end = start + np.array([-toy.pick(0.1, 0.2), 0, -toy.pick(0.4, 0.65)])
    _tail(toy, start, end, 0.04)


@category("body head beak tail", "beak tail crown", "beak-crown crown-tail", novel=True)
def duck(toy: Toy) -> None:
    """A floating bird: a fat body, a round head, a flat beak."""
    length, radius = toy.pick(0.7, 0.9), toy.pick(0.42, 0.55)
    toy.ball("body", (length, radius, radius * 0.85), (0, 0, radius * 0.7))
    head, x = toy.pick(0.3, 0.4), length * 0.6
    z = radius * 1.4 + head * 0.7
    toy.rod("head", (x * 0.8, 0, radius * 0.8), (x, 0, z), head * 0.8, head * 0.7)
    toy.ball("head", (head, head, head), (x, 0, z))
    toy.ball("beak", (toy.pick(0.2, 0.3), 0.17, 0.06), (x + head + 0.1, 0, z - 0.05))
    toy.rod("tail", (-length * 0.7, 0, radius * 0.8), (-length * 1.15, 0, radius * 1.3), 0.25, 0.05)
    toy.mark("beak", (x + head + 0.2, 0, z - 0.05), "beak")
    toy.mark("tail", (-length * 1.15, 0, radius * 1.3), "tail")
    toy.mark("crown", (x, 0, z + head), "head")
