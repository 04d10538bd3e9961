"""Fine-tuning: all layers and a linear head, trained on few labels.

The learning rate is chosen on validation at the first draw of each budget and kept for the others;
the number of steps is chosen on validation in every draw (early stopping, best checkpoint kept).

From pretrained weights the head starts as the linear probe that validation chose (Kumar et al.,
"Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022), so
the probe itself, at step 0, is one of the checkpoints. From random weights there is no such probe:
the head starts at zero, and training takes `steps` times a factor, because all has to be learnt.

Shapes: n labelled items, B batch, D feature width, C classes.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.linear import Linear, LinearProbe
from modalities.common.measuring.problem import FewLabels, Fitted, Method, Subset, accuracy, seed_of
from modalities.common.measuring.rows import EncoderFactory
from modalities.common.steps.engine import Engine, Rate
from modalities.common.steps.optim import AdamW
from modalities.common.steps.stopping import EarlyStopping, Trial, weights


@dataclass(frozen=True)
class Recipe:
    """What is fixed, and what validation may choose from."""

    learning_rates: Sequence[float]
    epochs: int  # over the told items, within the two limits below
    min_steps: int
    max_steps: int
    batch_size: int
    weight_decay: float
    smoothing: float  # of the labels
    evaluations: int  # on validation, evenly over the steps
    patience: int  # evaluations without a better checkpoint before stopping

    def batch(self, items: int) -> int:
        """Few items are repeated, differently augmented each time, up to half a batch."""
        return int(np.clip(items, max(1, self.batch_size // 2), self.batch_size))

    def steps(self, items: int) -> int:
        """Optimiser steps for so many items."""
        wanted = math.ceil(self.epochs * items / self.batch(items))
        return int(np.clip(wanted, self.min_steps, max(self.min_steps, self.max_steps)))

    def stopping(self, look: Callable[[int], Trial], best: Trial, steps: int) -> EarlyStopping:
        """The best checkpoint of a training of so many steps, `best` being the first."""
        return EarlyStopping(
            look, best, steps=steps, looks=self.evaluations, patience=self.patience
        )


def rate_of(learning_rate: float) -> Rate:
    """Linear warm-up to the learning rate over a tenth of the steps, then a cosine to zero."""

    def rate(step: int, steps: int) -> float:
        rise = min(1.0, (step + 1) / (0.1 * steps))
        return learning_rate * (rise * 0.5 * (1 + math.cos(math.pi * step / steps)))

    return rate


class Classifier(nn.Module):
    """Encoder and linear head; (B, ...) -> (B, C) float32."""

    def __init__(self, encoder: Encoder, classes: int, start: Linear | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, classes)
        weight = np.zeros((classes, encoder.dim)) if start is None else start.weight
        bias = np.zeros(classes) if start is None else start.bias
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x).float()
        with torch.autocast(features.device.type, enabled=False):
            logits: Tensor = self.head(features)
        return logits


class ClassLabels(Objective):
    """Cross-entropy of a classifier's answers, on augmented items and smoothed labels."""

    def __init__(self, model: Classifier, setting: Setting, smoothing: float) -> None:
        super().__init__()
        self.encoder, self.model = model.encoder, model
        self.augment, self.smoothing = setting.augment, smoothing

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        return {"x": self.augment(batch["items"], rng), "label": batch["label"]}

    def forward(self, batch: Batch) -> Step:
        logits = self.model(batch["x"])
        return Step(F.cross_entropy(logits, batch["label"], label_smoothing=self.smoothing))


def batches(items: int, batch: int, steps: int, seed: int) -> Iterator[np.ndarray]:
    """`steps` arrays (B,) of places in [0, items): shuffled epochs, one after the other."""
    generator = np.random.default_rng(seed)
    rest = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        while len(rest) < batch:
            rest = np.concatenate([rest, generator.permutation(items)])
        yield rest[:batch]
        rest = rest[batch:]


class FineTuning(Method):
    """A method that trains all layers. `probe` None: start from random weights."""

    def __init__(
        self, make: EncoderFactory, recipe: Recipe, setting: Setting, probe: LinearProbe | None
    ) -> None:
        self.make, self.recipe, self.setting, self.probe = make, recipe, setting, probe
        self.tries = len(recipe.learning_rates)
        self.rates: dict[int | str, float] = {}  # by budget: what the first draw chose

    def cost(self, items: int) -> float:
        """For one draw; the first one tries every learning rate."""
        return float(self.recipe.steps(items) * self.recipe.batch(items))

    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        model, trial, rate = self.trained(few, note)
        return Fitted(
            lambda subset: self.setting.outputs(model, subset).argmax(1),
            trial.score,
            {"learning_rate": rate, "steps": trial.step},
        )

    def trained(
        self, few: FewLabels, note: Callable[[float], None]
    ) -> tuple[Classifier, Trial, float]:
        """The model that validation chose, with its checkpoint and learning rate."""
        start = self.probe.probe(few)[0] if self.probe else None
        ready = self.setting.ready
        few = replace(few, train=ready(few.train), val=ready(few.val))
        known = self.rates.get(few.budget)
        rates = self.recipe.learning_rates if known is None else [known]
        trials = []
        for rate in rates:
            trials.append(self._train(few, rate, start))
            note(self.cost(len(few.train)))
        first = len(trials) // 2 if trials[0].score is None else 0
        chosen = first
        for i, trial in enumerate(trials):
            chosen = i if trial.score is not None and trial.above(trials[chosen]) else chosen
        self.rates[few.budget] = rates[chosen]
        trial = trials[chosen]
        model = self._model(few, start)
        model.load_state_dict(trial.weights)
        return model, trial, rates[chosen]

    def _model(self, few: FewLabels, start: Linear | None) -> Classifier:
        torch.manual_seed(seed_of(few.seed, "weights"))  # random weights, dropout
        model = Classifier(self.make(), few.classes, start)
        self.setting.put(model)
        return model

    def _train(self, few: FewLabels, rate: float, start: Linear | None) -> Trial:
        recipe, setting = self.recipe, self.setting
        steps = recipe.steps(len(few.train))
        model = self._model(few, start)
        objective = ClassLabels(model, setting, recipe.smoothing)

        def look(step: int) -> Trial:
            return self._look(model, few.val, step)

        stopping = recipe.stopping(look, look(0), steps)
        Engine(
            objective, AdamW(model.parameters(), rate, recipe.weight_decay), steps, rate_of(rate),
            device=setting.device, precision=setting.precision,
        ).train(self._views(objective, few, steps), stopping)  # fmt: skip
        return stopping.best

    def _views(self, objective: Objective, few: FewLabels, steps: int) -> Iterator[list[Batch]]:
        """One draw of random numbers after the other, through all steps."""
        train, size = few.train, self.recipe.batch(len(few.train))
        generator = torch.Generator().manual_seed(seed_of(few.seed, "augmentation"))
        rng = Randomness(generator, total=size, device=self.setting.device)
        for at in batches(len(train), size, steps, seed_of(few.seed, "order")):
            subset = train.part(at)
            items = self.setting.batch(subset.items, subset.at)
            label = torch.from_numpy(subset.labels).to(items.device)
            yield [objective.views({"items": items, "label": label}, rng)]

    def _look(self, model: nn.Module, val: Subset, step: int) -> Trial:
        learnt = weights(model)
        if not len(val):
            return Trial(learnt, None, step)
        logits = self.setting.outputs(model, val)
        labels = torch.from_numpy(val.labels)
        loss = float(F.cross_entropy(torch.from_numpy(logits), labels))
        return Trial(learnt, accuracy(logits.argmax(1), val.labels), step, tie=-loss)
