"""Classifying sounds with few labels; rules: common/measuring/classification.py."""

from collections.abc import Callable
from typing import Any

import numpy as np

from modalities.audio.sound import mfcc
from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method, Subset
from modalities.items import item


class MeanMfcc:
    """The mean over time of 13 MFCC of each item, (m, 13) float32; computed once."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, subset: Subset, draw: int = 0) -> np.ndarray:
        del draw
        for at in subset.at.tolist():
            if (subset.split, at) not in self.kept:
                self.kept[subset.split, at] = mfcc.mean(item(subset.items, at))
        return np.stack([self.kept[subset.split, at] for at in subset.at.tolist()])


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Controls: `scratch`, `random`, `majority`, and `mfcc`, logistic regression on mean MFCC. Random
    weights get learning rates of their own, as many of them, and `scratch_factor` times the steps;
    augmentation, schedule, batch and weight decay are the same. The defaults were chosen on
    validation (docs/sound.md).
    """

    budgets = [1, 5, 20, "all"]
    scratch_learning_rates = [0.005, 0.015]

    def build(self, name: str, **options: Any) -> Encoder:
        from modalities.audio.network.encoder import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        from modalities.audio.network.views import augment, log_mel, prepare

        return Setting(prepare, augment, precision, device, precompute=log_mel)

    def controls(self) -> dict[str, Callable[[], Method]]:
        return super().controls() | {
            "mfcc": lambda: LinearProbe(MeanMfcc(), self.strengths, repeats=True)
        }
