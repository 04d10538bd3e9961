"""Classification with few labels as a task: what that of sounds, pictures and shapes share.

How it is measured: modalities/common/measuring/classification.py.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from modalities.base import Encoder, Labelled, Tell
from modalities.common.measuring.classification import measure
from modalities.common.measuring.finetune import FineTuning, Recipe
from modalities.common.measuring.frozen import FrozenFeatures, Setting
from modalities.common.measuring.knn import Majority, Neighbours
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method, Problem
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped, Task

STEPS = ("epochs", "min_steps", "max_steps")
FIXED = ("batch_size", "weight_decay", "smoothing", "evaluations", "patience")


class ClassificationTask(Task):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own, as many of them, and `scratch_factor` times the
    steps; augmentation, schedule, batch and weight decay are the same for all starts. A modality
    has the options, with defaults of its own, and says how its items are seen.
    """

    def __init__(self, told: Mapping[str, Any]) -> None:
        """`told`: the options by name, the `locals()` of the modality's `__init__`."""
        self.told = {k: v for k, v in told.items() if k not in ("self", "__class__")}
        self.encoder: str = told["encoder"]
        self.encoder_options: dict[str, Any] = told["encoder_options"]

    def build(self, name: str, **options: Any) -> Encoder:
        """A new encoder of the modality."""
        raise NotImplementedError

    def setting(self, precision: str, device: str) -> Setting:
        """How items are seen."""
        raise NotImplementedError

    def controls(self) -> dict[str, Callable[[], Method]]:
        """Controls that need no encoder, by name."""
        return {"majority": Majority}

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        def methods(whole: Problem) -> Mapping[str, Method]:
            controls = self.controls()
            if start in controls:
                return {start: controls[start]()}
            return self._protocols(start, encoder or self._fresh, whole, (seed, precision))

        return measure(methods, splits, self.told["budgets"], self.told["draws"], seed, tell)

    def _fresh(self) -> Encoder:
        return self.build(self.encoder, **self.encoder_options)

    def _protocols(
        self, start: str, make: EncoderFactory, whole: Problem, how: tuple[int, str]
    ) -> dict[str, Method]:
        seed, precision = how
        setting = self.setting(precision, "cuda" if torch.cuda.is_available() else "cpu")
        pretrained = start == "pretrained"
        features = FrozenFeatures(make, setting, whole, None if pretrained else seed)
        probe = LinearProbe(features, self.told["strengths"], repeats=pretrained)
        found: dict[str, Method] = {
            "linear": probe,
            "knn": Neighbours(features, self.told["neighbours"], repeats=pretrained),
        }
        if start != "random":
            recipe = self._recipe(start)
            found["finetune"] = FineTuning(make, recipe, setting, probe if pretrained else None)
        wanted = ["finetune"] if start == "scratch" else self.told["protocols"]
        return {name: found[name] for name in wanted if name in found}

    def _recipe(self, start: str) -> Recipe:
        told = self.told
        factor, rates = {
            "pretrained": (1.0, told["learning_rates"]),
            "scratch": (told["scratch_factor"], told["scratch_learning_rates"]),
        }[start]
        steps = {name: round(told[name] * factor) for name in STEPS}
        return Recipe(learning_rates=rates, **steps, **{name: told[name] for name in FIXED})
