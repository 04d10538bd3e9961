"""The convexity loss beside a supervised one, on shapes without labels: the paper's few-shot set-up
(Gadelha et al., ECCV 2020, arXiv:2003.13834, section 4.2): L = L_CE + lambda L_ACD.

One optimiser makes each step from the sum of both gradients, a supervised batch's and one of convex
pieces (the paper's code steps after each). With an optimiser for each, Adam divides lambda out.

Shapes: N items that pretraining may see, B batch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modalities.base import Batch, Items, Objective, Randomness
from modalities.common.learners.auxiliary import Auxiliary
from modalities.common.measuring.finetune import batches
from modalities.common.measuring.problem import seed_of


@dataclass(frozen=True)
class Joint:
    """What there is to learn from, and how much that counts."""

    items: Items  # (N, P, 7)
    free: Any  # (N, P) pieces
    weight: float  # lambda
    batch: int
    make: Callable[[Any], Objective]  # the objective around an encoder

    def beside(self, supervised: Objective, size: int) -> Auxiliary:
        """The learner of labels, of which a step sees `size` shapes, and of pieces."""
        sizes = {"labelled": size, "unlabelled": min(self.batch, len(self.items))}
        return Auxiliary(supervised, self.make(supervised.encoder), (1.0, self.weight), sizes)

    def views(self, learner: Auxiliary, device: str, seed: int) -> Iterator[Batch]:
        """Of one batch of pieces after the other, without end."""
        size = learner.streams["unlabelled"]
        generator = torch.Generator().manual_seed(seed_of(seed, "joint views"))
        rng = Randomness(generator, total=size, device=device)
        for some in batches(len(self.items), size, 1 << 40, seed_of(seed, "joint")):
            at = np.sort(some)
            found = self.items.batch(at) | {"free_label": np.asarray(self.free[at])}
            batch = {name: torch.from_numpy(each).to(device) for name, each in found.items()}
            yield learner.views(batch, rng)
