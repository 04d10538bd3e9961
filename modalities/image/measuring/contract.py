"""What a task of places (boxes, masks, keypoints) is made of; how it is measured: protocol.py.

Shapes: m pictures picked, B batch, S side of a picture.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modalities.base import Randomness
from modalities.common.measuring.frozen import EVAL_BATCH, Setting
from modalities.common.measuring.problem import Problem, Subset
from modalities.image.measuring.pyramid import Pyramid
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.views import augment, prepare

Scores = dict[str, float]


@dataclass(frozen=True)
class Schedule:
    """What is fixed, and what validation may choose from."""

    learning_rates: Sequence[float]
    scratch_learning_rates: Sequence[float]
    scratch_factor: float  # times the steps, from random weights
    epochs: int  # over the told pictures, within the two limits below; of each protocol
    min_steps: int
    max_steps: int
    batch_size: int
    weight_decay: float
    evaluations: int  # on validation, evenly over the steps
    patience: int  # evaluations without a better checkpoint before stopping
    validation: int  # pictures at most

    def batch(self, items: int) -> int:
        return int(np.clip(items, max(1, self.batch_size // 2), self.batch_size))

    def steps(self, items: int) -> int:
        wanted = math.ceil(self.epochs * items / self.batch(items))
        return int(np.clip(wanted, self.min_steps, max(self.min_steps, self.max_steps)))


class Head(nn.Module):
    """A pyramid on an encoder and what is read from it."""

    pyramid: Pyramid

    def loss(self, x: Tensor, target: Any) -> Tensor:
        """(B, 3, S, S) and what `DenseTarget.batch` gave with it -> a scalar."""
        raise NotImplementedError


class DenseTarget(ABC):
    """What one task knows of its pictures; everything else is the same for all."""

    metrics: tuple[str, ...]  # the first one chooses

    @abstractmethod
    def head(self, encoder: ImageEncoder) -> Head: ...

    @abstractmethod
    def batch(self, subset: Subset, rng: Randomness, device: str) -> tuple[Tensor, Any]:
        """Changed at random: pictures for the encoder and their targets."""

    @abstractmethod
    def predict(self, head: Head, subset: Subset, setting: Setting) -> list[Any]:
        """What the head says of every picture, (m,)."""

    @abstractmethod
    def score(self, predicted: list[Any], subset: Subset) -> Scores:
        """Every metric."""


def obstacle(whole: Problem, budget: int | str, what: str) -> str | None:
    """Why this budget cannot be measured, if it cannot."""
    if not len(whole.train):
        return f"no {what} in the training pictures: nothing to learn from"
    if not len(whole.test):
        return f"no {what} in the test pictures: nothing to measure on"
    smallest = int(np.bincount(whole.train.labels).min())
    if budget != "all" and int(budget) > smallest:
        return f"the smallest class has {smallest} training pictures with {what}"
    return None


def setting(precision: str) -> Setting:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Setting(prepare, augment, precision, device)


def chunks(subset: Subset, size: int = EVAL_BATCH) -> Iterator[Subset]:
    """The subset in parts."""
    for start in range(0, len(subset), size):
        yield subset.part(np.arange(start, min(start + size, len(subset))))
