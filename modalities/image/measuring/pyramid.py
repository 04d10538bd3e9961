"""The door from an encoder's maps to heads that say something of places.

Shapes: B pictures, S their side, C_i h_i w_i of level i, P width of the pyramid.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from modalities.image.network.contract import ImageEncoder

LEVELS = 4


class Pyramid(nn.Module):
    """Maps of one width, the coarse ones' meaning added to the finer ones.

    Lin et al. 2017, arXiv:1612.03144. Of the maps of one resolution the last is taken; those finer
    than `finest` pixels a place are not (but for an encoder that has no others).
    """

    def __init__(self, encoder: ImageEncoder, size: int, *, width: int, finest: int) -> None:
        super().__init__()
        self.encoder, self.out_channels = encoder, width
        shapes = _shapes(encoder, size)
        last = {side: at for at, (_, side) in enumerate(shapes)}
        fit = [side for side in last if size // side >= finest] or [min(last)]
        sides = sorted(fit, reverse=True)[:LEVELS]
        self.taken = [last[side] for side in sides]
        self.strides = [size / side for side in sides]
        self.merge = FeaturePyramidNetwork([shapes[at][0] for at in self.taken], width)
        self.frozen = False

    def freeze(self) -> None:
        """The encoder stays as it is, the statistics of its norms included."""
        self.frozen = True
        self.encoder.requires_grad_(False)
        self.train(self.training)

    def thaw(self) -> None:
        self.frozen = False
        self.encoder.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Pyramid":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> "OrderedDict[str, Tensor]":
        """(B, 3, S, S) -> level: (B, P, h_i, w_i) float32, finest first."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            maps = self.encoder.maps(x)
        chosen = OrderedDict((str(i), maps[at]) for i, at in enumerate(self.taken))
        found = self.merge(chosen)
        return OrderedDict((name, level.float()) for name, level in found.items())


@torch.no_grad()
def _shapes(encoder: ImageEncoder, size: int) -> list[tuple[int, int]]:
    """Channels and side of every map of a picture of `size` pixels."""
    training = encoder.training
    encoder.eval()
    where = next(encoder.parameters()).device
    maps = encoder.maps(torch.zeros(1, 3, size, size, device=where))
    encoder.train(training)
    return [(m.shape[1], m.shape[3]) for m in maps]


def added(levels: "OrderedDict[str, Tensor]") -> Tensor:
    """All levels at the finest one's resolution, added: (B, P, h, w).

    As for segmentation in Kirillov et al. 2019, arXiv:1901.02446.
    """
    finest, *coarser = levels.values()
    for level in coarser:
        finest = finest + resized(level, finest.shape[2])
    return finest


def resized(x: Tensor, size: int) -> Tensor:
    """(B, C, h, h) -> (B, C, size, size) float32."""
    if x.shape[2] == size:
        return x.float()
    return F.interpolate(x.float(), (size, size), mode="bilinear", align_corners=False)
