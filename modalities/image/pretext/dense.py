"""From an encoder's last map to something at every place of a finer one, for pretext tasks.

Shapes: B pictures, D h w of the last map, C of the output, r = pixels of a place of the last map.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modalities.common.network.convolution import ConvTranspose
from modalities.image.network.contract import ImageEncoder, PatchEncoder

PROBE = 64  # pixels


class Dense(nn.Module):
    """A few up-convolutions, each to twice the resolution and half the width: a light decoder."""

    def __init__(self, encoder: ImageEncoder, channels: int, *, cell: int = 1) -> None:
        """`cell`: pixels of the picture, each way, for one place of the output."""
        super().__init__()
        self.cell = cell
        doublings = max(0, round(math.log2(stride(encoder) / cell)))
        width, layers = encoder.dim, list[nn.Module]()
        for _ in range(doublings):
            after = max(16, width // 2)
            up = ConvTranspose(width, after, 4, 2, 1, bias=False)
            layers += [up, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
            width = after
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 1))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, D, h, w) of a picture of `size` H, W -> (B, C, H / cell, W / cell), float32."""
        found: Tensor = self.layers(x).float()
        wanted = fine(size, self.cell)
        if found.shape[2:] == wanted:
            return found
        return F.interpolate(found, wanted, mode="bilinear", align_corners=False)


def fine(size: tuple[int, int], cell: int) -> tuple[int, int]:
    """How many places of `cell` x `cell` pixels a picture of `size` has, down and across."""
    return max(1, size[0] // cell), max(1, size[1] // cell)


@torch.no_grad()
def stride(encoder: ImageEncoder) -> int:
    """How many pixels, each way, a place of the last map stands for (r)."""
    if isinstance(encoder, PatchEncoder):
        return encoder.patch
    training = encoder.training
    encoder.eval()
    side = encoder.maps(torch.zeros(1, 3, PROBE, PROBE))[-1].shape[3]
    encoder.train(training)
    return PROBE // side
