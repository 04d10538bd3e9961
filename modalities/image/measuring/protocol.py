"""How detection, segmentation and keypoints are measured with few labelled pictures.

As classification (common/measuring/classification.py): `budget` pictures per class or all, in
several draws of which a smaller budget's are parts of a larger one's; learning rate (at the first
draw) and number of steps chosen on validation; test seen once. Two protocols:

- frozen: the encoder stays as it is, the head is trained on its maps;
- finetune: from there all layers are trained, so that the frozen one is its first checkpoint;
  without pretraining (scratch) from random weights, with a multiple of the steps.

Shapes: m pictures picked, B batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modalities.base import Randomness, Tell
from modalities.common.measuring.classification import Meter
from modalities.common.measuring.finetune import batches
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Pick, Problem, Told, draw_labels, seed_of
from modalities.common.measuring.rows import EncoderFactory, Row
from modalities.common.steps.optim import AdamW
from modalities.image.measuring.contract import Head, Places, Schedule, Scores
from modalities.image.network.contract import ImageEncoder


@dataclass
class Trained:
    """The best checkpoint of one training."""

    weights: dict[str, Tensor]
    score: float | None  # on validation
    step: int
    rate: float

    def above(self, other: "Trained") -> bool:
        """Of equal ones (none of them found anything yet) the later."""
        return other.score is None or self.score is None or self.score >= other.score


@dataclass
class Cell:
    """What one protocol reached at one budget, draw by draw."""

    scores: list[Scores] = field(default_factory=list)
    trained: list[Trained] = field(default_factory=list)

    def rows(self, name: str, budget: int | str, metrics: Sequence[str]) -> Iterator[Row]:
        known = [t.score for t in self.trained if t.score is not None]
        chosen = {
            "val": float(np.mean(known)) if known else None,
            "learning_rate": [t.rate for t in self.trained],
            "steps": [t.step for t in self.trained],
        }
        for metric in metrics:
            values = [scores[metric] for scores in self.scores]
            yield Row("supervised", name, budget, metric, values, chosen=chosen)


@dataclass
class Shown:
    """The last draw of the last budget, for a picture."""

    name: str
    test: Pick
    predicted: list[Any]


class Measuring:
    """One start through every budget and draw."""

    def __init__(
        self, places: Places, make: EncoderFactory, schedule: Schedule, setting: Setting,
        start: str,
    ) -> None:  # fmt: skip
        self.places, self.make, self.schedule, self.setting = places, make, schedule, setting
        self.scratch, self.random = start == "scratch", start == "random"
        self.rates: dict[tuple[str, int | str], float] = {}  # what the first draw chose
        self.shown: list[Shown] = []

    def protocols(self, wanted: Sequence[str]) -> list[str]:
        if self.scratch:
            return ["finetune"]
        return [name for name in wanted if not (self.random and name == "finetune")]

    def run(
        self, whole: Problem, budgets: Sequence[int | str], draws: int, wanted: Sequence[str],
        seed: int, tell: Tell,
    ) -> Iterator[Row]:  # fmt: skip
        names = self.protocols(wanted)
        cells = {(name, budget): Cell() for name in names for budget in budgets}
        meter = Meter(tell, float(draws * len(budgets)))
        val = whole.val.part(_some(whole.val, self.schedule.validation))
        for draw in range(draws):
            for budget in budgets:
                train = whole.train.part(draw_labels(whole.train, whole.ids, budget, seed, draw))
                own = seed_of(seed, budget, draw)
                told = Told(train, val, len(whole.known), budget, draw, own)
                self.shown = []
                for name, trained, head in self._fits(told, names):
                    predicted = self.places.predict(head, whole.test, self.setting)
                    cell = cells[name, budget]
                    cell.scores.append(self.places.score(predicted, whole.test))
                    cell.trained.append(trained)
                    self.shown.append(Shown(name, whole.test, predicted))
                meter.text = f"draw {draw + 1} of {draws}, budget {budget}"
                meter.add(1.0)
        for (name, budget), cell in cells.items():
            yield from cell.rows(name, budget, self.places.metrics)

    def _fits(self, told: Told, names: Sequence[str]) -> Iterator[tuple[str, Trained, Head]]:
        before: Trained | None = None
        if not self.scratch:
            before, head = self._fit(told, "frozen", None)
            if "frozen" in names:
                yield "frozen", before, head
        if "finetune" in names:
            yield "finetune", *self._fit(told, "finetune", before)

    def _fit(self, told: Told, name: str, before: Trained | None) -> tuple[Trained, Head]:
        """Every learning rate at the first draw of a budget, the one it chose at the others."""
        schedule = self.schedule
        rates = schedule.scratch_learning_rates if self.scratch else schedule.learning_rates
        known = self.rates.get((name, told.budget))
        found = [self._train(told, name, r, before) for r in (rates if known is None else [known])]
        best = found[len(found) // 2]
        for each in found:
            if each.score is not None and (best.score is None or each.score > best.score):
                best = each
        self.rates[name, told.budget] = best.rate
        head = self._head(told)
        head.load_state_dict(best.weights)
        return best, head

    def _head(self, told: Told) -> Head:
        torch.manual_seed(seed_of(told.seed, "weights"))
        encoder = self.make()
        assert isinstance(encoder, ImageEncoder)
        head = self.setting.put(self.places.head(encoder))
        assert isinstance(head, Head)
        return head

    def _train(self, told: Told, name: str, rate: float, before: Trained | None) -> Trained:
        schedule, items = self.schedule, len(told.train)
        factor = schedule.scratch_factor if self.scratch else 1.0
        steps, batch = round(schedule.steps(items) * factor), schedule.batch(items)
        head = self._head(told)
        if before is not None:
            head.load_state_dict(before.weights)
        if name == "frozen":
            head.pyramid.freeze()
        optimizer = AdamW(head.parameters(), rate, schedule.weight_decay)
        looks = schedule.looks(steps)
        best = Trained(_weights(head), before.score if before else None, 0, rate)
        missed = 0
        for step, at in enumerate(batches(items, batch, steps, seed_of(told.seed, "order"))):
            optimizer.lr = rate * _share(step, steps)
            self._step(head, optimizer, told.train.part(at), seed_of(told.seed, name, step))
            if step + 1 in looks:
                look = Trained(_weights(head), self._look(head, told.val), step + 1, rate)
                missed = 0 if look.above(best) else missed + 1
                best = best if missed else look
                if missed >= schedule.patience:
                    break
        return best

    def _step(self, head: Head, optimizer: AdamW, pick: Pick, seed: int) -> None:
        head.train()
        generator = torch.Generator().manual_seed(seed)
        rng = Randomness(generator, total=len(pick), device=self.setting.device)
        x, target = self.places.batch(pick, rng, self.setting.device)
        with self.setting.autocast():
            loss = head.loss(x, target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(head.parameters(), 10.0)
        optimizer.step()

    def _look(self, head: Head, val: Pick) -> float | None:
        if not len(val):
            return None
        predicted = self.places.predict(head, val, self.setting)
        return self.places.score(predicted, val)[self.places.metrics[0]]


def _weights(head: Head) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in head.state_dict().items()}


def _share(step: int, steps: int) -> float:
    """Of the learning rate: a line up over a tenth of the steps, then half a cosine to zero."""
    return min(1.0, (step + 1) / (0.1 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _some(val: Pick, most: int) -> np.ndarray:
    """Places of at most so many, at random and always the same ones."""
    if len(val) <= most:
        return np.arange(len(val))
    order = np.argsort(np.random.default_rng(0).random(len(val)), kind="stable")
    return np.sort(order[:most])
