"""Cutting shapes into their parts after training on a few that are cut already.

A shape's category is told, as ShapeNetPart's protocol has it: only its own parts compete.

Shapes: n shapes, B batch, P points, Q of them trained on, D feature width, G classes (all parts of
all categories), C categories.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.learners.contract import joined
from modalities.common.measuring.finetune import Recipe, batches, rate_of
from modalities.common.measuring.problem import Subset, seed_of
from modalities.common.steps.engine import Engine
from modalities.common.steps.optim import AdamW
from modalities.common.steps.stopping import Trial, weights
from modalities.shape.measuring.joint import Joint
from modalities.shape.measuring.miou import Catalogue, means, shape_iou
from modalities.shape.measuring.predicted import Example
from modalities.shape.network.encoder import Mix, ShapeEncoder
from modalities.shape.network.views import Change, prepare, some, taken

EVAL_BATCH = 16


class Segmenter(nn.Module):
    """An encoder and a small head for each point; (B, P, 6), (B,) -> (B, P, G) float32."""

    def __init__(self, encoder: ShapeEncoder, catalogue: Catalogue, *, frozen: bool) -> None:
        super().__init__()
        self.encoder, self.frozen = encoder, frozen
        self.head = nn.Sequential(Mix(encoder.dim + 6, 128), nn.Linear(128, catalogue.size))
        self.register_buffer("allowed", torch.from_numpy(catalogue.allowed()))
        self.allowed: Tensor  # (C, G)

    def train(self, mode: bool = True) -> "Segmenter":
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def learnable(self) -> list[nn.Parameter]:
        return list((self.head if self.frozen else self).parameters())

    def forward(self, cloud: Tensor, category: Tensor) -> Tensor:
        with torch.no_grad() if self.frozen else nullcontext():
            feature = self.encoder.points(cloud)
        logits = self.head(torch.cat([feature, cloud.to(feature.dtype)], -1)).float()
        found: Tensor = logits.masked_fill(~self.allowed[category][:, None], -math.inf)
        return found


@dataclass(frozen=True)
class Setting:
    """What is the same for every training."""

    recipe: Recipe
    catalogue: Catalogue
    points: int  # Q
    change: Change
    precision: str
    device: str
    joint: Joint | None = None

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def batch(self, subset: Subset, at: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Items (B, P, 7), categories (B,), classes (B, P) of the picked ones at these places."""
        items = subset.part(at).raw()
        codes = subset.labels[at]
        classes = np.stack([
            self.catalogue.classes(item[:, 6].astype(np.int64), code)
            for item, code in zip(items, codes, strict=True)
        ])  # fmt: skip
        found = (torch.from_numpy(each) for each in (items, codes, classes))
        one, two, three = (each.to(self.device) for each in found)
        return one, two, three


class PartLabels(Objective):
    """Cross-entropy of the parts of some points of each shape, changed at random."""

    def __init__(self, model: Segmenter, setting: Setting) -> None:
        super().__init__()
        self.encoder = model.encoder  # first: how the model trains it is the last word
        self.model = model
        self.points, self.change = setting.points, setting.change

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        items = batch["items"]
        which = some(rng, items.shape[1], self.points)
        cloud = self.change(taken(items, which), rng)
        return {"cloud": cloud, "category": batch["label"], "part": batch["part"].gather(1, which)}

    def forward(self, batch: Batch) -> Step:
        logits = self.model(batch["cloud"], batch["category"]).flatten(0, 1)
        return Step(F.cross_entropy(logits, batch["part"].flatten(), ignore_index=-1))


def fit(
    model: Segmenter, train: Subset, val: Subset, setting: Setting, rate: float, seed: int
) -> Trial:
    """Train in place; the checkpoint that validation prefers."""
    recipe = setting.recipe
    steps, size = recipe.steps(len(train)), recipe.batch(len(train))
    labels = PartLabels(model, setting)
    objective, learnable, material = _streams(labels, train, setting, (steps, size, seed))

    def look(step: int) -> Trial:
        score = category_mean(model, val, setting) if len(val) else None
        return Trial(weights(model), score, step)

    stopping = recipe.stopping(look, Trial({}, -1.0 if len(val) else None, -1), steps)
    Engine(
        objective, AdamW(learnable, rate, recipe.weight_decay), steps, rate_of(rate),
        device=setting.device, precision=setting.precision, clip=1.0,
    ).train(material, stopping)  # fmt: skip
    return stopping.best


