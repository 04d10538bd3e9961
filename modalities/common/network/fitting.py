"""Weights of a network for inputs of one size, made to fit one for inputs of another.

Shapes: D width, C channels, p q rows and columns of a patch, h w of the grid of patches.
"""

import math

import torch
from torch import Tensor


def kernels(found: Tensor, channels: int, size: tuple[int, int]) -> Tensor:
    """(D, C, p, q) -> (D, channels, *size), for patches of another size.

    A patch that is scaled to that size gives what it gave before, as nearly as can be: FlexiViT,
    arXiv:2212.08013.
    """
    from timm.layers.patch_embed import resample_patch_embed

    wide = of_channels(found, channels)
    if wide.shape[2:] == size:
        return wide
    made: Tensor = resample_patch_embed(wide, list(size))
    return made


def of_channels(found: Tensor, channels: int) -> Tensor:
    """(D, C, p, q) -> (D, channels, p, q); an input with all channels equal gives what it gave."""
    before = found.shape[1]
    if channels == before:
        return found
    if channels < before:
        return torch.stack([found[:, i::channels].sum(1) for i in range(channels)], 1)
    order = torch.arange(channels) % before
    share = torch.bincount(order)[order]  # how often a channel is taken
    return found[:, order] / share[:, None, None]


def positions(found: Tensor, size: tuple[int, int], before: int) -> Tensor:
    """(1, before + h w, D) of a square grid -> (1, before + size, D), interpolated.

    `before`: how many have no place on the grid, such as a class token's. As it is if not square.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    side = math.isqrt(max(found.shape[1] - before, 0))
    if before + side * side != found.shape[1] or (side, side) == size or not side:
        return found
    made: Tensor = resample_abs_pos_embed(found, list(size), [side, side], num_prefix_tokens=before)
    return made
