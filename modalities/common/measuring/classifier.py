"""Classification with few labels as a task: what that of sounds, pictures and shapes share.

How it is measured: modalities/common/measuring/classification.py.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, MinLen

from modalities.base import Encoder, Labelled, Tell
from modalities.common.measuring.classification import measure
from modalities.common.measuring.finetune import FineTuning
from modalities.common.measuring.frozen import FrozenFeatures, Setting
from modalities.common.measuring.knn import Majority, Neighbours
from modalities.common.measuring.label_budget import LabelBudgetTask
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method, Problem
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped


class ClassificationTask(LabelBudgetTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own, as many of them, and `scratch_factor` times the
    steps; augmentation, schedule, batch and weight decay are the same for all starts. A modality
    has defaults of its own, and says how its items are seen.

    `strengths`: of the linear probe's penalty; `neighbours`: k of k-NN; both are chosen on
    validation. `smoothing`: of the labels in fine-tuning.
    """

    protocols: Annotated[list[Literal["linear", "knn", "finetune"]], MinLen(1)] = [
        "linear", "knn", "finetune",
    ]  # fmt: skip
    strengths: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [
        0.0001, 0.001, 0.01, 0.1, 1.0, 10.0,
    ]  # fmt: skip
    neighbours: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = [1, 3, 5, 10, 20]
    scratch_factor = 3.0
    epochs = 150
    max_steps = 130
    batch_size = 48
    smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.1
    evaluations = 6

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

        return measure(methods, splits, self.budgets, self.draws, seed, tell)

    def _fresh(self) -> Encoder:
        return self.build(self.encoder, **self.encoder_options)

    def _protocols(
        self, start: str, make: EncoderFactory, whole: Problem, how: tuple[int, str]
    ) -> dict[str, Method]:
        seed, precision = how
        setting = self.setting(precision, "cuda" if torch.cuda.is_available() else "cpu")
        pretrained = start == "pretrained"
        features = FrozenFeatures(make, setting, whole, None if pretrained else seed)
        probe = LinearProbe(features, self.strengths, repeats=pretrained)
        found: dict[str, Method] = {
            "linear": probe,
            "knn": Neighbours(features, self.neighbours, repeats=pretrained),
        }
        if start != "random":
            rates, factor = (
                (self.learning_rates, 1.0)
                if pretrained
                else (self.scratch_learning_rates, self.scratch_factor)
            )
            recipe = self.recipe(rates, factor, self.smoothing)
            found["finetune"] = FineTuning(make, recipe, setting, probe if pretrained else None)
        wanted = ["finetune"] if start == "scratch" else self.protocols
        return {name: found[name] for name in wanted if name in found}
