"""Early stopping: a training is looked at now and then, the best checkpoint is kept."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True)
class Trial:
    """A checkpoint and what validation said of it."""

    weights: dict[str, Tensor]
    score: float | None  # None without validation
    step: int
    tie: float = 0.0  # decides between equal scores: the greater

    def above(self, other: "Trial") -> bool:
        """Whether this one is better; without validation the later one is."""
        if self.score is None or other.score is None:
            return self.step > other.step
        return (self.score, self.tie) > (other.score, other.tie)


class EarlyStopping:
    """To be asked after each step whether to stop: yes after `patience` looks without a gain."""

    def __init__(
        self, look: Callable[[int], Trial], best: Trial, *, steps: int, looks: int, patience: int
    ) -> None:
        """`look` makes a trial after a step; so many `looks`, evenly over the `steps`."""
        self.look, self.best, self.patience = look, best, patience
        self.at = {math.ceil(steps * (i + 1) / looks) for i in range(looks)}
        self.missed = 0

    def __call__(self, step: int) -> bool:
        if step not in self.at:
            return False
        trial = self.look(step)
        self.missed = 0 if trial.above(self.best) else self.missed + 1
        self.best = self.best if self.missed else trial
        return self.missed >= self.patience


def weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all that a model has learnt."""
    return {name: value.clone() for name, value in model.state_dict().items()}
