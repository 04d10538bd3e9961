"""The page's drawings: score against labels, curves of a run, the map of its features."""

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from tasks.report import words
from tasks.report.drawing.svg import Canvas, Point, clip, spread, ticks
from tasks.report.verdict import budgets, choose

Row = dict[str, Any]
SHAPES = ("circle", "diamond", "square", "triangle", "down")


class Scale:
    """From values to picture units, linear or logarithmic."""

    def __init__(
        self, low: float, high: float, start: float, end: float, *, log: bool = False
    ) -> None:
        self.turn = math.log10 if log else float
        self.low, self.high = self.turn(low), self.turn(high)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        if self.high == self.low:
            return (self.start + self.end) / 2
        share = (self.turn(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def series(rows: list[Row], leader: str | None) -> list[dict[str, Any]]:
    """One line per run and control: at each budget the row that validation chose."""
    lines = []
    for place, name in enumerate(dict.fromkeys(row["run"] for row in rows)):
        mine = [row for row in rows if row["run"] == name]
        points = [choose(r for r in mine if r["budget"] == size) for size in budgets(mine)]
        control = mine[0]["objective"] is None
        kind = "control" if control else "run"
        kind = "lead" if name == leader else "scratch" if name == "scratch" else kind
        shape = SHAPES[place % len(SHAPES)]
        lines.append({"name": name, "kind": kind, "shape": shape, "points": points})
    return lines


def scores(rows: list[Row], leader: str | None, width: float, every: float | None) -> Markup:
    """Score against labels per class; `every` is how many labels per class there are in all."""
    small = width < 500
    height = 300.0 if small else 380.0
    lines = series(rows, leader)
    letters = max(len(clip(line["name"], 22)) for line in lines)
    left, right, top, bottom = 40.0, 108.0 if small else 90.0 + 8 * letters, 14.0, 44.0
    sizes = budgets(rows)
    numbers = [s for s in sizes if not isinstance(s, str)]
    most = max(numbers, default=1)
    everything = every if every and every > 1.3 * most else 2.0 * most
    at = {size: everything if size == "all" else float(size) for size in sizes}
    x = Scale(min(at.values()), max(at.values()), left + 14, width - right - 14, log=True)
    highs = [row["high"] if row["high"] is not None else row["mean"] for row in rows]
    lows = [row["low"] if row["low"] is not None else row["mean"] for row in rows]
    marks = [mark for mark in ticks(min(0.0, *lows), max(highs)) if mark <= 1.04 * max(highs)]
    y = Scale(marks[0], max(*highs, marks[-1]), height - bottom, top)
    canvas = Canvas(width, height)
    metric = rows[0]["metric"]
    for mark in marks:
        canvas.line((left, y(mark)), (width - right, y(mark)), "grid")
        canvas.text((left - 8, y(mark) + 4), words.tick(mark, metric), "tick", "end")
    for size in sizes:
        canvas.text((x(at[size]), height - bottom + 20), str(size), "tick", "middle")
    axis = "labels per class"
    canvas.text(((left + width - right) / 2, height - 6), axis, "axis", "middle")
    _lines(canvas, lines, lambda s: x(at[s]), y, small)
    return canvas.drawn(_described(lines, metric), "chart")


def _lines(canvas: Canvas, lines: list[dict[str, Any]], x: Any, y: Scale, small: bool) -> None:
    order = {"control": 0, "run": 1, "scratch": 2, "lead": 3}
    step = min(
        1.2 if small else 3.0, (10 if small else 24) / len(lines)
    )  # sideways, so that whiskers do not hide one another
    for line in sorted(lines, key=lambda entry: order[entry["kind"]]):
        aside = step * (lines.index(line) - (len(lines) - 1) / 2)
        points, kind = line["points"], line["kind"]
        ends = [(x(p["budget"]) + aside, y(p["mean"])) for p in points]
        band = [p for p in points if words.half_width(p)]
        if kind in ("lead", "scratch") and len(band) > 1:
            ring = [(x(p["budget"]) + aside, y(p["high"])) for p in band]
            ring += [(x(p["budget"]) + aside, y(p["low"])) for p in reversed(band)]
            canvas.path(ring, f"band {kind}")
        canvas.path(ends, f"line {kind}")
        for point, end in zip(points, ends, strict=True):
            if words.half_width(point):
                canvas.line((end[0], y(point["low"])), (end[0], y(point["high"])), f"whisk {kind}")
            title = f"{line['name']}, {words.budget(point['budget'])}: {words.value(point)}"
            canvas.mark(end, line["shape"], f"dot {kind}", title, 3.2 if small else 4)
    _labels(canvas, lines, x, y, small)


def _labels(canvas: Canvas, lines: list[dict[str, Any]], x: Any, y: Scale, small: bool) -> None:
    """Each line's name at its end, moved apart where they would touch."""
    wanted = [y(line["points"][-1]["mean"]) for line in lines]
    placed = spread(wanted, 15, 14, canvas.height - 48)
    start = max(x(line["points"][-1]["budget"]) for line in lines)
    for line, old, new in zip(lines, wanted, placed, strict=True):
        last = line["points"][-1]
        canvas.line((x(last["budget"]) + 6, old), (start + 20, new), f"leader {line['kind']}")
        name = clip(line["name"], 11 if small else 22)
        canvas.text((start + 24, new + 4), f"{name} ", f"label {line['kind']}")
        if not small:
            at = (canvas.width - 2, new + 4)
            canvas.text(at, words.number(last["mean"], last["metric"]), "label number", "end")


def _described(lines: list[dict[str, Any]], metric: str) -> str:
    said = []
    for line in lines:
        values = [f"{p['budget']}: {words.value(p)}" for p in line["points"]]
        said.append(f"{line['name']} {', '.join(values)}")
    return f"{words.metric(metric)} against labels per class. " + "; ".join(said)


def curve(name: str, points: Sequence[Point], width: float = 230, height: float = 120) -> Markup:
    """One small curve with its first and last value; thinned to what the eye can see."""
    step = max(1, len(points) // 160)
    kept = [*points[:-1:step], points[-1]]
    values = [value for _, value in kept]
    canvas = Canvas(width, height)
    marks = ticks(min(values), max(values), 3)
    y = Scale(marks[0], marks[-1], height - 20, 8)
    x = Scale(kept[0][0], kept[-1][0], 38, width - 6)
    for mark in marks:
        canvas.line((38, y(mark)), (width - 6, y(mark)), "grid")
        canvas.text((32, y(mark) + 4), f"{mark:.3g}", "tick", "end")
    canvas.text((38, height - 4), f"{kept[0][0]:.0f}", "tick")
    canvas.text((width - 6, height - 4), f"step {kept[-1][0]:.0f}", "tick", "end")
    canvas.path([(x(s), y(v)) for s, v in kept], "line lead thin")
    said = f"{name}: from {values[0]:.3g} to {values[-1]:.3g} over {kept[-1][0]:.0f} steps"
    return canvas.drawn(said, "curve")


def hue(place: int, many: int) -> str:
    """A colour per class, equally strong on light and dark paper."""
    light = (0.66, 0.56, 0.74)[place % 3]
    return f"oklch({light} 0.14 {(25 + 360 * place / max(1, many)) % 360:.0f})"


def feature_map(
    points: Sequence[Point], labels: Sequence[str | None], classes: Sequence[str], size: float = 420
) -> Markup:
    """(n, 2) positions as dots coloured by class; few classes are named where they lie."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x = Scale(min(xs), max(xs), 14, size - 14)
    y = Scale(min(ys), max(ys), size - 14, 14)
    colours = {name: hue(i, len(classes)) for i, name in enumerate(classes)}
    canvas = Canvas(size, size)
    for (px, py), label in zip(points, labels, strict=True):
        style = f"fill:{colours[label]}" if label in colours else ""
        form = '<circle cx="{}" cy="{}" r="3.4" class="spot" style="{}"><title>{}</title></circle>'
        at = round(x(px), 1), round(y(py), 1)
        canvas.add(form, *at, style, label if label is not None else "no label")
    shown = [name for name in classes if name in labels]
    if len(shown) <= 24:
        _names(canvas, {n: colours[n] for n in shown}, [(x(a), y(b)) for a, b in points], labels)
    many = len(points)
    return canvas.drawn(f"Map of the features of {many} items in {len(shown)} classes", "map")


def _names(
    canvas: Canvas, colours: dict[str, str], points: Sequence[Point], labels: Sequence[str | None]
) -> None:
    """Each class's name and colour at the middle (median) of its dots."""
    middles = []
    for name in colours:
        mine = [p for p, label in zip(points, labels, strict=True) if label == name]
        middle = len(mine) // 2
        middles.append((sorted(p[0] for p in mine)[middle], sorted(p[1] for p in mine)[middle]))
    heights = spread([m[1] for m in middles], 13, 14, canvas.height - 8)
    for name, (x, _), y in zip(colours, middles, heights, strict=True):
        inside = min(max(x, 70), canvas.width - 60)
        words = clip(name, 16)
        start = inside - 3.3 * len(words)
        form = '<circle cx="{}" cy="{}" r="5" class="key" style="fill:{}"/>'
        canvas.add(form, round(start - 9, 1), round(y, 1), colours[name])
        canvas.text((start, y + 4), words, "halo")
