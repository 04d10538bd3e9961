"""The trainings behind the rows of few-shot part segmentation (modalities/shape/tasks/parts.py)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from modalities.common.measuring.problem import Problem, Subset, draw_labels, seed_of
from modalities.common.measuring.rows import EncoderFactory, Row
from modalities.common.steps.stopping import Trial
from modalities.shape.measuring.miou import means
from modalities.shape.measuring.predicted import Example
from modalities.shape.measuring.segmentation import (
    Segmenter,
    Setting,
    examples,
    fit,
    predict,
    scored,
)

METRICS = ("miou_category", "miou_instance")
SHOWN = 6  # test shapes in a picture, at least one of each category


class Runs:
    """The trainings of one protocol at one budget, draw by draw, a network for each group."""

    def __init__(
        self, make: EncoderFactory, whole: Problem, setting: Setting, groups: list[list[int]],
        frozen: bool,
    ) -> None:  # fmt: skip
        self.make, self.whole, self.setting = make, whole, setting
        self.groups, self.frozen = groups, frozen
        self.rates = [list(setting.recipe.learning_rates) for _ in groups]
        self.values: list[tuple[float, float]] = []
        self.chosen: list[tuple[float, Trial]] = []
        self.examples: list[Example] = []  # of the first draw

    def draw(self, budget: int | str, draw: int, seed: int) -> None:
        """Train on one draw's shapes and look at the test shapes once."""
        whole = self.whole
        train = whole.train.part(draw_labels(whole.train, whole.ids, budget, seed, draw))
        own, test = seed_of(seed, budget, draw), whole.test
        parts = self.setting.catalogue
        found = np.zeros(len(test))
        for number, group in enumerate(self.groups):
            model = self._trained(number, _of(train, group), _of(whole.val, group), own)
            theirs = _of(test, group)
            seen = list(predict(model, theirs, self.setting))
            found[np.isin(test.labels, group)] = scored(seen, theirs, parts)
            if draw == 0:
                each = max(1, SHOWN // len(self.groups) // len(group))
                self.examples += examples(seen, theirs, parts, each)
        instance, category = means(found, test.labels)
        self.values.append((category, instance))

    def _trained(self, number: int, train: Subset, val: Subset, seed: int) -> Segmenter:
        """The network of a group; its rate is the best one on validation, at the first draw."""
        found = [
            (rate, fit(self._model(seed), train, val, self.setting, rate, seed))
            for rate in self.rates[number]
        ]
        best = found[len(found) // 2] if found[0][1].score is None else found[0]
        for each in found:
            best = each if each[1].score is not None and each[1].above(best[1]) else best
        self.rates[number] = [best[0]]
        self.chosen.append(best)
        model = self._model(seed)
        model.load_state_dict(best[1].weights)
        return model

    def _model(self, seed: int) -> Segmenter:
        torch.manual_seed(seed_of(seed, "weights"))
        encoder: Any = self.make()
        model = Segmenter(encoder, self.setting.catalogue, frozen=self.frozen)
        return model.to(self.setting.device)

    def reached(self) -> float | None:
        """The mean score on validation of what was chosen, None without validation."""
        known = [trial.score for _, trial in self.chosen if trial.score is not None]
        return float(np.mean(known)) if known else None

    def rows(self, protocol: str, budget: int | str) -> Iterator[Row]:
        chosen = {
            "val": self.reached(),
            "learning_rate": [rate for rate, _ in self.chosen],
            "steps": [trial.step for _, trial in self.chosen],
        }
        for at, metric in enumerate(METRICS):
            values = [pair[at] for pair in self.values]
            yield Row("supervised", protocol, budget, metric, values, chosen=chosen)


def _of(subset: Subset, categories: list[int]) -> Subset:
    return subset.part(np.flatnonzero(np.isin(subset.labels, categories)))
