"""SimCLR. Chen, Kornblith, Norouzi, Hinton 2020, arXiv:2002.05709.

Shapes: B pictures, P width of the projection.
"""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.common.network.heads import mlp
from modalities.common.pretraining.contrast import nt_xent, unit
from modalities.image.network.augmentation import planes
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class SimCLR(Objective):
    """Two views of a picture must find each other among all other views of the batch (NT-Xent).

    The representation that is kept is the one before the projection head. `crop`, `colour`,
    `blur` and `grey` say how much two views differ; at 32 pixels the paper does not blur.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        temperature: Annotated[float, Gt(0)] = 0.5,
        projection: Annotated[int, Gt(0)] = 128,
        crop: Annotated[float, Gt(0), Le(1)] = 0.08,
        colour: Annotated[float, Ge(0), Le(2.5)] = 2.0,
        blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder, self.temperature = encoder, temperature
        self.head = mlp(encoder.dim, encoder.dim, projection, norm=True)
        self.augmentation = contrastive(crop=crop, colour=colour, blur=blur, grey=grey)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        items = planes(batch["items"])
        first = self.augmentation(items, rng)  # (B, 3, H, W)
        return {"first": first, "second": self.augmentation(items, rng)}

    def forward(self, batch: Batch) -> Step:
        both = torch.cat([batch["first"], batch["second"]])  # one batch for the batch norms
        first, second = self.head(self.encoder(both)).chunk(2)  # (B, P) each
        return Step(nt_xent(first, second, self.temperature))

    @torch.no_grad()
    def alike(self, batch: Batch, rng: Randomness) -> tuple[Tensor, Tensor, Tensor]:
        """Two views, and the cosine of each first one's projection to each second one's."""
        first, second = self.views(batch, rng).values()
        one, two = (unit(self.head(self.encoder(view))) for view in (first, second))
        return first, second, one @ two.T

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        sheets.pairs(folder, *self.alike(batch, rng), others="hardest negatives")
