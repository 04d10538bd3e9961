"""Which way is up? Gidaris, Singh, Komodakis 2018, arXiv:1803.07728.

Shapes: B pictures, H = W side, D width.
"""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class Rotation(Objective):
    """Turn each picture by 0, 90, 180 and 270 degrees, all four in the batch; say which is which.

    Turns are exact (transposed and mirrored, no resampling), so that no trace of interpolation
    gives them away. `crop`: least share of the area that is kept before turning; `colour`:
    strength of the change of colour; `grey`: probability of having none.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        crop: Annotated[float, Gt(0), Le(1)] = 0.5,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        grey: Annotated[float, Ge(0), Le(1)] = 0.3,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, 4)
        self.augmentation = contrastive(crop=crop, colour=colour, blur=0.0, grey=grey)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        upright = self.augmentation(batch["items"], rng)  # (B, 3, H, H)
        turned = torch.cat([turn(upright, quarters) for quarters in range(4)])  # (4 B, 3, H, H)
        quarters = torch.arange(4, device=upright.device).repeat_interleave(len(upright))
        return {"image": turned, "quarters": quarters}

    def forward(self, batch: Batch) -> Step:
        scores = self.scores(batch["image"])
        right = (scores.argmax(1) == batch["quarters"]).float().mean()
        return Step(F.cross_entropy(scores, batch["quarters"]), {"accuracy": right})

    def scores(self, image: Tensor) -> Tensor:
        """(4 B, 3, H, H) -> (4 B, 4)."""
        found: Tensor = self.head(self.encoder(image)).float()
        return found

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        image = self.views(batch, rng)["image"]
        sheets.rotations(folder, image, self.scores(image).softmax(1))


def turn(x: Tensor, quarters: int) -> Tensor:
    """(B, C, H, H) turned counter-clockwise by quarters of a full turn."""
    if x.shape[2] != x.shape[3]:
        raise ValueError(f"rotation needs square pictures, found {tuple(x.shape[2:])}")
    return torch.rot90(x, quarters, (2, 3))
