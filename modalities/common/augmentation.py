"""Augmentation of a whole batch of pictures at once, as a few small matrices per picture.

Cropping, resizing, flipping and blurring are linear and separable: together one matrix for the rows
and one for the columns. Brightness, contrast, saturation, hue, greying and normalising are affine
in a pixel's colour: together one 3 x 3 matrix and an offset. So a picture is read once and written
once, whatever is asked for. The same kinds of change as torchvision's transforms, up to two
liberties: hue turns the colour plane of YIQ, and values are clipped once, at the end.

Shapes: B batch, H W before, S after, C = 3 colours.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from modalities.base import Randomness

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, which published weights expect
STD = (0.229, 0.224, 0.225)
LUMA = (0.299, 0.587, 0.114)
CACHED = 1 << 16  # pixels at a time
YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))


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

    def __call__(self, items: Tensor, rng: Randomness) -> Tensor:
        """(B, H, W, 3) uint8 -> (B, 3, H, W) float32, normalised, channels last."""
        _, height, width, _ = items.shape
        drawn = self._draw(rng)
        out = torch.empty(items.shape, dtype=torch.float32, device=items.device)
        # A CPU works on as many pictures at a time as fit into its cache.
        chunk = max(1, CACHED // (height * width)) if items.device.type == "cpu" else len(items)
        for start in range(0, len(items), chunk):
            part = slice(start, start + chunk)
            some = {name: values[part] for name, values in drawn.items()}
            rows, columns = self._space(height, width, some)
            x = resample(items[part], rows, columns)  # (B, H, 3, W)
            recolour(x, *self._colour(x, some), out[part])
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

    def _space(self, height: int, width: int, drawn: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The matrices that crop, resize, flip and blur: (B, H, H) and (B, W, W)."""
        area, place = drawn["area"], drawn["place"]
        # A crop that is the whole picture has no room for another shape than the picture's.
        aspect = drawn["aspect"].clamp(area, 1 / area)
        high, wide = (area / aspect).sqrt(), (area * aspect).sqrt()
        rows = stretch(height, place[:, 0] * (1 - high), high)
        columns = stretch(width, place[:, 1] * (1 - wide), wide)
        if self.blur:
            sigma = drawn["sigma"] * (max(height, width) / 224)
            rows, columns = smooth(height, sigma) @ rows, smooth(width, sigma) @ columns
        return rows, torch.where(drawn["flip"][:, None, None], columns.flip(1), columns)

    def _colour(self, x: Tensor, drawn: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The affine change of colour, in [0, 255] -> normalised: (B, 3, 3) and (B, 3)."""
        strength = (self.brightness, self.contrast, self.saturation, self.hue)
        light = drawn["light"] * torch.tensor(strength, device=x.device)  # (B, 4)
        bright, contrast, saturation = (1 + light[:, :3, None]).unbind(1)  # (B, 1)
        saturation = saturation.masked_fill(drawn["grey"][:, None], 0)[:, :, None]
        luma = torch.tensor(LUMA, device=x.device)
        colour = saturation * torch.eye(3, device=x.device) + (1 - saturation) * luma  # (B, 3, 3)
        matrix = (contrast * bright)[:, :, None] * (colour @ _turn(light[:, 3]))
        mean_luma = (x.mean((1, 3)) * luma).sum(1, keepdim=True)  # (B, 1)
        offset = (1 - contrast) * bright * mean_luma  # (B, 1): contrast is about the mean grey
        std = torch.tensor(STD, device=x.device)
        mean = torch.tensor(MEAN, device=x.device)
        return matrix / (255 * std[:, None]), offset / (255 * std) - mean / std


def resample(items: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, H, W, 3) uint8, (B, S, H), (B, S, W) -> (B, S, 3, S) float32 in [0, 255]."""
    batch, height, width, _ = items.shape
    x = items.permute(0, 1, 3, 2).to(torch.float32, memory_format=torch.contiguous_format)
    with torch.autocast(x.device.type, enabled=False):
        x = torch.bmm(rows, x.view(batch, height, 3 * width))  # (B, S, 3 W)
        x = torch.bmm(x.view(batch, -1, width), columns.transpose(1, 2))  # (B, S 3, S)
    return x.view(batch, rows.shape[1], 3, columns.shape[1])


def recolour(x: Tensor, matrix: Tensor, offset: Tensor, out: Tensor) -> None:
    """(B, S, 3, S), (B, 3, 3), (B, 3) -> out (B, S, S, 3), clipped to what a picture can be."""
    red, green, blue = x.unbind(2)  # (B, S, S)
    weights, offset = matrix[:, :, :, None, None], offset[:, :, None, None]
    for c in range(3):
        plane = torch.addcmul(offset[:, c], red, weights[:, c, 0])
        plane.addcmul_(green, weights[:, c, 1]).addcmul_(blue, weights[:, c, 2])
        out[..., c] = plane.clamp_(-MEAN[c] / STD[c], (1 - MEAN[c]) / STD[c])


def stretch(size: int, start: Tensor, part: Tensor) -> Tensor:
    """The (B, size, size) matrices that show [start, start + part) of a line as the whole line.

    Linear interpolation; start and part (B,) are shares of the line, part at most 1.
    """
    at = (torch.arange(size, device=start.device) + 0.5) * part[:, None]
    at = (at + start[:, None] * size - 0.5).clamp(0, size - 1)  # (B, S)
    pixels = torch.arange(size, device=start.device)
    return (1 - (at[:, :, None] - pixels).abs()).clamp_(min=0)


def smooth(size: int, sigma: Tensor) -> Tensor:
    """The (B, size, size) matrices that blur a line; sigma (B,) in pixels, 0: not at all."""
    pixels = torch.arange(size, device=sigma.device)
    bell = -(pixels.square() / (2 * sigma.clamp(min=1e-2).square())[:, None])  # (B, S)
    bell = torch.exp(bell).masked_fill_(bell < -12, 0)
    weight = bell[:, (pixels[:, None] - pixels).abs()]  # (B, S, S)
    return weight / weight.sum(2, keepdim=True)


def _turn(hue: Tensor) -> Tensor:
    """The (B, 3, 3) matrices that turn hue by (B,) of a full turn, in the colour plane of YIQ."""
    yiq = torch.tensor(YIQ, device=hue.device)
    cos, sin = torch.cos(2 * math.pi * hue), torch.sin(2 * math.pi * hue)
    one, zero = torch.ones_like(cos), torch.zeros_like(cos)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], 1).view(-1, 3, 3)
    turned: Tensor = torch.linalg.inv(yiq) @ turn @ yiq
    return turned
