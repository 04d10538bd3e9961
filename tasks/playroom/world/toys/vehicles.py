"""Vehicles: car and truck are siblings, and so are plane and (novel) helicopter."""

import numpy as np

from tasks.playroom.world.solids import Toy
from tasks.playroom.world.toys import category

WHEELS = "front_left_wheel front_right_wheel rear_left_wheel rear_right_wheel"


def _wheels(toy: Toy, axles: list[float], width: float, radius: float) -> None:
    """A pair of wheels per axle (x of each, the front one first); marks the outer four."""
    thick = toy.pick(0.1, 0.16)
    for place, x in enumerate(axles):
        for side, name in ((1, "left"), (-1, "right")):
            y = side * width / 2
            toy.rod("wheels", (x, y - thick, radius), (x, y + thick, radius), radius, sides=20)
            if place in {0, len(axles) - 1}:
                end = "front" if place == 0 else "rear"
                toy.mark(f"{end}_{name}_wheel", (x, y + side * thick, radius), "wheels")


@category(
    "body cabin wheels", f"{WHEELS} roof bumper",
    "front_left_wheel-rear_left_wheel front_right_wheel-rear_right_wheel roof-bumper",
)  # fmt: skip
def car(toy: Toy) -> None:
    """A low body with a sloped cabin in its middle, on four wheels."""
    length, width, radius = toy.pick(2.0, 2.6), toy.pick(0.85, 1.05), toy.pick(0.2, 0.29)
    low, deck = radius * 0.8, radius + toy.pick(0.28, 0.42)
    nose = deck - toy.pick(0.0, 0.14)
    ends = [(-length / 2, low), (length / 2, low), (length / 2, nose), (length * 0.2, deck)]
    ends += [(-length / 2, deck - toy.pick(0, 0.06))]
    toy.plate("body", [(x, 0, z) for x, z in ends], (0, width, 0))
    front, rear = length * toy.pick(0.12, 0.24), -length * toy.pick(0.28, 0.48)
    roof = deck + toy.pick(0.32, 0.5)
    slope_front, slope_rear = toy.pick(0.22, 0.45), toy.pick(0.05, 0.4)
    cabin = [(rear, deck), (front, deck), (front - slope_front, roof), (rear + slope_rear, roof)]
    toy.plate("cabin", [(x, 0, z) for x, z in cabin], (0, width * 0.88, 0))
    toy.mark("roof", ((front + rear) / 2, 0, roof), "cabin")
    toy.mark("bumper", (length / 2, 0, (low + nose) / 2), "body")
    axle = length * toy.pick(0.28, 0.34)
    _wheels(toy, [axle, -axle], width, radius)


@category(
    "cab bed wheels", f"{WHEELS} roof bumper",
    "front_left_wheel-rear_left_wheel front_right_wheel-rear_right_wheel roof-bumper",
)  # fmt: skip
def truck(toy: Toy) -> None:
    """A high cab in front and a separate box, tank or open bed behind it."""
    length, width, radius = toy.pick(2.2, 2.9), toy.pick(0.85, 1.05), toy.pick(0.2, 0.28)
    floor, front = radius * 1.6, toy.pick(0.55, 0.75)
    cab, slope = floor + toy.pick(0.65, 0.9), toy.pick(0.0, 0.18)
    x = length / 2
    nose = [(x - front, floor - 0.15), (x, floor - 0.15), (x, floor + 0.3), (x - slope, cab)]
    toy.plate("cab", [(a, 0, z) for a, z in [*nose, (x - front, cab)]], (0, width, 0))
    toy.mark("roof", (x - front / 2, 0, cab), "cab")
    toy.mark("bumper", (x, 0, floor), "cab")
    toy.box("bed", (length - front, width * 0.9, 0.12), (-front / 2, 0, floor - 0.05))
    gap = toy.pick(0.06, 0.2)
    rear, middle = length - front - gap, -(front + gap) / 2
    style = toy.choose("box", "box", "tank", "open")
    if style == "box":
        high = toy.pick(0.75, 1.25)
        toy.box("bed", (rear, width * toy.pick(1, 1.1), high), (middle, 0, floor + high / 2))
    elif style == "tank":
        r = toy.pick(0.38, 0.5)
        start, end = (middle - rear / 2, 0, floor + r), (middle + rear / 2, 0, floor + r)
        toy.rod("bed", start, end, r, sides=20)
    else:
        side = toy.pick(0.25, 0.45)
        for y in (-width / 2, width / 2):
            toy.box("bed", (rear, 0.07, side), (middle, y, floor + side / 2))
        toy.box("bed", (0.07, width, side), (middle - rear / 2, 0, floor + side / 2))
    axles = [x - front * 0.5, -length * 0.3]
    _wheels(
        toy, [*axles[:1], *([-length * 0.08] if toy.chance(0.4) else []), axles[1]], width, radius
    )


