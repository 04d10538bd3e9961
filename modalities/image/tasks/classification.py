"""Classifying pictures with few labels; rules: common/measuring/classification.py."""

from collections.abc import Callable
from typing import Any

from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.knn import NearestItem
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method
from modalities.image.measuring.raw import histogram


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own, as many of them, and `scratch_factor` times the
    steps; augmentation, schedule, batch and weight decay are the same. The defaults were chosen on
    validation (docs/TUNING.md), within the time that the default run has; with 50 labels per class
    and more, more steps than these still help: raise `max_steps` where time allows.
    """

    budgets = [1, 5, 10, 50, "all"]
    scratch_learning_rates = [0.015, 0.03]

    def build(self, name: str, **options: Any) -> Encoder:
        from modalities.image.network.factory import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        from modalities.image.network.views import augment, prepare

        return Setting(prepare, augment, precision, device)

    def controls(self) -> dict[str, Callable[[], Method]]:
        return super().controls() | {
            "histogram": lambda: LinearProbe(histogram, self.strengths, repeats=True),
            "pixels": NearestItem,
        }
