"""MoCo v2. Chen, Fan, Girshick, He 2020, arXiv:2003.04297; MoCo: He et al. 2019, arXiv:1911.05722.

Shapes: B pictures, P width of the projection, K length of the queue.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Progress, Randomness, Step
from modalities.common import ema
from modalities.common.contrast import info_nce, unit
from modalities.common.distributed import gather
from modalities.common.heads import mlp
from modalities.common.norm import split
from modalities.image.views import contrastive


class MoCoV2(Objective):
    """A view must find its twin, seen by a slowly following network, among a queue of older keys.

    Each step: the follower moves, then sees the keys; logits are taken against the queue as it was;
    only then do the new keys replace the oldest. Batch statistics could tell a key from the
    negatives, so the key batch is shuffled and normalised in `splits` parts. A queue should hold
    a small share of the data only, else it is full of other views of the query's own picture.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        queue: Annotated[int, Gt(0)] = 65536,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.999,
        temperature: Annotated[float, Gt(0)] = 0.2,
        projection: Annotated[int, Gt(0)] = 128,
        splits: Annotated[int, Gt(0)] = 8,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder, self.momentum, self.temperature = encoder, momentum, temperature
        self.head = mlp(encoder.dim, encoder.dim, projection)
        self.follower = split(ema.follower(nn.Sequential(encoder, self.head)), splits)
        self.augmentation = contrastive(crop=crop, colour=colour, blur=blur, grey=grey)
        self.register_buffer("queue", unit(torch.randn(queue, projection)))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self.queue: Tensor  # (K, P), unit vectors
        self.place: Tensor  # of the oldest key
        self._fresh: Tensor | None = None

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        query = self.augmentation(batch["items"], rng)  # (B, 3, H, W)
        key = self.augmentation(batch["items"], rng)
        return {"query": query, "key": key, "shuffle": rng.uniform().argsort()}

    def forward(self, batch: Batch) -> Step:
        query = self.head(self.encoder(batch["query"]))  # (B, P)
        key = self._key(batch["key"], batch["shuffle"])
        return Step(info_nce(query, key, self.queue, self.temperature))

    @torch.no_grad()
    def _key(self, image: Tensor, shuffle: Tensor) -> Tensor:
        if self.training:
            ema.update(self.follower, nn.Sequential(self.encoder, self.head), self.momentum)
        key = unit(self.follower(image[shuffle]))[shuffle.argsort()]  # (B, P)
        self._fresh = gather(key)
        return key

    @torch.no_grad()
    def after_step(self, progress: Progress) -> None:  # noqa: ARG002
        """Enqueue the keys of all processes in place of the oldest."""
        assert self._fresh is not None, "after_step follows forward"
        size = len(self.queue)
        fresh = self._fresh[-size:]
        at = (self.place + torch.arange(len(fresh), device=self.queue.device)) % size
        self.queue[at] = fresh
        self.place.copy_((self.place + len(fresh)) % size)
        self._fresh = None
