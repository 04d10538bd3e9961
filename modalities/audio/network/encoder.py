"""Networks that turn spectrograms into features, by name: `small`, a convolution, and `vit`.

Shapes: B batch, M mel bands, F frames, h w places of the last map or patches across bands and
frames, N = h w, D width, K visible patches, p q bands and frames of a patch.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Annotated, Any

from annotated_types import Gt
from torch import Tensor, nn

from modalities.base import Encoder, UserError
from modalities.common.network.convolution import Conv
from modalities.common.network.masking import take_tokens
from modalities.common.network.transformer import positions, start, transformer


class SoundEncoder(Encoder):
    """A network on log-mel spectrograms, (B, 1, M, F) -> (B, D)."""


class Small(SoundEncoder):
    """A plain convolutional net that a CPU can train in a minute.

    A 4 x 4 convolution of stride 4, then a 3 x 3 one of stride 2 per width. A sound's feature is
    the mean over places plus the maximum over time of the mean over bands, as in BYOL-A
    (arXiv:2103.06695): what lasts and what happens once both count.
    """

    def __init__(self, *, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        self.dim = widths[-1]
        layers: list[nn.Module] = []
        before = 1
        for i, width in enumerate(widths):
            kernel, stride, padding = (4, 4, 0) if i == 0 else (3, 2, 1)
            conv = Conv(before, width, kernel, stride, padding, bias=False)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            before = width
        self.layers = nn.Sequential(*layers)

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 1, M, F) -> (B, N, D): the places of the last map, band by band."""
        if visible is not None:
            raise ValueError(
                "a convolution needs its neighbours, so it cannot encode visible patches alone; "
                "choose encoder vit for masked prediction"
            )
        found: Tensor = self.layers(x).flatten(2).transpose(1, 2)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, M, F) -> (B, D)."""
        times = self.layers(x).mean(2)  # (B, D, w)
        found: Tensor = times.mean(2) + times.amax(2)
        return found


class PatchEncoder(SoundEncoder):
    """An encoder that can be shown some patches of a spectrogram and not the others."""

    patch: tuple[int, int]  # bands and frames (p, q)

    def grid(self, x: Tensor) -> tuple[int, int]:
        """How many patches (B, 1, M, F) has, across bands and frames: h, w.

        Frames at the end that fill no patch are left out.
        """
        bands, frames = x.shape[2:]
        if bands % self.patch[0] or frames < self.patch[1]:
            raise UserError(
                f"spectrograms of {bands} bands and {frames} frames cannot be cut into patches of "
                f"{self.patch[0]} x {self.patch[1]}; set encoder_options.bands and .frames"
            )
        return bands // self.patch[0], frames // self.patch[1]

    def patches(self, x: Tensor) -> Tensor:
        """(B, 1, M, F) -> (B, N, p q), band by band."""
        (rows, columns), (p, q) = self.grid(x), self.patch
        x = x[..., : columns * q].reshape(x.shape[0], rows, p, columns, q)
        return x.permute(0, 1, 3, 2, 4).reshape(x.shape[0], rows * columns, p * q)


class ViT(PatchEncoder):
    """Patches of the spectrogram with fixed positions through a transformer (arXiv:2104.01778).

    As the encoder of MAE (arXiv:2111.06377), without a class token: a sound's feature is the mean
    over its patches. `bands` and `frames`: size of a patch.
    """

    def __init__(
        self,
        *,
        bands: Annotated[int, Gt(0)] = 16,
        frames: Annotated[int, Gt(0)] = 8,
        width: Annotated[int, Gt(0)] = 192,
        depth: Annotated[int, Gt(0)] = 4,
        heads: Annotated[int, Gt(0)] = 3,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise UserError(
                f"encoder vit: width {width} must be divisible by 4, for the positions, and by the "
                f"number of heads, {heads}"
            )
        self.patch, self.dim = (bands, frames), width
        self.embedding = nn.Linear(bands * frames, width)
        start(self.embedding)
        self.blocks = transformer(width, depth, heads)

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 1, M, F) -> (B, N, D); with `visible` (B, K), these alone: (B, K, D)."""
        place = positions(*self.grid(x), self.dim, x.device)  # (N, D)
        levels = self.patches(x)  # (B, N, p q)
        if visible is not None:
            levels, place = take_tokens(levels, visible), place[visible]
        found: Tensor = self.blocks(self.embedding(levels) + place)
        return found


OWN: dict[str, Callable[..., SoundEncoder]] = {"small": Small, "vit": ViT}


def build(name: str, **options: Any) -> SoundEncoder:
    """A new encoder with random weights; UserError for a name or an option that does not exist."""
    if name not in OWN:
        raise UserError(f"unknown encoder {name!r}{_nearest(name, list(OWN))}")
    allowed = list(inspect.signature(OWN[name]).parameters)
    for key, value in options.items():
        if key not in allowed:
            raise UserError(f"encoder {name}: unknown option {key!r}{_nearest(key, allowed)}")
        numbers = value if isinstance(value, list | tuple) and key == "widths" else [value]
        good = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in numbers)
        if not good or not numbers:
            raise UserError(f"encoder {name}: option {key}: impossible value {value!r}")
    return OWN[name](**options)


def _nearest(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word, names, 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint}; allowed: {', '.join(names)}"
