"""Augmentation of a whole batch of pictures at once, as a few small matrices per picture.

Cropping, resizing, flipping and blurring are linear and separable: together one matrix for the rows
and one for the columns. Brightness, contrast, saturation, hue, greying and normalising are affine
in a pixel's colour: together one 3 x 3 matrix and an offset. So a picture is three products of
matrices, whatever is asked for. The same kinds of change as torchvision's transforms, up to two
liberties: hue turns the colour plane of YIQ, and values are clipped once, at the end.

What is small, a few numbers per picture, is computed on the CPU, where it is drawn: a GPU gets it
in a few copies and never makes the CPU wait.

Shapes: B batch, H W before, S after, C = 3 colours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from modalities.base import Randomness, sent
from modalities.common.network.tensors import constant, fast, places

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which published weights expect
STD = (0.229, 0.224, 0.225)
LEVEL = 1 / (255 * 0.225)  # one level of grey of a normalised picture
LUMA = (0.299, 0.587, 0.114)
CACHED = 1 << 17  # pixels at a time
NO_BLUR = 0.01  # pixels: the neighbours' weight is zero
SHARP = 0.3  # pixels: a blur with less changes nothing by more than 1/255 of white beside black
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
RGB = torch.linalg.inv(torch.tensor(YIQ))


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a picture. Defaults: nothing."""

    scale: tuple[float, float] = (1.0, 1.0)  # share of the area that a crop keeps
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # its width / height
    flip: float = 0.0  # probability
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # of a full turn
    jitter: float = 1.0  # probability of the four above
    grey: float = 0.0  # probability
    blur: float = 0.0  # probability
    sigma: tuple[float, float] = (0.1, 2.0)  # of the blur, in pixels of a picture 224 wide

    def __call__(
        self, items: Tensor, rng: Randomness, lines: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, normalised, channels last.

        `lines`: matrices for rows and columns, in place of a random crop, flip and blur.
        """
        with torch.autocast(items.device.type, enabled=False):
            drawn = self._draw(rng.on("cpu"))
            rows, columns = lines or self._space(items, drawn)
            matrix, offset, lift = (sent(each, items.device) for each in self._colour(drawn))
            out = torch.empty(items.shape, dtype=torch.float32, device=items.device)
            # A CPU works on as many pictures at a time as fit into its cache.
            pixels = CACHED if items.device.type == "cpu" else items.numel()
            chunk = max(1, pixels // (items.shape[1] * items.shape[2]))
            for start in range(0, len(items), chunk):
                part = slice(start, start + chunk)
                x = resample(items[part], rows[part], columns[part]).float()  # (B, 3, H, W)
                grey = x.mean((2, 3)) @ constant(LUMA, x.device)  # (B,)
                shade = torch.addcmul(offset, lift[part], grey[:, None])  # (B, 3)
                recolour(x, matrix[part], shade, out[part])
        return out.permute(0, 3, 1, 2)

    def _draw(self, rng: Randomness) -> dict[str, Tensor]:
        """Everything random, always in the same order."""
        return {
            "area": rng.uniform(low=self.scale[0], high=self.scale[1]),
            "aspect": rng.uniform(low=math.log(self.ratio[0]), high=math.log(self.ratio[1])).exp(),
            "place": rng.uniform(2),
            "flip": rng.bernoulli(self.flip),
            "light": rng.uniform(4, low=-1.0) * rng.bernoulli(self.jitter, 1),
            "grey": rng.bernoulli(self.grey),
            "sigma": rng.uniform(low=self.sigma[0], high=self.sigma[1]) * rng.bernoulli(self.blur),
        }

    def _space(self, items: Tensor, drawn: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The matrices that crop, resize, flip and blur: (B, H, H) and (B, W, W)."""
        _, height, width, _ = items.shape
        area, place = drawn["area"], drawn["place"]
        # A crop that is the whole picture has no room for another shape than the picture's.
        aspect = drawn["aspect"].clamp(area, 1 / area)
        high, wide = (area / aspect).sqrt(), (area * aspect).sqrt()
        rows = places(height, place[:, 0] * (1 - high), high)
        columns = places(width, place[:, 1] * (1 - wide), wide)
        columns = torch.where(drawn["flip"][:, None], columns.flip(1), columns)
        sigma = drawn["sigma"] * (max(height, width) / 224)
        made = [
            soften(stretch(sent(at, items.device), size, fast(items.device)), sigma)
            for at, size in ((rows, height), (columns, width))
        ]
        return made[0], made[1]

    def _colour(self, drawn: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The affine change of colour, from [0, 255] to normalised.

        (B, 3, 3), (3,), and (B, 3): how much of a picture's mean grey is added.
        """
        strength = (self.brightness, self.contrast, self.saturation, self.hue)
        light = drawn["light"] * torch.tensor(strength)  # (B, 4)
        bright, contrast, saturation = (1 + light[:, :3, None]).unbind(1)  # (B, 1)
        saturation = saturation.masked_fill(drawn["grey"][:, None], 0)[:, :, None]
        colour = saturation * torch.eye(3) + (1 - saturation) * torch.tensor(LUMA)  # (B, 3, 3)
        matrix = (contrast * bright)[:, :, None] * (colour @ _turn(light[:, 3]))
        std, mean = torch.tensor(STD), torch.tensor(MEAN)
        # Contrast is about the mean grey.
        return matrix / (255 * std[:, None]), -mean / std, (1 - contrast) * bright / (255 * std)


def planes(items: Tensor) -> Tensor:
    """(B, H, W, 3) -> the same, in memory a plane of each colour: for who makes several views."""
    return items.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)


def resample(items: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, H, W, 3) uint8, (B, S, H), (B, T, W) -> (B, 3, S, T) in [0, 255]."""
    batch, height, width, _ = items.shape
    x = items.permute(0, 3, 1, 2).contiguous().to(rows.dtype)  # (B, 3, H, W)
    x = torch.bmm(x.view(batch, 3 * height, width), columns.transpose(1, 2))  # (B, 3 H, T)
    return torch.matmul(rows[:, None], x.view(batch, 3, height, -1))  # (B, 3, S, T)


def recolour(x: Tensor, matrix: Tensor, offset: Tensor, out: Tensor) -> None:
    """(B, 3, S, T), (B, 3, 3), (B, 3) -> out (B, S, T, 3), clipped to what a picture can be."""
    x = torch.baddbmm(offset[:, :, None], matrix, x.flatten(2)).view_as(x)
    for c in range(3):
        torch.clamp(x[:, c], -MEAN[c] / STD[c], (1 - MEAN[c]) / STD[c], out=out[..., c])


def stretch(at: Tensor, size: int, kind: torch.dtype) -> Tensor:
    """(B, S) places on a line of pixels -> the (B, S, size) matrices that interpolate there."""
    if at.device.type == "cuda":  # where scattering in a fixed order is slow
        pixels = torch.arange(size, device=at.device)
        return (1 - (at[:, :, None] - pixels).abs_()).clamp_(min=0).to(kind)
    low = at.floor()
    weight = (at - low).flatten()
    first = low.long().flatten() + torch.arange(at.numel(), device=at.device) * size
    # At the last pixel the next one is the same one, and what is written second is right.
    second = first + (low.flatten() < size - 1)
    matrix = torch.zeros(at.numel() * size, dtype=kind, device=at.device)
    matrix.index_copy_(0, second, weight.to(kind)).index_copy_(0, first, (1 - weight).to(kind))
    return matrix.view(*at.shape, size)


def soften(matrix: Tensor, sigma: Tensor) -> Tensor:
    """(B, S, W) matrices -> such that they blur too; sigma (B,) in pixels, on the CPU."""
    blurred = torch.nonzero(sigma > SHARP)[:, 0]
    if not len(blurred):
        return matrix
    if matrix.device.type == "cuda":  # all of them, those that stay sharp by nothing
        wide = sent(sigma.where(sigma > SHARP, NO_BLUR), matrix.device)
        return smooth(matrix.shape[1], wide).to(matrix.dtype) @ matrix
    matrix[blurred] = smooth(matrix.shape[1], sigma[blurred]).to(matrix.dtype) @ matrix[blurred]
    return matrix


def smooth(size: int, sigma: Tensor) -> Tensor:
    """The (B, size, size) matrices that blur a line; sigma (B,) in pixels, above 0."""
    pixels = torch.arange(size, device=sigma.device)
    if sigma.device.type == "cuda":  # less to launch
        away = (pixels[:, None] - pixels).square()
        bells = torch.exp(-away / (2 * sigma.square())[:, None, None])
        return bells / bells.sum(2, keepdim=True)
    bell = torch.exp(-pixels.square() / (2 * sigma.square())[:, None])  # (B, S)
    left = bell.cumsum(1)
    total = left + left.flip(1) - bell[:, :1]
    both = torch.cat([bell.flip(1), bell[:, 1:]], 1)  # (B, 2 S - 1)
    return both.unfold(1, size, 1).flip(1).div_(total[:, :, None])


def _turn(hue: Tensor) -> Tensor:
    """The (B, 3, 3) matrices that turn hue by (B,) of a full turn, in the colour plane of YIQ."""
    cos, sin = torch.cos(2 * math.pi * hue), torch.sin(2 * math.pi * hue)
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    turned: Tensor = RGB @ turn @ torch.tensor(YIQ)
    return turned
