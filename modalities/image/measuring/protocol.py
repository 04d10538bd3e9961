"""How detection, segmentation and keypoints are measured with few labelled pictures.

As classification (common/measuring/classification.py): `budget` pictures per class or all, in
several draws of which a smaller budget's are parts of a larger one's; learning rate (at the first
draw) and number of steps chosen on validation; test seen once. Two protocols:

- frozen: the encoder stays as it is, the head is trained on its maps;
- finetune: from there all layers are trained, so that the frozen one is its first checkpoint;
  without pretraining (scratch) from random weights, with a multiple of the steps.

Shapes: m pictures picked, B batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from modalities.base import Batch, Objective, Randomness, Step, Tell
from modalities.common.measuring.classification import Meter
from modalities.common.measuring.finetune import batches, rate_of
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import FewLabels, Problem, Subset, draw_labels, seed_of
from modalities.common.measuring.rows import EncoderFactory, Row
from modalities.common.steps.engine import Engine
from modalities.common.steps.optim import AdamW
from modalities.common.steps.stopping import EarlyStopping, Trial, weights
from modalities.image.measuring.contract import DenseTarget, Head, Schedule, Scores
from modalities.image.network.contract import ImageEncoder

Chosen = tuple[Trial, float]  # and its learning rate


class PlaceLabels(Objective):
    """A head's loss on pictures changed at random. Raw batches are `index`: rows of a subset."""

    def __init__(self, head: Head, places: DenseTarget, train: Subset) -> None:
        super().__init__()
        self.encoder = head.pyramid.encoder  # first: how the head trains it is the last word
        self.head, self.places, self.subset = head, places, train

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        subset = self.subset.part(batch["index"].numpy())
        x, target = self.places.batch(subset, rng, str(rng.device))
        return {"x": x, "target": target}

    def forward(self, batch: Batch) -> Step:
        return Step(self.head.loss(batch["x"], batch["target"]))


@dataclass
class BudgetResult:
    """What one protocol reached at one budget, draw by draw."""

    scores: list[Scores] = field(default_factory=list)
    chosen: list[Chosen] = field(default_factory=list)

    def rows(self, name: str, budget: int | str, metrics: Sequence[str]) -> Iterator[Row]:
        known = [trial.score for trial, _ in self.chosen if trial.score is not None]
        chosen = {
            "val": float(np.mean(known)) if known else None,
            "learning_rate": [rate for _, rate in self.chosen],
            "steps": [trial.step for trial, _ in self.chosen],
        }
        for metric in metrics:
            values = [scores[metric] for scores in self.scores]
            yield Row("supervised", name, budget, metric, values, chosen=chosen)


@dataclass
class Shown:
    """The last draw of the last budget, for a picture."""

    name: str
    test: Subset
    predicted: list[Any]


class Measuring:
    """One start through every budget and draw."""

    def __init__(
        self, places: DenseTarget, make: EncoderFactory, schedule: Schedule, setting: Setting,
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
        cells = {(name, budget): BudgetResult() for name in names for budget in budgets}
        meter = Meter(tell, float(draws * len(budgets)))
        val = whole.val.part(_some(whole.val, self.schedule.validation))
        for draw in range(draws):
            for budget in budgets:
                train = whole.train.part(draw_labels(whole.train, whole.ids, budget, seed, draw))
                own = seed_of(seed, budget, draw)
                few = FewLabels(train, val, len(whole.known), budget, draw, own)
                self.shown = []
                for name, best, head in self._fits(few, names):
                    predicted = self.places.predict(head, whole.test, self.setting)
                    cell = cells[name, budget]
                    cell.scores.append(self.places.score(predicted, whole.test))
                    cell.chosen.append(best)
                    self.shown.append(Shown(name, whole.test, predicted))
                meter.text = f"draw {draw + 1} of {draws}, budget {budget}"
                meter.add(1.0)
        for (name, budget), cell in cells.items():
            yield from cell.rows(name, budget, self.places.metrics)

    def _fits(self, few: FewLabels, names: Sequence[str]) -> Iterator[tuple[str, Chosen, Head]]:
        before: Trial | None = None
        if not self.scratch:
            best, head = self._fit(few, "frozen", None)
            before = best[0]
            if "frozen" in names:
                yield "frozen", best, head
        if "finetune" in names:
            yield "finetune", *self._fit(few, "finetune", before)

    def _fit(self, few: FewLabels, name: str, before: Trial | None) -> tuple[Chosen, Head]:
        """Every learning rate at the first draw of a budget, the one it chose at the others."""
        schedule = self.schedule
        rates = schedule.scratch_learning_rates if self.scratch else schedule.learning_rates
        known = self.rates.get((name, few.budget))
        rates = rates if known is None else [known]
        found = [(self._train(few, name, rate, before), rate) for rate in rates]
        best = found[len(found) // 2]
        for each in found:
            score, highest = each[0].score, best[0].score
            if score is not None and (highest is None or score > highest):
                best = each
        self.rates[name, few.budget] = best[1]
        head = self._head(few)
        head.load_state_dict(best[0].weights)
        return best, head

    def _head(self, few: FewLabels) -> Head:
        torch.manual_seed(seed_of(few.seed, "weights"))
        encoder = self.make()
        assert isinstance(encoder, ImageEncoder)
        head = self.setting.put(self.places.head(encoder))
        assert isinstance(head, Head)
        return head

    def _train(self, few: FewLabels, name: str, rate: float, before: Trial | None) -> Trial:
        schedule, setting = self.schedule, self.setting
        factor = schedule.scratch_factor if self.scratch else 1.0
        steps = round(schedule.steps(len(few.train)) * factor)
        head = self._head(few)
        if before is not None:
            head.load_state_dict(before.weights)
        if name == "frozen":
            head.pyramid.freeze()

        def look(step: int) -> Trial:  # of equal ones (none found anything yet) the later is better
            return Trial(weights(head), self._look(head, few.val), step, tie=step)

        stopping = EarlyStopping(
            look, Trial(weights(head), before.score if before else None, 0), steps=steps,
            looks=schedule.evaluations, patience=schedule.patience,
        )  # fmt: skip
        objective = PlaceLabels(head, self.places, few.train)
        Engine(
            objective, AdamW(head.parameters(), rate, schedule.weight_decay), steps, rate_of(rate),
            device=setting.device, precision=setting.precision, clip=10.0,
        ).train(self._views(objective, few, name, steps), stopping)  # fmt: skip
        return stopping.best

    def _views(
        self, objective: PlaceLabels, few: FewLabels, name: str, steps: int
    ) -> Iterator[list[Batch]]:
        """Random numbers of a step follow from its number."""
        items = len(few.train)
        order = batches(items, self.schedule.batch(items), steps, seed_of(few.seed, "order"))
        for step, at in enumerate(order):
            generator = torch.Generator().manual_seed(seed_of(few.seed, name, step))
            rng = Randomness(generator, total=len(at), device=self.setting.device)
            yield [objective.views({"index": torch.from_numpy(at)}, rng)]

    def _look(self, head: Head, val: Subset) -> float | None:
        if not len(val):
            return None
        predicted = self.places.predict(head, val, self.setting)
        return self.places.score(predicted, val)[self.places.metrics[0]]


def _some(val: Subset, most: int) -> np.ndarray:
    """Places of at most so many, at random and always the same ones."""
    if len(val) <= most:
        return np.arange(len(val))
    order = np.argsort(np.random.default_rng(0).random(len(val)), kind="stable")
    return np.sort(order[:most])
