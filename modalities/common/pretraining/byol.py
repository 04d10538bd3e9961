"""BYOL, for every modality. Grill et al. 2020, arXiv:2006.07733.

Shapes: B items, P width of the projection.
"""

import math
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Progress, Randomness, Step
from modalities.common.network.heads import mlp
from modalities.common.pretraining.contrast import unit
from modalities.common.pretraining.negatives import Augment
from modalities.common.training import ema


def regression(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean square of the difference of unit vectors, 2 - 2 cos, of (B, P) and (B, P): eq. 2."""
    return (unit(prediction) - unit(target)).square().sum(1).mean()


def momentum_at(step: int, steps: int, base: float) -> float:
    """tau: half a cosine from `base` at step 0 to 1 at `steps`, section 3.3."""
    return 1 - (1 - base) * (math.cos(math.pi * step / max(1, steps)) + 1) / 2


class SiameseObjective(Objective):
    """From one view, predict how a slowly following network projects the other; no negatives.

    Online: encoder, projector, predictor. Target: encoder and projector, averages of the online
    ones; no gradient reaches it. Each view is predicted from the other, each network sees a view
    at a time, and the target's batch norms see their own batches. The target moves after the step.
    """

    def __init__(
        self,
        encoder: Encoder,
        augmentation: Augment,
        *,
        projection: Annotated[int, Gt(0)] = 256,
        hidden: Annotated[int, Gt(0)] = 4096,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.99,
    ) -> None:
        super().__init__()
        self.encoder, self.augmentation, self.momentum = encoder, augmentation, momentum
        self.projector = mlp(encoder.dim, hidden, projection, norm=True)
        self.predictor = mlp(projection, hidden, projection, norm=True)
        self.target = ema.follower(self._leader())

    def _leader(self) -> nn.Sequential:
        return nn.Sequential(self.encoder, self.projector)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        first = self.augmentation(batch["items"], rng)
        return {"first": first, "second": self.augmentation(batch["items"], rng)}

    def forward(self, batch: Batch) -> Step:
        first, second = batch["first"], batch["second"]
        with torch.no_grad():
            of_first, of_second = self.target(first), self.target(second)  # (B, P)
        online = nn.Sequential(self.encoder, self.projector, self.predictor)
        return Step(regression(online(first), of_second) + regression(online(second), of_first))

    def after_step(self, progress: Progress) -> None:
        """target <- tau target + (1 - tau) online; tau of the step that was just made."""
        tau = momentum_at(progress.step - 1, progress.steps, self.momentum)
        ema.update(self.target, self._leader(), tau)

    def alike(self, batch: Batch, rng: Randomness) -> tuple[Tensor, Tensor, Tensor]:
        """Two views of each item, and (B, B): the cosine of what is predicted from first ones to
        what the target makes of second ones. For people to look at.
        """
        first, second = self.views(batch, rng).values()
        predicted = self.predictor(self._leader()(first))
        return first, second, unit(predicted) @ unit(self.target(second)).T
