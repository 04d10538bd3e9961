"""Point clouds as an encoder takes them, and the ways to change one without changing what it shows.

Shapes: B clouds, P points, Q of them kept. In: (B, P, 7). Out: (B, P, 6), positions and normals;
the part, the last number of each point, never reaches an encoder.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.common.network.masking import take_tokens


def prepare(items: Tensor) -> Tensor:
    """Only the change of form."""
    return items[..., :6].float()


@dataclass(frozen=True)
class Change:
    """Random turns, scales, shifts and noise. Lengths are in radii of the shape."""

    scale: float = 0.2  # sizes along each axis differ by up to this share
    shift: float = 0.1
    jitter: float = 0.0  # standard deviation of each position
    turn: Literal["none", "vertical", "any"] = "none"

    def __call__(self, items: Tensor, rng: Randomness) -> Tensor:
        """(B, P, 6 or more) -> (B, P, 6)."""
        place, normal = items[..., :3].float(), items[..., 3:6].float()
        factor = rng.uniform(1, 3, low=1 - self.scale, high=1 + self.scale)  # (B, 1, 3)
        place, normal = place * factor, normal / factor  # normals go by the inverse transpose
        normal = normal / normal.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        if self.turn != "none":
            matrix = rotations(rng, self.turn).transpose(1, 2)
            place, normal = place @ matrix, normal @ matrix
        place = place + rng.uniform(1, 3, low=-self.shift, high=self.shift)
        if self.jitter:
            noise = rng.normal(items.shape[1], 3)
            place = place + (noise * self.jitter).clamp(-3 * self.jitter, 3 * self.jitter)
        return torch.cat([place, normal], -1)


def rotations(rng: Randomness, turn: str) -> Tensor:
    """(B, 3, 3): about the vertical y, or any at all (even over all of them, by quaternions)."""
    if turn == "vertical":
        angle = rng.uniform(1, high=2 * torch.pi)[:, 0]
        zero, one = torch.zeros_like(angle), torch.ones_like(angle)
        cos, sin = angle.cos(), angle.sin()
        rows = [cos, zero, sin, zero, one, zero, -sin, zero, cos]
        return torch.stack(rows, 1).view(-1, 3, 3)
    q = rng.normal(4)
    return turned_by(q / q.norm(dim=1, keepdim=True).clamp_min(1e-12))


def turned_by(q: Tensor) -> Tensor:
    """Unit quaternions (B, 4) -> rotations (B, 3, 3)."""
    w, i, j, k = q.unbind(1)
    rows = [
        1 - 2 * (j * j + k * k), 2 * (i * j - k * w), 2 * (i * k + j * w),
        2 * (i * j + k * w), 1 - 2 * (i * i + k * k), 2 * (j * k - i * w),
        2 * (i * k - j * w), 2 * (j * k + i * w), 1 - 2 * (i * i + j * j),
    ]  # fmt: skip
    return torch.stack(rows, 1).view(-1, 3, 3)


def some(rng: Randomness, points: int, count: int) -> Tensor:
    """Which `count` of so many points each cloud keeps, (B, Q) int64; all where there are fewer."""
    return rng.uniform(points).argsort(1)[:, :count]


SUPERVISED = Change(scale=0.2, shift=0.1)


def augment(items: Tensor, rng: Randomness) -> Tensor:
    """Scale and shift; what fine-tuning and training from scratch see."""
    return SUPERVISED(items, rng)


def taken(items: Tensor, which: Tensor) -> Tensor:
    """(B, P, C), (B, Q) -> (B, Q, C)."""
    return take_tokens(items, which)
