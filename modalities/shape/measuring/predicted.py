"""Shapes cut into parts, the true and the predicted ones, from two sides.

Shapes: P points.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.shape.drawing.pictures import beside, draw

SIDES = (0.6, 3.7)  # radians about the vertical
SIZE = 96  # pixels


@dataclass(frozen=True)
class Example:
    """A test shape (P, 7), its parts and those a network found, (P,) each: 0, 1, ... among the
    parts of its category, -1 where nobody knows."""

    item: NDArray[Any]
    true: NDArray[np.int64]
    predicted: NDArray[np.int64]


def show_parts(examples: list[Example], folder: Path) -> None:
    """answer.png and found.png: two columns for each shape, a colour for each part of its category.

    The report puts what each start found below the answer.
    """
    from PIL import Image

    for name, row in {
        "answer": [each.true for each in examples],
        "found": [each.predicted for each in examples],
    }.items():
        shapes = [
            draw(each.item, parts, size=SIZE, turn=side)
            for each, parts in zip(examples, row, strict=True) for side in SIDES
        ]  # fmt: skip
        Image.fromarray(beside(shapes)).save(folder / f"{name}.png")