def _wing(toy: Toy, part: str, root: tuple[float, float, float], span: float, chord: float) -> None:
    """A swept pair of wings from `root`; marks the tips of the part `wings`."""
    sweep, taper, lift = toy.pick(-0.05, 0.5) * span, toy.pick(0.35, 0.9), toy.pick(0, 0.15) * span
    x, _, z = root
    for side, name in ((1, "left"), (-1, "right")):
        tip = (x - sweep, side * span, z + lift)
        edge = [(x + chord / 2, 0, z), (tip[0] + chord * taper / 2, *tip[1:])]
        edge += [(tip[0] - chord * taper / 2, *tip[1:]), (x - chord / 2, 0, z)]
        toy.plate(part, edge, (0, 0, 0.07))
        if part == "wings":
            toy.mark(f"{name}_tip", tip, part)


@category(
    "fuselage wings tail engines gear", "nose left_tip right_tip fin_top rear",
    "nose-rear nose-left_tip nose-right_tip rear-fin_top",
)  # fmt: skip
def plane(toy: Toy) -> None:
    """A fuselage with wings and a tail, on its landing gear; engines or a propeller."""
    length, radius, up = toy.pick(2.2, 2.8), toy.pick(0.17, 0.28), toy.pick(0.3, 0.45)
    t = np.linspace(0, 1, 14)
    shape = radius * np.minimum(1, (1.0 - t) * 2.2 + 0.12) * np.minimum(1, np.sqrt(t * 5) + 0.05)
    z = up + radius
    rise = 0.1 * np.clip(t - 0.6, 0, 1)
    toy.tube("fuselage", np.stack([length * (0.5 - t), 0 * t, z + rise], -1), shape)
    toy.mark("nose", (length / 2, 0, z), "fuselage")
    toy.mark("rear", (-length / 2, 0, z), "fuselage")
    high, span, at = toy.choose(-0.5, 0.0, 0.8), toy.pick(1.0, 1.5), toy.pick(0.0, 0.25)
    _wing(toy, "wings", (at, 0, z + high * radius), span, toy.pick(0.45, 0.7))
    tail = -length / 2 + 0.2
    _wing(toy, "tail", (tail, 0, z + 0.08), toy.pick(0.4, 0.6), toy.pick(0.25, 0.35))
    fin, lean = z + radius + toy.pick(0.35, 0.6), toy.pick(0.1, 0.35)
    edge = [
        (tail + 0.25, 0, z),
        (tail - lean, 0, fin),
        (tail - lean - 0.25, 0, fin),
        (tail - 0.2, 0, z),
    ]
    toy.plate("tail", edge, (0, 0.07, 0))
    toy.mark("fin_top", (tail - lean - 0.1, 0, fin), "tail")
    if toy.chance(0.6):
        for y in toy.choose((0.4,), (0.35, 0.65)):
            for side in (-y * span, y * span):
                pod = (at - 0.15 * y, side, z + high * radius - 0.12)
                toy.rod("engines", (pod[0] + 0.3, *pod[1:]), (pod[0] - 0.2, *pod[1:]), 0.11, 0.08)
    else:
        toy.box("engines", (0.05, 0.1, 0.8), (length / 2 + 0.03, 0, z), ("x", toy.pick(0, 180)))
    for x, y in ((length * 0.3, 0.0), (-0.1, 0.3), (-0.1, -0.3)):
        toy.rod("gear", (x, y * 0.4, z - radius * 0.5), (x, y, 0.1), 0.04)
        toy.rod("gear", (x, y - 0.05, 0.1), (x, y + 0.05, 0.1), 0.1)


