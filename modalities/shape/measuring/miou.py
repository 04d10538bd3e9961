"""Intersection over union of parts, exactly as ShapeNetPart has it. Yi et al., SIGGRAPH Asia 2016,
doi:10.1145/2980179.2980238; the rule for absent parts: Qi et al. 2017, arXiv:1612.00593.

A shape's value is the mean over all parts of its category; a part that is neither there nor
predicted counts as 1. The instance mean is over shapes, the category mean over categories' means.

Shapes: N shapes, P points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def shape_iou(predicted: Ints, true: Ints, parts: Sequence[int]) -> float:
    """One shape: (P,), (P,), the parts of its category. Points whose part is unknown (-1) play no
    role."""
    known = true >= 0
    predicted, true = predicted[known], true[known]
    found = []
    for part in parts:
        mine, its = predicted == part, true == part
        union = int((mine | its).sum())
        found.append(float((mine & its).sum()) / union if union else 1.0)
    return float(np.mean(found))


def means(values: NDArray[np.float64], categories: Ints) -> tuple[float, float]:
    """Of shapes' values (N,) and categories (N,): the instance mean, the category mean."""
    each = [values[categories == code].mean() for code in np.unique(categories)]
    return float(values.mean()), float(np.mean(each))


@dataclass(frozen=True)
class Catalogue:
    """Which parts each category has, by the data's own numbers, and one row of classes for all."""

    parts: tuple[tuple[int, ...], ...]  # of each category

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))

    def start(self, category: int) -> int:
        """Where a category's classes begin."""
        return sum(map(len, self.parts[:category]))

    def classes(self, parts: Ints, category: int) -> Ints:
        """Parts of a shape (P,) as classes; -1 where unknown or not a part of the category."""
        known = np.array(self.parts[category], np.int64)
        at = np.searchsorted(known, parts).clip(max=len(known) - 1)
        return np.where(known[at] == parts, at + self.start(category), -1)

    def allowed(self) -> NDArray[np.bool_]:
        """(categories, classes): which classes are a category's."""
        found = np.zeros((len(self.parts), self.size), bool)
        for category, own in enumerate(self.parts):
            found[category, self.start(category) : self.start(category) + len(own)] = True
        return found
