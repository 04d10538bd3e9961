"""Frames of clips as an encoder of pictures takes them.

Shapes: B clips, F frames of each, L bytes of a packed clip. Out: (B, 3, H, W), normalised.
"""

import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.image.network import views
from modalities.video.clips import frames_of


def prepare(items: Tensor) -> Tensor:
    """(B, L) uint8 -> the frame in the middle, (B, 3, H, W)."""
    frames = frames_of(items)
    return views.prepare(frames[:, frames.shape[1] // 2])


def any_frame(items: Tensor, rng: Randomness) -> Tensor:
    """(B, L) uint8 -> a frame of each clip, (B, H, W, 3) uint8."""
    frames = frames_of(items)
    which = rng.integers(frames.shape[1])  # (B,)
    found: Tensor = frames[torch.arange(len(frames), device=frames.device), which]
    return found


def augment(items: Tensor, rng: Randomness) -> Tensor:
    """Any frame, with the mild changes of `modalities.image`."""
    return views.augment(any_frame(items, rng), rng)
