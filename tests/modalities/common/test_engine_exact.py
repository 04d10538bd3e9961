"""Trainings by the engine are, to the last bit, what loops give that are written out here."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modalities.base import Objective, Randomness
from modalities.common.learners.few_shot_training import Trainer, cosine
from modalities.common.measuring.finetune import Classifier, FineTuning, Recipe, batches
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import FewLabels, problem, seed_of
from modalities.common.steps.optim import AdamW, Optimizer
from modalities.common.steps.optim import rate as warm
from modalities.image.network.factory import build
from modalities.image.objectives.rotation import Rotation
from modalities.shape.measuring.joint import Joint
from modalities.shape.measuring.segmentation import Segmenter, fit
from modalities.shape.network.encoder import build as build_shape
from modalities.shape.network.views import some, taken
from modalities.shape.objectives.convexity import Convexity
from modalities.shape.tasks.parts import catalogue, with_parts
from tests.modalities.common.test_few_shot import ENCODER, fresh, material, schedule, setting, world
from tests.modalities.shape.test_shape_parts import TINY, settings, split

pytestmark = pytest.mark.parametrize("precision", ["fp32", "bf16"])


def steps(
    optimizer: Optimizer, gradient: Iterator[Any], rate: Callable[[int], float],
    clip: float | None = None,
) -> Iterator[int]:  # fmt: skip
    """The number of each step once it is done; `gradient` adds one up each time it is asked."""
    for step, _ in enumerate(gradient):
        optimizer.lr = 0.01 * rate(step)
        if clip:
            nn.utils.clip_grad_norm_(optimizer.params, clip)
        optimizer.step()
        yield step + 1
        optimizer.zero_grad()


def autocast(precision: str) -> Any:
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")


def cosine_rate(of: int) -> Callable[[int], float]:
    return lambda step: (
        min(1.0, (step + 1) / (0.1 * of)) * 0.5 * (1 + math.cos(math.pi * step / of))
    )


def drawn(name: str, total: int, *more: int, seed: int = 5) -> Randomness:
    generator = torch.Generator().manual_seed(seed_of(seed, name, *more))
    return Randomness(generator, total=total)


def pictures(precision: str) -> Setting:
    return replace(setting(), precision=precision)


def same(model: nn.Module, other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


def test_fine_tuning(precision: str) -> None:
    how, recipe = pictures(precision), Recipe([0.01], 1, 7, 7, 16, 0.01, 0.1, 3, 3)
    whole = problem({**world(), "val": world()["test"]})
    train, val = whole.train.part(np.arange(0, 48, 4)), whole.val.part(np.arange(10, 60, 7))
    tuned = FineTuning(lambda: build("small", **ENCODER), recipe, how, None)
    model, trial, _ = tuned.trained(FewLabels(train, val, 6, 2, 0, 5), lambda _: None)

    torch.manual_seed(seed_of(5, "weights"))
    other = how.put(Classifier(build("small", **ENCODER), 6, None))

    def gradient() -> Iterator[None]:
        rng = drawn("augmentation", 12)
        for at in batches(12, 12, 7, seed_of(5, "order")):
            other.train()
            pick = train.part(at)
            x = how.augment(how.batch(pick.items, pick.at), rng)
            with autocast(precision):
                logits = other(x)
            label = torch.from_numpy(pick.labels)
            yield F.cross_entropy(logits, label, label_smoothing=0.1).backward()  # type: ignore

    for step in steps(AdamW(other.parameters(), 0.01, 0.01), gradient(), cosine_rate(7)):
        if step in (3, 5, 7):
            how.outputs(other, val)
        if step == trial.step:
            break
    assert trial.step > 0
    assert same(model, other.state_dict())


@pytest.mark.parametrize("head", ["prototypical", "cosine"])
def test_few_shot_training(precision: str, head: Any) -> None:
    """In bf16, too: the two losses' gradients of a weight add up in float32."""
    how, made = pictures(precision), material(world(), pool=12)
    Trainer(encoder := fresh(), Rotation, 0.3, made, schedule(steps=5, head=head), how).train()

    other = fresh()
    torch.manual_seed(seed_of(5, "heads"))
    pretext = how.put(Rotation(other))
    proxies = nn.Parameter(torch.randn(3, other.dim) * 0.01)

    def gradient() -> Iterator[None]:
        for step, (at, index) in enumerate(few_shot_places(made.base.labels, head)):
            x = how.augment(how.batch(made.base.items, made.base.at[at]), drawn("sup", 18, step))
            with autocast(precision):
                found = other(x)
            label = torch.from_numpy(made.base.labels[at])
            loss = 0.7 * few_shot_loss(found.float(), label, proxies, head)
            batch = {"items": how.batch(made.base.items, made.pool[index]),
                     "index": torch.from_numpy(index)}  # fmt: skip
            views = pretext.views(batch, drawn("ssl", 18, step))  # type: ignore[operator]
            with autocast(precision):
                own = pretext(views).loss
            yield (loss + 0.3 * own).backward()

    optimizer = AdamW([*pretext.parameters(), proxies], 0.01, 0.0)
    assert list(steps(optimizer, gradient(), lambda step: warm(step, 5, 0.1)))[-1] == 5
    assert same(encoder, other.state_dict())


