"""Cuts of a batch of pictures, and where their boxes, points and masks are then.

Shapes: B pictures, S their side, n boxes or points, each of one of the pictures.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.common.network.tensors import fast, places
from modalities.image.network.augmentation import Augmentation, stretch

COLOUR = Augmentation(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8, grey=0.2)
PLAIN = Augmentation()


@dataclass(frozen=True)
class Windows:
    """What is shown of each picture, as shares of its side, and whether it is flipped."""

    start: Tensor  # (B, 2) left, top; outside of [0, 1): the picture's edge is repeated
    part: Tensor  # (B, 2) width, height
    flip: Tensor  # (B,) bool

    def pictures(self, items: Tensor, rng: Randomness | None) -> Tensor:
        """(B, S, S, 3) uint8 -> (B, 3, S, S) normalised; with `rng` the colours change too."""
        size, kind = items.shape[1], fast(items.device)
        rows = places(size, self.start[:, 1], self.part[:, 1])
        columns = places(size, self.start[:, 0], self.part[:, 0])
        columns = torch.where(self.flip[:, None], columns.flip(1), columns)
        lines = stretch(rows, size, kind), stretch(columns, size, kind)
        drawn = rng or Randomness(torch.Generator(), total=len(items), device=items.device)
        return (COLOUR if rng else PLAIN)(items, drawn, lines)

    def points(self, points: Tensor, of: Tensor, size: int) -> Tensor:
        """(n, 2) x, y in pixels of the pictures `of` (n,) -> in pixels of what is shown."""
        moved = (points / size - self.start[of]) / self.part[of] * size
        x = torch.where(self.flip[of], size - moved[:, 0], moved[:, 0])
        return torch.stack([x, moved[:, 1]], 1)

    def back(self, points: Tensor, size: int) -> Tensor:
        """(B, K, 2) x, y in pixels of what is shown, which is not flipped -> of the pictures."""
        return (points / size * self.part[:, None] + self.start[:, None]) * size

    def boxes(self, boxes: Tensor, of: Tensor, size: int) -> Tensor:
        """(n, 4) left, top, right, bottom -> the same of what is shown, not clipped."""
        one, other = (self.points(boxes[:, at], of, size) for at in ([0, 1], [2, 3]))
        return torch.cat([torch.minimum(one, other), torch.maximum(one, other)], 1)

    def masks(self, masks: Tensor) -> Tensor:
        """(B, S, S) -> (B, S, S), the nearest pixel each."""
        batch, size = masks.shape[:2]
        at = (torch.arange(size, device=masks.device) + 0.5) / size
        found = []
        for axis in (1, 0):
            place = (at * self.part[:, axis, None] + self.start[:, axis, None]) * size
            found.append(place.floor().long().clamp(0, size - 1))  # (B, S)
        rows, columns = found
        columns = torch.where(self.flip[:, None], columns.flip(1), columns)
        each = torch.arange(batch, device=masks.device)[:, None, None]
        return masks[each, rows[:, :, None], columns[:, None, :]]


def whole(batch: int, device: torch.device | str) -> Windows:
    """Pictures as they are."""
    zero = torch.zeros(batch, 2, device=device)
    return Windows(zero, zero + 1, torch.zeros(batch, dtype=torch.bool, device=device))


def zoomed(rng: Randomness, least: float) -> Windows:
    """Random squares of `least` to 1 of the area, half of them flipped."""
    side = rng.uniform(1, low=least, high=1.0).sqrt()  # (B, 1)
    return Windows(rng.uniform(2) * (1 - side), side.expand(-1, 2), rng.bernoulli(0.5))


def around(boxes: Tensor, size: int, margin: float, rng: Randomness | None) -> Windows:
    """Squares around boxes (B, 4) of pixels, `margin` times as wide as their longer side.

    With `rng` a quarter larger or smaller, moved by up to a tenth, and half of them flipped.
    """
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    side = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True).clamp(min=1.0) * margin  # (B, 1)
    flip = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    if rng is not None:
        side = side * rng.uniform(1, low=0.75, high=1.25)
        middle = middle + side * rng.uniform(2, low=-0.1, high=0.1)
        flip = rng.bernoulli(0.5)
    return Windows((middle - side / 2) / size, (side / size).expand(-1, 2), flip)
