"""A small canvas for inline SVG; its colours are CSS classes, so it follows light and dark."""

import math
from collections.abc import Iterable, Sequence

from markupsafe import Markup

Point = tuple[float, float]


class Canvas:
    """Collects shapes; coordinates are in the picture's own units, y downwards."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._parts: list[Markup] = []

    def add(self, markup: str, *values: object) -> None:
        self._parts.append(Markup(markup).format(*values))

    def line(self, one: Point, other: Point, kind: str) -> None:
        ends = [round(v, 1) for v in (*one, *other)]
        self.add('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>', *ends, kind)

    def path(self, points: Sequence[Point], kind: str, style: str = "") -> None:
        self.add('<path d="{}" class="{}" style="{}"/>', trace(points), kind, style)

    def text(self, at: Point, words: str, kind: str, anchor: str = "start") -> None:
        x, y = (round(v, 1) for v in at)
        form = '<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>'
        self.add(form, x, y, kind, anchor, words)

    def mark(self, at: Point, shape: str, kind: str, title: str, size: float = 4) -> None:
        """A marker that differs in shape as well as in colour, with its value on hover."""
        x, y = at
        if shape == "circle":
            form = '<circle cx="{}" cy="{}" r="{}" class="{}"><title>{}</title></circle>'
            self.add(form, round(x, 1), round(y, 1), size, kind, title)
            return
        turns = {"diamond": (0, 4), "triangle": (0, 3), "square": (45, 4), "down": (180, 3)}
        start, corners = turns[shape]
        angles = [math.radians(start + 360 * i / corners) for i in range(corners)]
        ring = [(x + 1.25 * size * math.sin(a), y - 1.25 * size * math.cos(a)) for a in angles]
        form = '<path d="{}Z" class="{}"><title>{}</title></path>'
        self.add(form, trace(ring), kind, title)

    def drawn(self, label: str, kind: str = "") -> Markup:
        """The finished picture; `label` is what a screen reader says in its place."""
        head = Markup('<svg viewBox="0 0 {} {}" width="{}" role="img" class="{}" aria-label="{}">')
        start = head.format(self.width, self.height, self.width, kind, label)
        return start + Markup("").join(self._parts) + Markup("</svg>")


def trace(points: Iterable[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def clip(text: str, letters: int) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers that span low to high."""
    if high <= low:
        high = low + (abs(low) or 1)
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = power * next(m for m in (1, 2, 2.5, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near the wanted ones, in their order, at least `gap` apart, within low to high."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gap = min(gap, (high - low) / max(1, len(wanted) - 1))
    placed: list[float] = []
    for i in order:
        placed.append(max(wanted[i], placed[-1] + gap if placed else low))
    limit = high
    for k in range(len(placed) - 1, -1, -1):
        placed[k] = min(placed[k], limit)
        limit = placed[k] - gap
    result = [0.0] * len(wanted)
    for i, y in zip(order, placed, strict=True):
        result[i] = y
    return result
