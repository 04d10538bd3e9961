"""The three sources of negatives of InfoNCE: the batch, a memory bank, a queue (arXiv:1911.05722).

Each makes the views that it needs, gives the loss, and moves after the step. `leader` is encoder
and head, which make the queries.

Shapes: n pictures of this process, B of all processes, P width of the projection, N items of the
data, K length of the queue.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from modalities.base import Batch, Randomness
from modalities.common.pretraining.contrast import find, info_nce, unit
from modalities.common.steps import distributed
from modalities.common.training import ema
from modalities.common.training.norm import split

Augment: TypeAlias = Callable[[Tensor, Randomness], Tensor]  # raw items -> encoder input


class Negatives(nn.Module):
    """Where keys and negatives come from."""

    def begin(self, items: int) -> None:
        """As `Objective.begin`."""

    def views(self, batch: Batch, rng: Randomness, augment: Augment) -> Batch:
        """Two views of each item."""
        query = augment(batch["items"], rng)
        return {"query": query, "key": augment(batch["items"], rng)}

    def forward(self, leader: nn.Module, views: Batch, temperature: float) -> Tensor:
        raise NotImplementedError

    def keymaker(self, leader: nn.Module) -> nn.Module:
        """The network that makes keys: the leader, but for those who keep one of their own."""
        return leader

    def after_step(self) -> None:
        """As `Objective.after_step`."""


class EndToEnd(Negatives):
    """The keys of the other items of the batch, of all processes, with gradients."""

    def forward(self, leader: nn.Module, views: Batch, temperature: float) -> Tensor:
        both = torch.cat([views["query"], views["key"]])  # one batch for the batch norms
        query, key = leader(both).chunk(2)  # (n, P) each
        keys = distributed.gather(unit(key))  # (B, P)
        own = torch.arange(len(query), device=query.device) + distributed.rank() * len(query)
        return find(query, keys, own, temperature)


class MemoryBank(Negatives):
    """A feature per item of the data (Wu et al. 2018, arXiv:1805.01978).

    A view finds its item's feature among those of all items, which were left there when each item
    was last seen. After the step the features of the batch move towards what was seen now.
    """

    def __init__(self, width: int, *, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("features", torch.empty(0, width))
        self.features: Tensor  # (N, P), unit vectors; N is known when training begins
        self._fresh: tuple[Tensor, Tensor] | None = None

    def begin(self, items: int) -> None:
        self.features = unit(torch.randn(items, self.features.shape[1]))

    def views(self, batch: Batch, rng: Randomness, augment: Augment) -> Batch:
        """One view: the key is in the bank."""
        return {"query": augment(batch["items"], rng), "index": batch["index"]}

    def forward(self, leader: nn.Module, views: Batch, temperature: float) -> Tensor:
        query = unit(leader(views["query"]))  # (n, P)
        self._fresh = distributed.gather(views["index"]), distributed.gather(query.detach())
        return find(query, self.features, views["index"], temperature)

    @torch.no_grad()
    def after_step(self) -> None:
        """features <- momentum features + (1 - momentum) seen, made unit vectors again."""
        assert self._fresh is not None, "after_step follows forward"
        index, seen = self._fresh
        self.features[index] = unit(torch.lerp(seen, self.features[index], self.momentum))
        self._fresh = None


class Queue(Negatives):
    """The keys of the last batches, by a network that slowly follows the leader: MoCo.

    Each step: the follower moves, then sees the keys; logits are taken against the queue as it was;
    only then do the new keys replace the oldest. Batch statistics could tell a key from the
    negatives, so the key batch is shuffled and normalised in `splits` parts. A queue should hold
    a small share of the data only, else it is full of other views of the query's own picture.
    """

    def __init__(
        self, leader: nn.Module, width: int, *, length: int, momentum: float, splits: int
    ) -> None:
        super().__init__()
        self.momentum = momentum
        self.follower = split(ema.follower(leader), splits)
        self.register_buffer("keys", unit(torch.randn(length, width)))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self.keys: Tensor  # (K, P), unit vectors
        self.place: Tensor  # of the oldest key
        self._fresh: Tensor | None = None

    def views(self, batch: Batch, rng: Randomness, augment: Augment) -> Batch:
        return super().views(batch, rng, augment) | {"shuffle": rng.uniform().argsort()}

    def forward(self, leader: nn.Module, views: Batch, temperature: float) -> Tensor:
        query = leader(views["query"])  # (n, P)
        key = self._key(leader, views["key"], views["shuffle"])
        return info_nce(query, key, self.keys, temperature)

    def keymaker(self, leader: nn.Module) -> nn.Module:  # noqa: ARG002
        return self.follower

    @torch.no_grad()
    def _key(self, leader: nn.Module, image: Tensor, shuffle: Tensor) -> Tensor:
        if self.training:
            ema.update(self.follower, leader, self.momentum)
        key = unit(self.follower(image[shuffle]))[shuffle.argsort()]  # (n, P)
        self._fresh = distributed.gather(key)
        return key

    @torch.no_grad()
    def after_step(self) -> None:
        """Enqueue the keys of all processes in place of the oldest."""
        assert self._fresh is not None, "after_step follows forward"
        size = len(self.keys)
        fresh = self._fresh[-size:]
        at = (self.place + torch.arange(len(fresh), device=self.keys.device)) % size
        self.keys[at] = fresh
        self.place.copy_((self.place + len(fresh)) % size)
        self._fresh = None
