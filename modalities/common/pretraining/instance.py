"""Telling instances apart: InfoNCE (arXiv:1807.03748) with negatives from anywhere.

What is written once for every modality: an objective is a head, an augmentation and a source of
negatives.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Progress, Randomness, Step
from modalities.common.network.heads import mlp
from modalities.common.pretraining.contrast import unit
from modalities.common.pretraining.negatives import (
    Augment,
    EndToEnd,
    MemoryBank,
    Negatives,
    Queue,
)


class InstanceObjective(Objective):
    """A view of an item must find its key among negatives; the head is thrown away after."""

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        negatives: Negatives,
        augmentation: Augment,
        *,
        temperature: float,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.negatives = encoder, head, negatives
        self.augmentation, self.temperature = augmentation, temperature

    def begin(self, items: int) -> None:
        self.negatives.begin(items)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        return self.negatives.views(batch, rng, self.augmentation)

    def forward(self, batch: Batch) -> Step:
        leader = nn.Sequential(self.encoder, self.head)
        return Step(self.negatives(leader, batch, self.temperature))

    def after_step(self, progress: Progress) -> None:  # noqa: ARG002
        self.negatives.after_step()

    def alike(self, batch: Batch, rng: Randomness) -> tuple[Tensor, Tensor, Tensor]:
        """Two views of each item, and (B, B): the cosine of first ones' queries to second's keys.

        For people to look at: keys are made as in training, but from the batch alone.
        """
        first, second = (self.augmentation(batch["items"], rng) for _ in range(2))
        leader = nn.Sequential(self.encoder, self.head)
        keys = self.negatives.keymaker(leader)(second)
        return first, second, unit(leader(first)) @ unit(keys).T


class ContrastiveObjective(InstanceObjective):
    """Where the negatives come from is an option.

    `negatives: batch`: the other B - 1 items; `memory_bank`: what the N - 1 others were when last
    seen, `bank_momentum` moves it; `queue`: K older keys by a following network (`queue`,
    `momentum`, `splits`: MoCo, arXiv:1911.05722).
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        augmentation: Augment,
        *,
        negatives: Literal["batch", "memory_bank", "queue"] = "batch",
        temperature: Annotated[float, Gt(0)] = 0.1,
        projection: Annotated[int, Gt(0)] = 128,
        bank_momentum: Annotated[float, Ge(0), Lt(1)] = 0.5,
        queue: Annotated[int, Gt(0)] = 65536,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.999,
        splits: Annotated[int, Gt(0)] = 8,
    ) -> None:
        head = mlp(encoder.dim, encoder.dim, projection)
        source: Negatives = EndToEnd()
        if negatives == "memory_bank":
            source = MemoryBank(projection, momentum=bank_momentum)
        elif negatives == "queue":
            leader = nn.Sequential(encoder, head)
            source = Queue(leader, projection, length=queue, momentum=momentum, splits=splits)
        super().__init__(encoder, head, source, augmentation, temperature=temperature)
