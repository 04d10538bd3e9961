"""The convexity loss beside a supervised one, on shapes without labels: the paper's few-shot set-up
(arXiv:2003.13834, section 4.2): a supervised step, then one on convex pieces, in turn.

Shapes: N items that pretraining may see, B batch.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from modalities.base import Objective, Randomness
from modalities.common.finetune import batches
from modalities.common.optim import AdamW
from modalities.common.problem import seed_of
from modalities.shape.encoder import ShapeEncoder


@dataclass(frozen=True)
class Joint:
    """What there is to learn from, and how much that counts."""

    items: Any  # (N, P, 7)
    free: Any  # (N, P) pieces
    weight: float  # lambda
    batch: int
    make: Callable[[ShapeEncoder], Objective]  # the objective around an encoder

    def start(self, encoder: ShapeEncoder, rate: float, seed: int) -> "Running":
        return Running(self, encoder, rate, seed)


class Running:
    """A joint training under way; the objective's own parameters and moments are in here."""

    def __init__(self, joint: Joint, encoder: ShapeEncoder, rate: float, seed: int) -> None:
        device = next(encoder.parameters()).device
        self.joint, self.objective = joint, joint.make(encoder).to(device)
        self.optimizer = AdamW(self.objective.parameters(), rate, 1e-4)
        size = min(joint.batch, len(joint.items))
        self.order: Iterator[np.ndarray] = batches(
            len(joint.items), size, 1 << 40, seed_of(seed, "joint")
        )
        generator = torch.Generator().manual_seed(seed_of(seed, "joint views"))
        self.rng = Randomness(generator, total=size, device=device)
        self.device = device

    def step(
        self, step: int, rate: float, autocast: Callable[[], AbstractContextManager[Any]]
    ) -> float:
        """One step on convex pieces; the loss."""
        del step
        at = np.sort(next(self.order))
        batch = {
            "items": torch.from_numpy(np.asarray(self.joint.items[at])).to(self.device),
            "free_label": torch.from_numpy(np.asarray(self.joint.free[at])).to(self.device),
        }
        self.objective.train()
        with torch.no_grad():
            views = self.objective.views(batch, self.rng)
        with autocast():
            found = self.objective(views)
        self.optimizer.zero_grad()
        (self.joint.weight * found.loss).backward()
        nn.utils.clip_grad_norm_(self.optimizer.params, 1.0)
        self.optimizer.lr = rate
        self.optimizer.step()
        return float(found.loss.detach())