def few_shot_places(labels: np.ndarray, head: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of labelled items and of the pool, for each of five steps."""
    sup, ssl = (np.random.default_rng(seed_of(5, name)) for name in ("sup", "ssl"))
    kinds = [np.flatnonzero(labels == c) for c in range(3)]
    for _ in range(5):
        if head == "cosine":
            at = np.sort(sup.choice(24, 18, replace=False))
        else:
            at = np.stack([sup.choice(kind, 6, replace=False) for kind in kinds]).ravel()
        yield at, ssl.choice(36, 18, replace=False)


def few_shot_loss(found: Tensor, label: Tensor, proxies: Tensor, head: str) -> Tensor:
    if head == "cosine":
        return F.cross_entropy(cosine(found, proxies), label)
    episode = found.view(3, 6, -1)
    prototypes, queries = episode[:, :3].mean(1), episode[:, 3:].flatten(0, 1)
    target = torch.arange(3).repeat_interleave(3)
    return F.cross_entropy(-torch.cdist(queries, prototypes).square(), target)


def test_joint_training_of_parts(precision: str) -> None:
    """A backward pass for each loss: after a sum a weight that is used twice has other bits."""
    train = split(16, 0)
    whole = with_parts(problem({"train": train, "val": split(6, 1), "test": split(8, 2)}))
    free = train.items.array[..., 6].astype(np.int32)

    def pieces(encoder: Any) -> Objective:
        return Convexity(encoder, points=64, turn="none")

    joint = Joint(train.items, free, 10.0, 4, pieces)
    how = replace(settings(catalogue(whole), joint=joint), precision=precision)

    def segmenter() -> Segmenter:
        torch.manual_seed(0)
        return Segmenter(build_shape("small", **TINY), how.catalogue, frozen=False)

    trial = fit(segmenter(), whole.train, whole.val, how, 0.01, 3)
    model = segmenter()
    beside = pieces(model.encoder)

    def gradient() -> Iterator[None]:
        one, two = (drawn(name, 4, seed=3) for name in ("augmentation", "joint views"))
        order = batches(len(whole.train), 4, 8, seed_of(3, "order"))
        for at, other in zip(order, batches(16, 4, 8, seed_of(3, "joint")), strict=True):
            items, category, classes = how.batch(whole.train, at)
            which = some(one, items.shape[1], 64)
            cloud = how.change(taken(items, which), one)
            with autocast(precision):
                logits = model.train()(cloud, category).flatten(0, 1)
            label = classes.gather(1, which).flatten()
            F.cross_entropy(logits, label, ignore_index=-1).backward()  # type: ignore
            found = (torch.from_numpy(each[np.sort(other)]) for each in (train.items.array, free))
            views = beside.views(dict(zip(("items", "free_label"), found, strict=True)), two)
            with autocast(precision):
                loss = beside(views).loss
            yield (10.0 * loss).backward()

    optimizer = AdamW([*model.parameters(), *beside.head.parameters()], 0.01, 0.0)  # type: ignore
    assert trial.step in steps(optimizer, gradient(), cosine_rate(8), clip=1.0)
    assert same(model, trial.weights)
