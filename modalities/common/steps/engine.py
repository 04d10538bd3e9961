"""What every training is made of: optimiser steps of an objective, one after the other.

A pretraining run (training/loop.py), a fine-tuning, a head for places, a learner: they differ in
where batches come from, which random numbers turn these into views, and what is done between two
steps. How a batch of views becomes a gradient and a gradient an update is the same for all, here.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from modalities.base import Batch, Objective, Progress, Step
from modalities.common.steps.optim import Optimizer

Rate = Callable[[int, int], float]  # (step, steps) -> the learning rate


class Engine:
    """A training and where it stands: `step` of `steps` are done."""

    def __init__(  # noqa: PLR0913
        self,
        objective: Objective,
        optimizer: Optimizer,
        steps: int,
        rate: Rate,
        *,
        device: torch.device | str,
        precision: str = "fp32",
        clip: float = 0.0,
        model: nn.Module | None = None,
    ) -> None:
        """`clip`: the gradient's greatest norm, 0: any. `model`: what is called in its place."""
        self.objective, self.optimizer, self.rate = objective, optimizer, rate
        self.model: nn.Module = objective if model is None else model
        self.device, self.precision, self.clip = torch.device(device), precision, clip
        self.step, self.steps = 0, steps

    def train(
        self, material: Iterable[Sequence[Batch]], stop: Callable[[int], bool] | None = None
    ) -> None:
        """A step for the views of each of `material`, until `stop`, asked after each, says so."""
        self.model.train()
        for views in material:
            for each in views:
                self.learn(each)
            self.update()
            if stop is not None and stop(self.step):
                break
            self.model.train()  # it may have been looked at

    def learn(self, views: Batch) -> Step:
        """Add the gradient of one batch of views to what there is."""
        with self.autocast():
            step: Step = self.model(views)
        step.loss.backward()  # type: ignore[no-untyped-call]
        return step

    def update(self) -> None:
        """One step by the gradient that was added up, and what moves without one."""
        if self.clip:
            nn.utils.clip_grad_norm_(self.optimizer.params, self.clip, foreach=True)
        self.optimizer.lr = self.rate(self.step, self.steps)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.objective.after_step(Progress(self.step, self.steps))

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of a step."""
        bf16 = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
