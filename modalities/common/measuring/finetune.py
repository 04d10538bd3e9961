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

from modalities.base import Encoder, Randomness
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.linear import Linear, LinearProbe
from modalities.common.measuring.problem import Fitted, Method, Pick, Told, accuracy, seed_of
from modalities.common.measuring.rows import EncoderFactory
from modalities.common.steps.optim import AdamW


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

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rate: linear warm-up over a tenth, then a cosine to zero."""
        return min(1.0, (step + 1) / (0.1 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


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


@dataclass(frozen=True)
class Trial:
    """The best checkpoint of one training."""

    weights: dict[str, Tensor]
    score: float | None  # accuracy on validation
    loss: float  # on validation; decides between equal accuracies
    step: int

    def above(self, other: "Trial") -> bool:
        if self.score is None or other.score is None:
            return self.step > other.step  # without validation: train to the end
        return (self.score, -self.loss) > (other.score, -other.loss)


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

    def fit(self, told: Told, note: Callable[[float], None]) -> Fitted:
        model, trial, rate = self.trained(told, note)
        return Fitted(
            lambda pick: self.setting.outputs(model, pick).argmax(1),
            trial.score,
            {"learning_rate": rate, "steps": trial.step},
        )

    def trained(self, told: Told, note: Callable[[float], None]) -> tuple[Classifier, Trial, float]:
        """The model that validation chose, with its checkpoint and learning rate."""
        start = self.probe.probe(told)[0] if self.probe else None
        ready = self.setting.ready
        told = replace(told, train=ready(told.train), val=ready(told.val))
        known = self.rates.get(told.budget)
        rates = self.recipe.learning_rates if known is None else [known]
        trials = []
        for rate in rates:
            trials.append(self._train(told, rate, start))
            note(self.cost(len(told.train)))
        first = len(trials) // 2 if trials[0].score is None else 0
        chosen = first
        for i, trial in enumerate(trials):
            chosen = i if trial.score is not None and trial.above(trials[chosen]) else chosen
        self.rates[told.budget] = rates[chosen]
        trial = trials[chosen]
        model = self._model(told, start)
        model.load_state_dict(trial.weights)
        return model, trial, rates[chosen]

    def _model(self, told: Told, start: Linear | None) -> Classifier:
        torch.manual_seed(seed_of(told.seed, "weights"))  # random weights, dropout
        model = Classifier(self.make(), told.classes, start)
        self.setting.put(model)
        return model

    def _train(self, told: Told, rate: float, start: Linear | None) -> Trial:
        recipe, train = self.recipe, told.train
        steps, batch = recipe.steps(len(train)), recipe.batch(len(train))
        model = self._model(told, start)
        optimizer = AdamW(model.parameters(), rate, recipe.weight_decay)
        generator = torch.Generator().manual_seed(seed_of(told.seed, "augmentation"))
        rng = Randomness(generator, total=batch, device=self.setting.device)
        best = self._look(model, told.val, 0)
        looks = {math.ceil(steps * (i + 1) / recipe.evaluations) for i in range(recipe.evaluations)}
        missed = 0
        for step, at in enumerate(batches(len(train), batch, steps, seed_of(told.seed, "order"))):
            optimizer.lr = rate * recipe.rate(step, steps)
            self._step(model, optimizer, train.part(at), rng)
            if step + 1 in looks:
                trial = self._look(model, told.val, step + 1)
                missed = 0 if trial.above(best) else missed + 1
                best = best if missed else trial
                if missed >= recipe.patience:
                    break
        return best

    def _step(self, model: nn.Module, optimizer: AdamW, pick: Pick, rng: Randomness) -> None:
        model.train()
        x = self.setting.augment(self.setting.batch(pick.items, pick.at), rng)
        labels = torch.from_numpy(pick.labels).to(x.device)
        with self.setting.autocast():
            logits = model(x)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.recipe.smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def _look(self, model: nn.Module, val: Pick, step: int) -> Trial:
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        if not len(val):
            return Trial(weights, None, math.inf, step)
        logits = self.setting.outputs(model, val)
        labels = torch.from_numpy(val.labels)
        loss = float(F.cross_entropy(torch.from_numpy(logits), labels))
        return Trial(weights, accuracy(logits.argmax(1), val.labels), loss, step)
