"""The small convolutional network of our own."""

from typing import Literal

from torch import nn

from modalities.common.network.convolution import Conv
from modalities.image.network.contract import ImageEncoder


class Small(ImageEncoder):
    """A plain convolutional net that a CPU can train in a minute.

    Each stage halves the resolution, but for the first, which does so only with `stem: 4`: a 4 x 4
    convolution instead of a 3 x 3 one. `depth` 3 x 3 convolutions a stage, each with batch norm,
    which on a CPU in bf16 is several times as fast as group norm.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        depth: int = 1,
        stem: Literal[3, 4] = 4,
    ) -> None:
        super().__init__()
        self.dim = widths[-1]
        self.stages = nn.ModuleList()
        before = 3
        for i, width in enumerate(widths):
            first = _block(before, width, stem if i == 0 else 3, 1 if i == 0 and stem == 3 else 2)
            rest = [layer for _ in range(depth - 1) for layer in _block(width, width, 3, 1)]
            self.stages.append(nn.Sequential(*first, *rest))
            before = width


def _block(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    conv = Conv(before, after, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
