"""Supervised training with a pretext task beside it: L = (1 - w) L_sup + w L_ssl.

Su, Maji, Hariharan, "When Does Self-supervision Improve Few-shot Learning?", ECCV 2020,
arXiv:1910.03560.

Shapes: N items of the train split, n labelled ones, C classes, D feature width, B batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modalities.base import Batch, Encoder, Objective, Progress, Randomness
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Pick, seed_of
from modalities.common.steps.optim import AdamW, rate

SCALE = 10.0  # of the cosine head's logits: arXiv:1904.04232
WARMUP = 0.1  # share of the steps
Auxiliary = Callable[[Encoder], Objective]  # the pretext task on this encoder
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


@dataclass(frozen=True)
class Material:
    """What training may see: labelled items, and positions for the pretext task, these included."""

    base: Pick  # labels 0 to C - 1
    pool: np.ndarray
    seed: int


class Trainer:
    """Trains an encoder in place, for one w."""

    def __init__(
        self, encoder: Encoder, auxiliary: Auxiliary, weight: float, material: Material,
        schedule: Schedule, setting: Setting,
    ) -> None:  # fmt: skip
        self.encoder, self.weight, self.material = encoder, weight, material
        self.schedule, self.setting = schedule, setting
        self.classes = int(material.base.labels.max()) + 1
        torch.manual_seed(seed_of(material.seed, "heads"))
        self.pretext = auxiliary(encoder) if weight else None
        self.proxies = nn.Parameter(torch.randn(self.classes, encoder.dim) * 0.01)  # (C, D)
        parts: list[nn.Module] = [self.pretext or encoder]
        for part in parts:
            setting.put(part)
        self.proxies.data = self.proxies.data.to(setting.device)
        params = [*parts[0].parameters(), *([self.proxies] if schedule.head == "cosine" else [])]
        self.optimizer = AdamW(params, schedule.learning_rate, schedule.weight_decay)
        # One stream for each loss: with another w the labelled batches stay the same.
        self.streams = {
            name: np.random.default_rng(seed_of(material.seed, name)) for name in ("sup", "ssl")
        }

    def train(self) -> None:
        """All steps."""
        steps = self.schedule.steps
        if self.pretext is not None:
            self.pretext.begin(len(self.material.pool))
        for step in range(steps):
            self.encoder.train()
            self.optimizer.lr = self.schedule.learning_rate * rate(step, steps, WARMUP)
            loss = torch.zeros((), device=self.setting.device)
            if self.weight < 1:
                loss = loss + (1 - self.weight) * self.supervised(step)
            if self.pretext is not None:
                loss = loss + self.weight * self._self_supervised(self.pretext, step)
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            if self.pretext is not None:
                self.pretext.after_step(Progress(step + 1, steps))

    def supervised(self, step: int) -> Tensor:
        """L_sup of one batch: an episode of all classes, or a classifier by cosine."""
        base, rng = self.material.base, self.streams["sup"]
        if self.schedule.head == "cosine":
            size = min(self.schedule.batch_size, len(base))
            at = np.sort(rng.choice(len(base), size, replace=False))
            target = torch.from_numpy(base.labels[at]).to(self.setting.device)
            return F.cross_entropy(cosine(self._features(at, step), self.proxies), target)
        per = max(2, self.schedule.batch_size // self.classes)
        places = [np.flatnonzero(base.labels == c) for c in range(self.classes)]
        at = np.stack([rng.choice(p, per, replace=len(p) < per) for p in places])  # (C, per)
        found = self._features(at.ravel(), step).view(self.classes, per, -1)
        shots = min(self.schedule.shots, per - 1)
        prototypes, queries = found[:, :shots].mean(1), found[:, shots:].flatten(0, 1)
        target = torch.arange(self.classes, device=found.device).repeat_interleave(per - shots)
        return F.cross_entropy(-torch.cdist(queries, prototypes).square(), target)

    def _features(self, at: np.ndarray, step: int) -> Tensor:
        """Of labelled items by their place among them, augmented; (m, D) float32."""
        base = self.material.base
        raw = self.setting.batch(base.items, base.at[at])
        x = self.setting.augment(raw, self._randomness("sup", step, len(at)))
        with self.setting.autocast():
            found: Tensor = self.encoder(x)
        return found.float()

    def _self_supervised(self, pretext: Objective, step: int) -> Tensor:
        pool, rng = self.material.pool, self.streams["ssl"]
        size = min(self.schedule.batch_size, len(pool))
        index = rng.choice(len(pool), size, replace=False)
        batch: Batch = {
            **self.setting.columns(self.material.base.items, pool[index]),
            "index": torch.from_numpy(index).to(self.setting.device),
        }
        with torch.no_grad():
            views = pretext.views(batch, self._randomness("ssl", step, size))
        with self.setting.autocast():
            return pretext(views).loss  # type: ignore[no-any-return]

    def _randomness(self, loss: str, step: int, size: int) -> Randomness:
        generator = torch.Generator().manual_seed(seed_of(self.material.seed, loss, step))
        return Randomness(generator, total=size, device=self.setting.device)


def cosine(features: Tensor, proxies: Tensor) -> Tensor:
    """(m, D), (C, D) -> (m, C) logits."""
    found: Any = SCALE * F.normalize(features, dim=1) @ F.normalize(proxies, dim=1).T
    return found  # type: ignore[no-any-return]
