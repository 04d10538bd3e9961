"""What was in the hole? Context encoders. Pathak et al. 2016, arXiv:1604.07379.

Shapes: B pictures, H W height and width, n blocks.
"""

import math
from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from modalities.base import Batch, Objective, Randomness, Step
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets
from modalities.image.pretext.dense import Dense


class Inpainting(Objective):
    """Paint the hole in a picture from what is around it.

    `hole`: one block in the centre, or `blocks` of them anywhere, which may overlap. Either way at
    most `size` x `size` of the picture is missing, which the mean colour fills. The squared error
    counts in the hole alone and, `border_weight`-fold, in the `border` pixels around it, where what
    is painted overlaps what is seen. The paper has 7 pixels of 227, like 2 of 64, and weight 10.
    Its adversarial loss is left out, as in its own comparison of features: paintings are duller.
    `crop`: least share of the area that is kept before.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: ImageEncoder,
        *,
        hole: Literal["centre", "random"] = "centre",
        size: Annotated[float, Gt(0), Lt(1)] = 0.5,
        blocks: Annotated[int, Gt(0)] = 5,
        border: Annotated[int, Ge(0)] = 2,
        border_weight: Annotated[float, Ge(0)] = 7.0,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder: ImageEncoder = encoder
        self.hole, self.size, self.blocks = hole, size, blocks
        self.border, self.border_weight = border, border_weight
        self.decoder = Dense(encoder, 3)
        self.augmentation = contrastive(crop=crop, colour=0.0, blur=0.0, grey=0.0)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        image = self.augmentation(batch["items"], rng)  # (B, 3, H, W)
        height, width = image.shape[2:]
        if self.hole == "centre":
            part, place = self.size, torch.full((len(image), 1, 2), 0.5, device=image.device)
        else:
            part, place = self.size / math.sqrt(self.blocks), rng.uniform(self.blocks, 2)
        rows, columns = span(height, part, place[..., 0]), span(width, part, place[..., 1])
        hole = (rows[:, :, :, None] & columns[:, :, None, :]).any(1, keepdim=True)
        return {"image": image, "hole": hole}  # (B, 1, H, W) booleans

    def forward(self, batch: Batch) -> Step:
        image, hole = batch["image"], batch["hole"]
        error = (self.paint(image, hole) - image).square().mean(1, keepdim=True)  # (B, 1, H, W)
        weight = weights(hole, self.border, self.border_weight)
        inside = mean(error.detach(), hole.float())
        return Step(mean(error, weight), {"hole": inside})

    def paint(self, image: Tensor, hole: Tensor) -> Tensor:
        """(B, 3, H, W) of which the hole is not seen -> the whole picture."""
        seen = image.masked_fill(hole, 0.0)  # the mean, in a normalised picture
        found: Tensor = self.decoder(self.encoder.maps(seen)[-1], (seen.shape[2], seen.shape[3]))
        return found

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        image, hole = self.views(batch, rng).values()
        sheets.holes(folder, image, hole, self.paint(image, hole))


def span(size: int, part: float, place: Tensor) -> Tensor:
    """(B, n) in [0, 1] -> (B, n, size): which pixels of a line a block covers, a `part` of them.

    0 is the first place where it fits, 1 the last one.
    """
    long = max(1, round(part * size))
    start = (place * (size - long + 1)).floor().clamp(max=size - long)[:, :, None]
    pixels = torch.arange(size, device=place.device)
    return (pixels >= start) & (pixels < start + long)


def weights(hole: Tensor, border: int, heavy: float) -> Tensor:
    """(B, 1, H, W) booleans -> floats: 1 in the hole, `heavy` in the border around it, else 0."""
    inside = hole.float()
    wide = F.max_pool2d(inside, 2 * border + 1, stride=1, padding=border)
    return inside + heavy * (wide - inside)


def mean(error: Tensor, weight: Tensor) -> Tensor:
    """(B, 1, H, W) errors -> their weighted mean, every picture counting as much."""
    return torch.mean((error * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)))
