"""Square pieces of pictures, for the objectives that ask how pieces belong together.

Shapes: B pictures, C colours, H W height and width, N pieces of each, t side of a piece.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.base import Randomness
from modalities.common.network.tensors import constant
from modalities.image.network.augmentation import LEVEL, MEAN, STD

NOISE = 0.01  # of what replaces a dropped colour, in standard deviations of the one that is kept
GREEN_MAGENTA = (-1.0, 2.0, -1.0)


def cut(x: Tensor, corners: Sequence[Tensor], side: int) -> Tensor:
    """(B, C, H, W) -> (B, N, C, t, t), t = side, from their upper left corners.

    corners: how far down and across, inside the picture, (B, N, 1) int64 each, or (B, N, C): each
    colour has a place of its own.
    """
    windows = x.unfold(2, side, 1).unfold(3, side, 1)  # (B, C, H - t + 1, W - t + 1, t, t), a view
    item = torch.arange(x.shape[0], device=x.device)[:, None, None]
    colour = torch.arange(x.shape[1], device=x.device)
    top, left = corners
    return windows[item, colour, top, left]


def resize(tiles: Tensor, side: int) -> Tensor:
    """(B, N, C, t, t) -> (B, N, C, side, side), interpolated; 0: left as they are."""
    if side in (0, tiles.shape[-1]):
        return tiles
    flat = tiles.flatten(0, 1)
    flat = F.interpolate(flat, (side, side), mode="bilinear", align_corners=False, antialias=True)
    return flat.view(*tiles.shape[:3], side, side)


def centred(tiles: Tensor) -> Tensor:
    """(..., t, t): each colour of each tile less its mean."""
    return tiles - tiles.mean((-2, -1), keepdim=True)


def normalised(tiles: Tensor) -> Tensor:
    """(..., t, t): each colour of each tile less its mean, by its standard deviation.

    Else neighbours are known by their brightness and contrast. A tile that is flat but for rounding
    must not become noise, hence the level of grey.
    """
    tiles = centred(tiles)
    return tiles / (tiles.square().mean((-2, -1), keepdim=True) + LEVEL**2).sqrt()


def coloured(x: Tensor) -> Tensor:
    """(B, 3, H, W) normalised -> (B,) booleans: false where all pixels are grey."""
    red, green, blue = x.unbind(1)
    away = [
        (red * STD[0] + (MEAN[0] - MEAN[c])).sub_(other, alpha=STD[c]).abs_().amax((1, 2))
        for c, other in ((1, green), (2, blue))
    ]  # the others from red, in shares of white
    return torch.stack(away).amax(0) > 0.5 / 255


def drop(patches: Tensor, rng: Randomness) -> Tensor:
    """(B, N, 3, t, t): each patch keeps one colour; faint noise is in the place of the others."""
    kept = F.one_hot(rng.integers(3, patches.shape[1]), 3).bool()  # (B, N, 3)
    kept = kept[..., None, None]
    spread = (patches * kept).sum(2, keepdim=True).std((-2, -1), keepdim=True)
    return torch.where(kept, patches, NOISE * spread * rng.normal(*patches.shape[1:]))


def project(patches: Tensor, _: Randomness) -> Tensor:
    """(B, N, 3, t, t): as before it was normalised, without its part along green to magenta."""
    axis = constant(GREEN_MAGENTA, patches.device)
    matrix = torch.eye(3, device=axis.device) - torch.outer(axis, axis) / axis.square().sum()
    std = constant(STD, patches.device)
    return torch.einsum("cd,bndij->bncij", matrix * std / std[:, None], patches)
