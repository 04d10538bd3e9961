"""The convexity loss beside a supervised one, on shapes without labels: the paper's few-shot set-up
(Gadelha et al., ECCV 2020, arXiv:2003.13834, section 4.2): L = L_CE + lambda L_ACD.

One optimiser makes each step from the sum of both gradients, a supervised batch's and one of convex
pieces (the paper's code steps after each). With an optimiser for each, Adam divides lambda out.

Shapes: N items that pretraining may see, B batch.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from modalities.base import Items, Objective, Randomness
from modalities.common.measuring.finetune import batches
from modalities.common.measuring.problem import seed_of
from modalities.shape.network.encoder import ShapeEncoder


@dataclass(frozen=True)
class Joint:
    """What there is to learn from, and how much that counts."""

    items: Items  # (N, P, 7)
    free: Any  # (N, P) pieces
    weight: float  # lambda
    batch: int
    make: Callable[[ShapeEncoder], Objective]  # the objective around an encoder

    def start(self, encoder: ShapeEncoder, seed: int) -> "Beside":
        return Beside(self, encoder, seed)


class Beside:
    """The loss on pieces in one training."""

    def __init__(self, joint: Joint, encoder: ShapeEncoder, seed: int) -> None:
        self.device = next(encoder.parameters()).device
        self.joint, self.objective = joint, joint.make(encoder).to(self.device)
        size = min(joint.batch, len(joint.items))
        self.order: Iterator[np.ndarray] = batches(
            len(joint.items), size, 1 << 40, seed_of(seed, "joint")
        )
        generator = torch.Generator().manual_seed(seed_of(seed, "joint views"))
        self.rng = Randomness(generator, total=size, device=self.device)
        shared = {id(each) for each in encoder.parameters()}
        self.own = [each for each in self.objective.parameters() if id(each) not in shared]

    def backward(self, autocast: Callable[[], AbstractContextManager[Any]]) -> None:
        """Add the gradient of lambda times the loss on the next batch."""
        at = np.sort(next(self.order))
        found = self.joint.items.batch(at) | {"free_label": np.asarray(self.joint.free[at])}
        batch = {k: torch.from_numpy(v).to(self.device) for k, v in found.items()}
        self.objective.train()
        with torch.no_grad():
            views = self.objective.views(batch, self.rng)
        with autocast():
            found = self.objective(views)
        (self.joint.weight * found.loss).backward()
