"""Which colours has this grey picture? Zhang, Isola, Efros 2016, arXiv:1603.08511.

Shapes: B pictures, H W height and width, h w coarser ones, Q = 313 bins of colour, K = 10 nearest.
"""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from modalities.base import Batch, Objective, Progress, Randomness, Step
from modalities.common.steps import distributed
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets
from modalities.image.pretext.colour import BINS, Palette, lab_of, without_colour
from modalities.image.pretext.dense import Dense, fine


class Colorization(Objective):
    """See the lightness (L of Lab); say at each place how likely each bin of colour (ab) is.

    A place is `cell` x `cell` pixels, whose colours are averaged and shared among the nearest bins.
    Rare ones weigh more: w = ((1 - uniform) p + uniform / Q)^-1 of the nearest bin, scaled such
    that E_p[w] = 1. p, how often each bin occurs, is uniform in the first step, moves after each:
    the mean of all batches, from 1 / (1 - `momentum`) of them on one that forgets at that rate.
    `crop`: least share of the area that is kept.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        cell: Annotated[int, Gt(0)] = 4,
        uniform: Annotated[float, Gt(0), Le(1)] = 0.5,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.99,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder: ImageEncoder = encoder
        self.cell, self.uniform, self.momentum = cell, uniform, momentum
        self.head, self.palette = Dense(encoder, BINS, cell=cell), Palette()
        self.register_buffer("often", torch.full((BINS,), 1 / BINS))
        self.register_buffer("seen", torch.zeros(()))
        self.often: Tensor  # (Q,), p
        self.seen: Tensor  # batches in p
        self._fresh: Tensor | None = None
        self.augmentation = contrastive(crop=crop, colour=0.0, blur=0.0, grey=0.0)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        lab = self.lab(batch, rng)
        size = fine((lab.shape[2], lab.shape[3]), self.cell)
        ab = nn.functional.adaptive_avg_pool2d(lab[:, 1:], size)
        nearest, share = self.palette.encode(ab)  # (B, K, h, w)
        return {"image": without_colour(lab), "nearest": nearest, "share": share}

    def lab(self, batch: Batch, rng: Randomness) -> Tensor:
        """(B, 3, H, W) pictures in Lab."""
        return lab_of(self.augmentation(batch["items"], rng))

    def forward(self, batch: Batch) -> Step:
        nearest, share = batch["nearest"], batch["share"]
        scores = self.scores(batch["image"])  # (B, Q, h, w)
        log = torch.log_softmax(scores, 1).gather(1, nearest)
        weight = rebalance(self.often, self.uniform)[nearest[:, 0]]  # (B, h, w)
        loss = -(weight * (share * log).sum(1)).mean()
        count = torch.zeros_like(self.often).index_add_(0, nearest.flatten(), share.flatten())
        self._fresh = count / count.sum()
        right = (scores.detach().argmax(1) == nearest[:, 0]).float().mean()
        return Step(loss, {"accuracy": right})

    def scores(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) grey -> (B, Q, h, w)."""
        found: Tensor = self.head(self.encoder.maps(image)[-1], (image.shape[2], image.shape[3]))
        return found

    @torch.no_grad()
    def colours(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) grey -> (B, 2, h, w): the ab that are painted."""
        return self.palette.annealed_mean(self.scores(image))

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        lab = self.lab(batch, rng)
        sheets.colours(folder, lab, self.colours(without_colour(lab)))

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:  # noqa: ARG002
        assert self._fresh is not None, "after_step follows forward"
        fresh = distributed.total(self._fresh) / distributed.world()
        self.seen += 1
        self.often.lerp_(fresh, (1 / self.seen).clamp(min=1 - self.momentum))
        self._fresh = None


def rebalance(often: Tensor, uniform: float) -> Tensor:
    """(Q,) p -> (Q,) w = ((1 - uniform) p + uniform / Q)^-1, scaled such that E_p[w] = 1."""
    weight = 1 / ((1 - uniform) * often + uniform / len(often))
    return weight / (often * weight).sum()