def _streams(
    labels: PartLabels, train: Subset, setting: Setting, how: tuple[int, int, int]
) -> tuple[Objective, list[nn.Parameter], Iterable[list[Batch]]]:
    """What is trained, which of its weights, and on what; `how`: steps, shapes of each, seed."""
    _, size, seed = how
    if setting.joint is None:
        views = _labelled(labels, train, setting, how)
        return labels, labels.model.learnable(), ([each] for each in views)
    learner = setting.joint.beside(labels, size).to(setting.device)
    # Each loss adds its gradient up by itself, as it always did: in one pass a weight that is used
    # twice would get other last digits.
    both = (
        [joined({"labelled": one}), joined({"unlabelled": two})]
        for one, two in zip(
            _labelled(learner, train, setting, how),
            setting.joint.views(learner, setting.device, seed),
            strict=False,  # pieces have no end
        )
    )
    return learner, list(learner.parameters()), both


def _labelled(
    objective: Objective, train: Subset, setting: Setting, how: tuple[int, int, int]
) -> Iterator[Batch]:
    """Views of the shapes whose parts are told."""
    steps, size, seed = how
    generator = torch.Generator().manual_seed(seed_of(seed, "augmentation"))
    rng = Randomness(generator, total=size, device=setting.device)
    for at in batches(len(train), size, steps, seed_of(seed, "order")):
        items, category, classes = setting.batch(train, at)
        yield objective.views({"items": items, "label": category, "part": classes}, rng)


def predict(model: Segmenter, subset: Subset, setting: Setting) -> Iterator[tuple[int, np.ndarray]]:
    """For each place in the subset: the class of every point, (P,) int64.

    Points are seen in shares of about as many as were trained on: neighbourhoods are as dense then.
    """
    model.eval()
    for start in range(0, len(subset), EVAL_BATCH):
        at = np.arange(start, min(start + EVAL_BATCH, len(subset)))
        items, category, _ = setting.batch(subset, at)
        found = np.zeros(items.shape[:2], np.int64)
        shares = max(1, round(items.shape[1] / setting.points))
        with torch.inference_mode(), setting.autocast():
            for share in range(shares):
                seen = model(prepare(items[:, share::shares]), category)
                found[:, share::shares] = seen.argmax(-1).cpu().numpy()
        yield from zip(at.tolist(), found, strict=True)


def scores(model: Segmenter, subset: Subset, setting: Setting) -> np.ndarray:
    """The mIoU of every shape of the subset, (m,)."""
    return scored(predict(model, subset, setting), subset, setting.catalogue)


def scored(
    seen: Iterable[tuple[int, np.ndarray]], subset: Subset, catalogue: Catalogue
) -> np.ndarray:
    """The mIoU of every shape of the subset, (m,), from what `predict` saw."""
    found = np.zeros(len(subset))
    for place, classes in seen:
        _, true, own = _truth(place, subset, catalogue)
        found[place] = shape_iou(classes, true, own)
    return found


def examples(
    seen: Iterable[tuple[int, np.ndarray]], subset: Subset, catalogue: Catalogue, each: int
) -> list[Example]:
    """The first shapes of each category in the subset, by category, with what `predict` saw."""
    first = [np.flatnonzero(subset.labels == code)[:each] for code in np.unique(subset.labels)]
    classes, found = dict(seen), []
    for place in (int(at) for places in first for at in places):
        item, true, own = _truth(place, subset, catalogue)
        known = np.where(true >= 0, true - own[0], -1)
        found.append(Example(item, known, classes[place] - own[0]))
    return found


def _truth(
    place: int, subset: Subset, catalogue: Catalogue
) -> tuple[np.ndarray, np.ndarray, range]:
    """The item (P, 7) at a place of the subset, its classes (P,), and those of its category."""
    category = int(subset.labels[place])
    (item,) = subset.part(np.array([place])).raw()
    start = catalogue.start(category)
    own = range(start, start + len(catalogue.parts[category]))
    return item, catalogue.classes(item[:, 6].astype(np.int64), category), own


def category_mean(model: Segmenter, subset: Subset, setting: Setting) -> float:
    return means(scores(model, subset, setting), subset.labels)[1]
