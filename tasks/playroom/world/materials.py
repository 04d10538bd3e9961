"""Colours and procedural textures, drawn without a look at the category.

Shapes: N points. Colours are linear RGB in [0, 1]; textures are solid: a function of a 3D position.
"""

import colorsys
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.playroom.world.solids import Floats

LUMINANCE = (0.2126, 0.7152, 0.0722)


@dataclass(frozen=True)
class Style:
    """Which textures (all equally often), how far their colours lie apart, how fine they are."""

    kinds: tuple[str, ...]
    contrast: tuple[float, float]
    frequency: float


# Textures disturb, but do not drown the shape: with loud ones, telling pictures apart by their
# background alone is so easy that contrastive learning learns nothing else.
TOY = Style(("plain", "plain", "plain", "stripes", "checker", "noise"), (0.3, 0.8), 3.0)
ROOM = Style(
    ("plain", "plain", "gradient", "gradient", "stripes", "checker", "noise", "patches"),
    (0.1, 0.45),
    1.5,
)


@dataclass(frozen=True)
class Material:
    """A texture between `palette` (2 or more colours, (P, 3)) along `frame` (3, 3)."""

    kind: str
    palette: Floats
    frame: Floats
    phase: Floats

    def colour(self, points: Floats) -> Floats:
        """Colours (N, 3) at positions (N, 3)."""
        if self.kind == "plain":
            return np.broadcast_to(self.palette[0], points.shape)
        place = points @ self.frame.T + self.phase
        if self.kind == "patches":
            # Cells of a coarse grid, each of its own colour: clutter without any object in it.
            cell = np.floor(place).astype(np.int64) @ np.array([7, 13, 29])
            return np.asarray(self.palette[cell % len(self.palette)])
        weight = _WEIGHTS[self.kind](place)[:, None]
        return np.asarray(self.palette[0] + (self.palette[1] - self.palette[0]) * weight)

    def truth(self) -> dict[str, Any]:
        return {"texture": self.kind, "colours": np.round(self.palette, 3).tolist()}


def _stripes(place: Floats) -> Floats:
    return np.asarray(np.clip(0.5 + 2 * np.sin(2 * np.pi * place[:, 0]), 0, 1))


def _checker(place: Floats) -> Floats:
    waves = np.sin(np.pi * place)
    return np.asarray(np.clip(0.5 + 4 * waves[:, 0] * waves[:, 1] * waves[:, 2], 0, 1))


def _noise(place: Floats) -> Floats:
    """Waves bent by waves: looks like marble, costs seven sines."""
    bend = np.sin(2.1 * place[:, [1, 2, 0]] + np.sin(3.7 * place[:, [2, 0, 1]]))
    return np.asarray(0.5 + 0.5 * np.sin(2 * (place + bend).sum(1)))


def _gradient(place: Floats) -> Floats:
    return np.asarray(np.clip(0.5 + 0.35 * place[:, 0], 0, 1))


_WEIGHTS = {"stripes": _stripes, "checker": _checker, "noise": _noise, "gradient": _gradient}


def colour(rng: np.random.Generator, luminance: float) -> list[float]:
    """A random hue and saturation at (about) the given luminance: (3,)."""
    hue, saturation = rng.random(2).tolist()
    rgb = colorsys.hsv_to_rgb(hue, 0.9 * saturation, 1.0)
    found = sum(c * weight for c, weight in zip(rgb, LUMINANCE, strict=True))
    if found > luminance:
        return [c * luminance / found for c in rgb]
    share = (luminance - found) / max(1e-6, 1 - found)
    return [c + (1 - c) * share for c in rgb]


def material(rng: np.random.Generator, style: Style, luminance: tuple[float, float]) -> Material:
    """A random texture whose colours all lie within a band of luminance."""
    kind = style.kinds[int(rng.integers(len(style.kinds)))]
    count = 5 if kind == "patches" else 2
    palette = np.array([colour(rng, rng.uniform(*luminance)) for _ in range(count)])
    palette[1:] = palette[0] + (palette[1:] - palette[0]) * rng.uniform(*style.contrast)
    frame, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    scale = style.frequency * rng.uniform(0.6, 1.6)
    return Material(kind, palette, frame * scale, rng.uniform(0, 9, 3))
