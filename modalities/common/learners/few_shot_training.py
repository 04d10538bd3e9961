"""The training of few-shot learning: episodes of labelled items, or a classifier by cosine, and a
pretext task as an auxiliary loss beside it.

Shapes: N items of the train split, n labelled ones, C classes, D feature width, B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.common.learners.auxiliary import Auxiliary
from modalities.common.learners.contract import joined
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Subset, seed_of
from modalities.common.steps.engine import Engine
from modalities.common.steps.optim import AdamW, rate

SCALE = 10.0  # of the cosine head's logits: arXiv:1904.04232
WARMUP = 0.1  # share of the steps
SEEDS = {"labelled": "sup", "unlabelled": "ssl"}  # with another w labelled batches stay the same
Pretext = Callable[[Encoder], Objective]  # the pretext task on this encoder
Head = Literal["prototypical", "cosine"]


@dataclass(frozen=True)
class Schedule:
    """How long, how fast, and on what besides the labelled items."""

    head: Head
    shots: int  # items of each class that make a prototype in training
    unlabelled: int  # at most so many unlabelled items for the pretext task; -1: all
    steps: int
    batch_size: int  # B, of either loss
    weight_decay: float
    learning_rate: float = 0.0

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step."""
        return self.learning_rate * rate(step, steps, WARMUP)


@dataclass(frozen=True)
class Material:
    """What training may see: labelled items, and positions for the pretext task, these included."""

    base: Subset  # labels 0 to C - 1
    pool: np.ndarray
    seed: int

    @property
    def classes(self) -> int:
        return int(self.base.labels.max()) + 1


class FewShotLabels(Objective):
    """L_sup: an episode of all classes, or a classifier by cosine."""

    def __init__(
        self, encoder: Encoder, classes: int, schedule: Schedule, setting: Setting
    ) -> None:
        super().__init__()
        self.encoder, self.classes = encoder, classes
        self.shots, self.augment = schedule.shots, setting.augment
        drawn = torch.randn(classes, encoder.dim) * 0.01  # (C, D); either head draws it
        self.proxies = nn.Parameter(drawn) if schedule.head == "cosine" else None

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        return {"x": self.augment(batch["items"], rng), "label": batch["label"]}

    def forward(self, batch: Batch) -> Step:
        found = self.encoder(batch["x"]).float()
        with torch.autocast(found.device.type, enabled=False):
            if self.proxies is not None:
                return Step(F.cross_entropy(cosine(found, self.proxies), batch["label"]))
            return Step(self._episode(found))

    def _episode(self, found: Tensor) -> Tensor:
        """Of as many items (m, D) of each class, class by class, the first are its prototype."""
        found = found.view(self.classes, -1, found.shape[1])
        shots = min(self.shots, found.shape[1] - 1)
        prototypes, queries = found[:, :shots].mean(1), found[:, shots:].flatten(0, 1)
        target = torch.arange(self.classes, device=found.device)
        target = target.repeat_interleave(found.shape[1] - shots)
        return F.cross_entropy(-torch.cdist(queries, prototypes).square(), target)


class Trainer:
    """Trains an encoder in place, for one w: L = (1 - w) L_sup + w L_ssl."""

    def __init__(
        self, encoder: Encoder, pretext: Pretext, weight: float, material: Material,
        schedule: Schedule, setting: Setting,
    ) -> None:  # fmt: skip
        self.material, self.schedule, self.setting = material, schedule, setting
        torch.manual_seed(seed_of(material.seed, "heads"))
        beside = pretext(encoder) if weight else None
        supervised = FewShotLabels(encoder, material.classes, schedule, setting)
        sizes = {"labelled": self._labelled(), "unlabelled": self._most(len(material.pool))}
        self.learner = Auxiliary(supervised, beside, (1 - weight, weight), sizes)
        setting.put(self.learner)
        self.order = {
            name: np.random.default_rng(seed_of(material.seed, SEEDS[name])) for name in sizes
        }

    def train(self) -> None:
        """All steps."""
        schedule, learner = self.schedule, self.learner
        learner.begin(len(self.material.pool))
        optimizer = AdamW(learner.parameters(), schedule.learning_rate, schedule.weight_decay)
        Engine(
            learner, optimizer, schedule.steps, schedule.rate,
            device=self.setting.device, precision=self.setting.precision,
        ).train([self.views(step)] for step in range(schedule.steps))  # fmt: skip

    def views(self, step: int) -> Batch:
        """Of the batches of all streams."""
        batches = {name: self._batch(name) for name in self.learner.streams}
        with torch.no_grad():
            return joined({
                name: self.learner.views(batch, self._randomness(name, step))
                for name, batch in batches.items()
            })  # fmt: skip

    def _batch(self, name: str) -> Batch:
        base, size = self.material.base, self.learner.streams[name]
        if name == "labelled":
            at = self._places(size)
            items, given = base.at[at], {"label": torch.from_numpy(base.labels[at])}
        else:
            index = self.order[name].choice(len(self.material.pool), size, replace=False)
            items, given = self.material.pool[index], {"index": torch.from_numpy(index)}
        sent = {key: x.to(self.setting.device) for key, x in given.items()}
        return {**self.setting.columns(base.items, items), **sent}

    def _places(self, size: int) -> np.ndarray:
        """Of a batch of labelled items, (m,); for an episode class by class."""
        base, rng, classes = self.material.base, self.order["labelled"], self.material.classes
        if self.schedule.head == "cosine":
            return np.sort(rng.choice(len(base), size, replace=False))
        per = size // classes
        places = [np.flatnonzero(base.labels == c) for c in range(classes)]
        return np.concatenate([rng.choice(p, per, replace=len(p) < per) for p in places])

    def _labelled(self) -> int:
        """How many labelled items a step sees."""
        if self.schedule.head == "cosine":
            return self._most(len(self.material.base))
        classes = self.material.classes
        return classes * max(2, self.schedule.batch_size // classes)

    def _most(self, items: int) -> int:
        return min(self.schedule.batch_size, items)

    def _randomness(self, name: str, step: int) -> Randomness:
        generator = torch.Generator().manual_seed(seed_of(self.material.seed, SEEDS[name], step))
        return Randomness(generator, total=self.learner.streams[name], device=self.setting.device)


def cosine(features: Tensor, proxies: Tensor) -> Tensor:
    """(m, D), (C, D) -> (m, C) logits."""
    found: Any = SCALE * F.normalize(features, dim=1) @ F.normalize(proxies, dim=1).T
    return found  # type: ignore[no-any-return]
