"""Classifying sounds with few labels: see modalities/common/classification.py for the rules."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen

from modalities.audio import mfcc
from modalities.base import Encoder, EncoderFactory, Labelled, Row, Skipped, Task, Tell
from modalities.common.classification import measure
from modalities.common.finetune import FineTuning, Recipe
from modalities.common.frozen import FrozenFeatures, Setting
from modalities.common.knn import Majority, Neighbours
from modalities.common.linear import LinearProbe
from modalities.common.problem import Method, Pick, Problem


class MeanMfcc:
    """The mean over time of 13 MFCC of each item, (m, 13) float32; computed once."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, pick: Pick, draw: int = 0) -> np.ndarray:
        del draw
        for at in pick.at.tolist():
            if (pick.split, at) not in self.kept:
                self.kept[pick.split, at] = mfcc.mean(pick.items[at])
        return np.stack([self.kept[pick.split, at] for at in pick.at.tolist()])


class Classification(Task):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Controls: `scratch`, `random`, `majority`, and `mfcc`, logistic regression on mean MFCC. Random
    weights get learning rates of their own, as many of them, and `scratch_factor` times the steps;
    augmentation, schedule, batch and weight decay are the same. The defaults were chosen on
    validation (docs/sound.md).
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [  # noqa: B006
            1, 5, 20, "all",
        ],
        draws: Annotated[int, Ge(2)] = 5,
        protocols: Annotated[list[Literal["linear", "knn", "finetune"]], MinLen(1)] = [  # noqa: B006
            "linear", "knn", "finetune",
        ],
        strengths: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.0001, 0.001, 0.01, 0.1, 1.0, 10.0,
        ],
        neighbours: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = [1, 3, 5, 10, 20],  # noqa: B006
        learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.001, 0.003,
        ],
        scratch_learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.005, 0.015,
        ],
        scratch_factor: Annotated[float, Ge(1)] = 3.0,
        epochs: Annotated[int, Gt(0)] = 150,
        min_steps: Annotated[int, Gt(0)] = 40,
        max_steps: Annotated[int, Gt(0)] = 130,
        batch_size: Annotated[int, Gt(1)] = 48,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
        smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.1,
        evaluations: Annotated[int, Gt(0)] = 6,
        patience: Annotated[int, Gt(0)] = 3,
        encoder: str = "small",
        encoder_options: dict[str, bool | int | float | str | list[int]] = {},  # noqa: B006
    ) -> None:  # fmt: skip
        self.budgets, self.draws, self.protocols = budgets, draws, protocols
        self.strengths, self.neighbours = strengths, neighbours
        self.rates = {"pretrained": learning_rates, "scratch": scratch_learning_rates}
        self.factor = {"pretrained": 1.0, "scratch": scratch_factor}
        self.steps = {"epochs": epochs, "min_steps": min_steps, "max_steps": max_steps}
        self.fixed: dict[str, Any] = {
            "batch_size": batch_size, "weight_decay": weight_decay, "smoothing": smoothing,
            "evaluations": evaluations, "patience": patience,
        }  # fmt: skip
        self.encoder, self.encoder_options = encoder, encoder_options

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        def methods(whole: Problem) -> Mapping[str, Method]:
            if start == "majority":
                return {start: Majority()}
            if start == "mfcc":
                return {start: LinearProbe(MeanMfcc(), self.strengths, repeats=True)}
            return self._protocols(start, encoder or self._fresh, whole, seed, precision)

        return measure(methods, splits, self.budgets, self.draws, seed, tell)

    def _fresh(self) -> Encoder:
        from modalities.audio.encoder import build

        return build(self.encoder, **self.encoder_options)

    def _protocols(
        self, start: str, make: EncoderFactory, whole: Problem, seed: int, precision: str
    ) -> dict[str, Method]:
        from modalities.audio.views import augment, log_mel, prepare

        device = "cuda" if torch.cuda.is_available() else "cpu"
        setting = Setting(prepare, augment, precision, device, once=log_mel)
        pretrained = start == "pretrained"
        features = FrozenFeatures(make, setting, whole, None if pretrained else seed)
        probe = LinearProbe(features, self.strengths, repeats=pretrained)
        found: dict[str, Method] = {
            "linear": probe,
            "knn": Neighbours(features, self.neighbours, repeats=pretrained),
        }
        if start != "random":
            recipe = self._recipe(start)
            found["finetune"] = FineTuning(make, recipe, setting, probe if pretrained else None)
        wanted = ["finetune"] if start == "scratch" else self.protocols
        return {name: found[name] for name in wanted if name in found}

    def _recipe(self, start: str) -> Recipe:
        steps = {name: round(each * self.factor[start]) for name, each in self.steps.items()}
        return Recipe(learning_rates=self.rates[start], **steps, **self.fixed)