@category(
    "hull mast sails", "bow stern mast_top boom_end", "bow-stern bow-mast_top mast_top-boom_end"
)
def sailboat(toy: Toy) -> None:
    """A hull with a mast and one or two three-cornered sails."""
    length, beam, depth = toy.pick(1.7, 2.3), toy.pick(0.3, 0.45), toy.pick(0.28, 0.42)
    t = np.linspace(0, 1, 12)
    half = beam * np.clip(np.sin(np.pi * (0.12 + 0.88 * t)), 0.01, 1) ** toy.pick(0.5, 0.8)
    along = length * (t - 0.5)
    deck = np.stack(
        [np.append(along, along[::-1]), np.append(half, -half[::-1]), np.full(24, depth)], -1
    )
    toy.rings("hull", deck * np.array([0.82, 0.55, 0]), deck)
    top, at, thin = depth + toy.pick(1.5, 2.2), length * toy.pick(0.0, 0.15), toy.pick(0.03, 0.06)
    toy.rod("mast", (at, 0, depth * 0.5), (at, 0, top), thin)
    low, boom = depth + toy.pick(0.12, 0.28), at - length * toy.pick(0.38, 0.55)
    swing = toy.pick(-0.25, 0.25)
    main = [(at - 0.04, 0, low), (at - 0.04, 0, top - 0.05), (boom, swing, low)]
    toy.plate("sails", main, (0, 0.04, 0))
    if toy.chance(0.7):
        bow = length / 2 - 0.05
        jib = [(at + 0.06, 0, low), (at + 0.06, 0, top * toy.pick(0.75, 0.95)), (bow, 0, low)]
        toy.plate("sails", jib, (0, 0.04, 0))
    toy.mark("bow", (length / 2, 0, depth), "hull")
    toy.mark("stern", (-length / 2, 0, depth), "hull")
    toy.mark("mast_top", (at, 0, top), "mast")
    toy.mark("boom_end", (boom, swing, low), "sails")


@category("body boom rotor skids", "nose tail hub", "nose-hub hub-tail", novel=True)
def helicopter(toy: Toy) -> None:
    """A round body with a thin boom, under a rotor."""
    body, z = toy.pick(0.42, 0.55), toy.pick(0.6, 0.7)
    toy.ball("body", (body * 1.4, body, body), (0.3, 0, z))
    tail = -toy.pick(1.2, 1.6)
    toy.rod("boom", (0, 0, z + 0.1), (tail, 0, z + 0.3), 0.14, 0.06)
    toy.plate(
        "boom",
        [(tail, 0, z + 0.1), (tail - 0.25, 0, z + 0.7), (tail + 0.15, 0, z + 0.3)],
        (0, 0.05, 0),
    )
    hub, span, turn = z + body + 0.2, toy.pick(1.1, 1.5), toy.pick(0, 180)
    toy.rod("rotor", (0.2, 0, z), (0.2, 0, hub), 0.05)
    for blade in range(toy.choose(1, 2)):
        toy.box("rotor", (2 * span, 0.16, 0.07), (0.2, 0, hub), ("z", turn + 90 * blade))
    for y in (-0.35, 0.35):
        toy.rod("skids", (0.9, y, 0.05), (-0.4, y, 0.05), 0.05)
        for x in (0.0, 0.6):
            toy.rod("skids", (x, y, 0.05), (x, y * 0.5, z - 0.2), 0.035)
    toy.mark("nose", (0.3 + body * 1.4, 0, z), "body")
    toy.mark("tail", (tail, 0, z + 0.3), "boom")
    toy.mark("hub", (0.2, 0, hub), "rotor")
