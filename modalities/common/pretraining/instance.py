"""Telling instances apart: InfoNCE (arXiv:1807.03748) with negatives from anywhere.

What is written once for every modality: an objective is a head, an augmentation and a source of
negatives.
"""

from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Progress, Randomness, Step
from modalities.common.pretraining.contrast import unit
from modalities.common.pretraining.negatives import Augment, Negatives


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
