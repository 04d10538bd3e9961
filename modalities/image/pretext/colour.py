"""Colour as lightness and two opponent axes: CIE Lab of sRGB pictures; bins of its ab plane.

The bins are those of Zhang, Isola, Efros 2016 (arXiv:1603.08511). RGB is in [0, 1], L in [0, 100];
white is that of D65. Shapes: B pictures, H W height and width, Q = 313 bins, K nearest ones.
"""

from functools import cache

import torch
from torch import Tensor, nn

from modalities.common.network.tensors import constant
from modalities.image.network.augmentation import MEAN, STD

STEP, REACH, BINS = 10, 11, 313  # of the grid in ab; points of it each way; those in gamut
SIDE = 2 * REACH + 1
LINEAR = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)  # sRGB, made linear, to XYZ
KNEE = 6 / 29  # below its cube Lab's cube root is a line


def to_lab(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) RGB -> (B, 3, H, W) Lab."""
    bent = rgb.clamp(min=0.04045).add_(0.055).div_(1.055).pow_(2.4)
    linear = torch.where(rgb > 0.04045, bent, rgb / 12.92)
    matrix = constant(LINEAR, rgb.device, rgb.dtype)
    xyz = _mix(matrix / matrix.sum(1, keepdim=True), linear)  # white is (1, 1, 1)
    root = xyz.clamp(min=KNEE**3).pow_(1 / 3)
    x, y, z = torch.where(xyz > KNEE**3, root, xyz / (3 * KNEE**2) + 4 / 29).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def to_rgb(lab: Tensor) -> Tensor:
    """(B, 3, H, W) Lab -> (B, 3, H, W) RGB; what no sRGB picture can show is clipped."""
    light, a, b = lab.unbind(1)
    y = (light + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = torch.where(root > KNEE, root**3, 3 * KNEE**2 * (root - 4 / 29))
    matrix = constant(LINEAR, lab.device, lab.dtype)
    linear = _mix(torch.linalg.inv(matrix / matrix.sum(1, keepdim=True)), xyz)
    bent = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, bent, 12.92 * linear).clamp(0, 1)


def lab_of(image: Tensor) -> Tensor:
    """(B, 3, H, W) as an encoder takes it, normalised -> (B, 3, H, W) Lab."""
    kind = image.device, image.dtype
    std, mean = (constant(each, *kind)[:, None, None] for each in (STD, MEAN))
    image = image.contiguous()  # a number for each plane is faster than three for each pixel
    return to_lab((image * std).add_(mean).clamp_(0, 1))


def without_colour(lab: Tensor) -> Tensor:
    """(B, 3, H, W) Lab -> (B, 3, H, W) normalised: its lightness, as a picture that is grey."""
    kind = lab.device, lab.dtype
    std, mean = (constant(each, *kind)[:, None, None] for each in (STD, MEAN))
    return ((lab[:, :1] / 100 - mean) / std).contiguous(memory_format=torch.channels_last)


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """A (3, 3) matrix times every pixel of (B, 3, H, W), in full precision."""
    with torch.autocast(x.device.type, enabled=False):
        return torch.matmul(matrix, x.flatten(2)).view_as(x)


@cache
def bins() -> Tensor:
    """(Q, 2): the points of a grid of step 10 in the ab plane, -110 to 110, that count as in gamut.

    Those within the diagonal of a grid's cell (10 sqrt 2) of a colour that sRGB can show: Q = 313,
    as in the paper, whose authors publish the points, not the rule; 310 of the points are theirs.
    The surface of the RGB cube is enough to look at: every line of equal ab leaves the cube there.
    """
    level = torch.linspace(0, 1, 33, dtype=torch.float64)
    face = torch.cartesian_prod(level, level)  # (33 x 33, 2)
    faces = [
        torch.cat([face[:, :axis], torch.full_like(face[:, :1], end), face[:, axis:]], 1)
        for axis in range(3)
        for end in (0.0, 1.0)
    ]
    shown = to_lab(torch.cat(faces).T[None, :, :, None])[0, 1:, :, 0].T  # (6 x 33 x 33, 2)
    line = torch.arange(-REACH, REACH + 1, dtype=torch.float64) * STEP
    grid = torch.cartesian_prod(line, line)
    found = grid[torch.cdist(grid, shown).amin(1) <= STEP * 2**0.5]
    assert len(found) == BINS, f"{len(found)} bins of ab, not {BINS}"
    return found.float()


class Palette(nn.Module):
    """The bins on a device; what a colour is in terms of them, and back."""

    def __init__(self, nearest: int = 10, sigma: float = 5.0) -> None:
        """A colour is shared among its `nearest` bins (K), by a Gaussian of deviation `sigma`."""
        super().__init__()
        self.nearest, self.sigma = nearest, sigma
        self.register_buffer("points", bins().clone(), persistent=False)
        candidates = _candidates(nearest)
        self.register_buffer("candidates", candidates, persistent=False)
        near = bins()[candidates].permute(2, 0, 1).contiguous()
        self.register_buffer("near", near, persistent=False)
        self.points: Tensor  # (Q, 2)
        self.candidates: Tensor  # (G, M)
        self.near: Tensor  # (2, G, M), their ab

    def encode(self, ab: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 2, H, W) -> the nearest bins (B, K, H, W), nearest first, and their shares.

        Shares follow the Gaussian of a bin's distance and sum to 1.
        """
        a, b = ab.unbind(1)  # (B, H, W) each
        row, column = ((x / STEP).round().long().clamp_(-REACH, REACH).add_(REACH) for x in (a, b))
        cell = row * SIDE + column
        away = (self.near[axis][cell] - x[..., None] for axis, x in enumerate((a, b)))
        first, second = (each.square_() for each in away)
        far = first.add_(second)  # (B, H, W, M)
        square, which = far.topk(self.nearest, dim=3, largest=False)
        share = torch.softmax(square / (-2 * self.sigma**2), 3)
        found = self.candidates[cell[..., None], which]
        return found.permute(0, 3, 1, 2), share.permute(0, 3, 1, 2)

    def annealed_mean(self, scores: Tensor, temperature: float = 0.38) -> Tensor:
        """(B, Q, H, W) scores (logits) of the bins -> one colour each, (B, 2, H, W).

        The mean of the distribution made sharper: of p^(1/T), normalised. T = 1 is the mean, which
        is dull; T -> 0 the mode, which is patchy.
        """
        with torch.autocast(scores.device.type, enabled=False):
            sharp = torch.softmax(scores.float() / temperature, 1)
            return torch.einsum("bqhw,qc->bchw", sharp, self.points)


@cache
def _candidates(nearest: int) -> Tensor:
    """(G, M): where to look for the `nearest` bins of what rounds to each point of the grid.

    A colour is at most half a diagonal from its point, so its bins are at most a diagonal further
    from the point than the point's own `nearest`. M is what the bins need, of which the point is
    one, whatever colour sRGB can show.
    """
    line = torch.arange(-REACH, REACH + 1, dtype=torch.float32) * STEP
    grid, points = torch.cartesian_prod(line, line), bins()
    limit = torch.cdist(points, points).kthvalue(nearest, 1, keepdim=True)[0] + STEP * 2**0.5
    most = int((torch.cdist(points, points) <= limit + 1e-3).sum(1).max())
    return torch.cdist(grid, points).topk(most, largest=False)[1]
