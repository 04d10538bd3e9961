"""Contrast with negatives from anywhere, and BYOL without any: formulas, order, resume."""

import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from modalities.base import Batch, Objective, Progress, Step
from modalities.common.pretraining.byol import momentum_at, regression
from modalities.common.pretraining.contrast import find, unit
from modalities.common.pretraining.negatives import EndToEnd, MemoryBank, Queue
from modalities.common.steps.optim import optimizer
from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.loop import Plan, train
from modalities.common.training.monitor import Silence, diagnose, health
from modalities.image.network import prepare
from modalities.image.objectives.byol import BYOL
from modalities.image.objectives.contrastive import Contrastive
from modalities.image.objectives.mae import MAE
from modalities.image.objectives.moco_v1 import MoCoV1
from modalities.image.objectives.moco_v2 import MoCoV2
from modalities.items import Arrays
from tasks.settings.options import schema
from tests.modalities.test_objectives import ITEMS, SMALL, encoder, randomness, raw, run

torch.set_num_threads(1)
SOURCES = ("batch", "memory_bank", "queue")


def make(kind: type[Objective], **options: Any) -> Any:
    torch.manual_seed(0)
    known = schema(Path(inspect.getfile(kind)), "Objective").model_fields
    small = {key: value for key, value in SMALL.items() if key in known}
    takes = inspect.signature(kind).parameters["encoder"].annotation
    made = kind(encoder("image", takes), **(small | options))  # type: ignore[call-arg]
    made.begin(ITEMS)
    return made


def expected(query: Tensor, keys: list[Tensor], negatives: list[Tensor], tau: float) -> float:
    """-log exp(q k / tau) / (that + the sum over the negatives), query by query, in float64."""

    def direction(x: Tensor) -> np.ndarray[Any, Any]:
        found = x.detach().double().numpy()
        return found / np.linalg.norm(found, axis=-1, keepdims=True)

    losses = []
    for i, (key, others) in enumerate(zip(keys, negatives, strict=True)):
        q = direction(query[i])
        positive = np.exp(q @ direction(key) / tau)
        losses.append(-np.log(positive / (positive + np.exp(direction(others) @ q / tau).sum())))
    return float(np.mean(losses))


def others(table: Tensor, own: int) -> Tensor:
    return torch.cat([table[:own], table[own + 1 :]])


def test_find_is_info_nce_among_the_candidates() -> None:
    g = torch.Generator().manual_seed(0)
    query, table = torch.randn(3, 6, generator=g), unit(torch.randn(7, 6, generator=g))
    which = torch.tensor([4, 0, 6])
    negatives = [others(table, int(w)) for w in which]
    reference = expected(query, list(table[which]), negatives, 0.3)
    assert float(find(query, table, which, 0.3)) == pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_gives_the_formula_with_its_negatives(source: str) -> None:
    objective = make(Contrastive, negatives=source, temperature=0.3)
    views = objective.views(raw("image"), randomness())
    loss = float(objective(views).loss.detach())
    leader = nn.Sequential(objective.encoder, objective.head)
    negatives = objective.negatives
    with torch.no_grad():
        if source == "batch":
            query, key = leader(torch.cat([views["query"], views["key"]])).chunk(2)
            keys, rest = list(key), [others(key, i) for i in range(ITEMS)]
        elif source == "memory_bank":
            assert "key" not in views
            query, table = leader(views["query"]), negatives.features
            keys, rest = list(table), [others(table, i) for i in range(ITEMS)]
        else:
            query, shuffle = leader(views["query"]), views["shuffle"]
            keys = list(negatives.follower(views["key"][shuffle])[shuffle.argsort()])
            rest = [negatives.keys] * ITEMS
    assert loss == pytest.approx(expected(query, keys, rest, 0.3), rel=1e-4)


def test_keys_of_the_batch_are_trained_and_those_of_bank_and_queue_are_not() -> None:
    for source, kind in zip(SOURCES, (EndToEnd, MemoryBank, Queue), strict=True):
        objective = make(Contrastive, negatives=source)
        assert isinstance(objective.negatives, kind)
        trained = [name for name, p in objective.named_parameters() if p.requires_grad]
        assert not any(name.startswith("negatives.") for name in trained)
    end_to_end = make(Contrastive).eval()
    views = end_to_end.views(raw("image"), randomness())
    views["key"].requires_grad_()
    end_to_end(views).loss.backward()
    assert views["key"].grad is not None
    assert views["key"].grad.abs().sum() > 0


def test_the_bank_moves_after_the_step_and_only_where_it_was_looked_at() -> None:
    objective = make(Contrastive, negatives="memory_bank", bank_momentum=0.7)
    bank = objective.negatives
    assert bank.features.shape == (ITEMS, 128)
    torch.testing.assert_close(bank.features.norm(dim=1), torch.ones(ITEMS))
    rows = torch.tensor([5, 3, 17, 30])
    batch = {"items": raw("image")["items"][rows], "index": rows}
    rng = randomness(positions=range(4))
    views, before = objective.views(batch, rng), bank.features.clone()
    objective(views)
    assert torch.equal(bank.features, before)  # not yet
    objective.after_step(Progress(1, 2))
    with torch.no_grad():
        seen = objective.head(objective.encoder(views["query"])).double().numpy()
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    mixed = 0.7 * before[rows].double().numpy() + 0.3 * seen
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    np.testing.assert_allclose(bank.features[rows].numpy(), mixed, rtol=1e-4, atol=1e-6)
    rest = [i for i in range(ITEMS) if i not in rows.tolist()]
    assert torch.equal(bank.features[rest], before[rest])


@pytest.mark.parametrize("source", SOURCES)
def test_each_source_learns_a_tiny_set(source: str) -> None:
    objective, batch = make(Contrastive, negatives=source), raw("image")
    before = run(objective, batch, range(8), lr=0.0)[-4:]
    after = run(objective, batch, range(8, 68), lr=3e-3)[-10:]
    assert sum(after) / 10 < 0.85 * sum(before) / 4
    assert diagnose(health(objective.encoder, prepare(batch["items"])), 1.0) is None


def test_moco_v1_is_v2_but_for_head_temperature_and_augmentation() -> None:
    torch.manual_seed(0)
    first, second = MoCoV1(encoder("image")), MoCoV2(encoder("image"))
    assert isinstance(first.head, nn.Linear)
    assert [type(layer) for layer in second.head] == [nn.Linear, nn.ReLU, nn.Linear]  # type: ignore[attr-defined]
    assert (first.temperature, second.temperature) == (0.07, 0.2)
    for objective in (first, second):
        assert isinstance(objective.negatives, Queue)
        assert objective.negatives.keys.shape == (65536, 128)
        assert objective.negatives.momentum == 0.999
    v1: Any = first.augmentation
    v2: Any = second.augmentation
    assert (v1.blur, v1.hue, v1.jitter, v1.grey, v1.flip) == (0.0, 0.4, 1.0, 0.2, 0.5)
    assert (v2.blur, v2.hue, v2.jitter, v2.grey, v2.flip) == (0.5, 0.1, 0.8, 0.2, 0.5)
    assert v1.scale == v2.scale == (0.2, 1.0)
    assert (v1.brightness, v1.contrast, v1.saturation) == (0.4, 0.4, 0.4)


def test_byol_regresses_unit_vectors() -> None:
    g = torch.Generator().manual_seed(0)
    p, z = (torch.randn(5, 7, generator=g) for _ in range(2))
    a, b = p.double().numpy(), z.double().numpy()
    cos = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert float(regression(p, z)) == pytest.approx(np.mean(2 - 2 * cos), rel=1e-5)
    assert float(regression(3 * p, 0.1 * z)) == pytest.approx(np.mean(2 - 2 * cos), rel=1e-5)


def test_byol_is_symmetric_and_stops_the_gradient_at_the_target() -> None:
    objective = make(BYOL)
    views = objective.views(raw("image"), randomness())
    swapped = {"first": views["second"], "second": views["first"]}
    loss = objective(views).loss
    torch.testing.assert_close(loss, objective(swapped).loss)
    assert not torch.equal(views["first"], views["second"])
    with torch.no_grad():
        online = [
            objective.predictor(objective.projector(objective.encoder(views[name])))
            for name in ("first", "second")
        ]
        targets = [objective.target(views[name]) for name in ("second", "first")]
    cos = [
        nn.functional.cosine_similarity(o, t).mean() for o, t in zip(online, targets, strict=True)
    ]
    torch.testing.assert_close(loss.detach(), (2 - 2 * cos[0]) + (2 - 2 * cos[1]))
    loss.backward()
    assert all(p.grad is None for p in objective.target.parameters())
    for part in (objective.encoder, objective.projector, objective.predictor):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_byol_s_momentum_rises_to_1_by_a_cosine() -> None:
    assert momentum_at(0, 100, 0.996) == pytest.approx(0.996, abs=1e-12)
    assert momentum_at(50, 100, 0.996) == pytest.approx(0.998, abs=1e-12)
    assert momentum_at(100, 100, 0.996) == 1
    for k in range(101):
        reference = 1 - 0.004 * (math.cos(math.pi * k / 100) + 1) / 2
        assert momentum_at(k, 100, 0.996) == pytest.approx(reference, abs=1e-12)


@pytest.mark.parametrize(("step", "tau"), [(1, 0.9), (6, 0.95), (10, 1 - 0.05 * (1 - 0.95106))])
def test_byol_s_target_moves_after_the_step(step: int, tau: float) -> None:
    objective = make(BYOL, momentum=0.9)
    update = optimizer("sgd", objective.parameters(), 0.1, 0.0)
    before = [p.clone() for p in objective.target.parameters()]
    objective(objective.views(raw("image"), randomness())).loss.backward()
    update.step()
    after_forward = list(objective.target.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after_forward, strict=True))
    buffers = [b.clone() for b in objective.target.buffers()]
    objective.after_step(Progress(step, 10))
    online = [*objective.encoder.parameters(), *objective.projector.parameters()]  # as updated
    for old, leader, now in zip(before, online, objective.target.parameters(), strict=True):
        torch.testing.assert_close(now, tau * old + (1 - tau) * leader, rtol=1e-4, atol=1e-6)
    assert all(
        torch.equal(old, now) for old, now in zip(buffers, objective.target.buffers(), strict=True)
    )


@pytest.mark.parametrize("kind", [BYOL, MAE])
def test_biases_norms_and_tokens_are_not_decayed(kind: type[Objective]) -> None:
    objective = make(kind)
    decayed = []
    update = optimizer("sgd", objective.parameters(), 1.0, 0.5)
    with torch.no_grad():
        for p in update.params:
            p.fill_(1.0)
            p.grad = torch.zeros_like(p)
    update.step()
    for owner, module in objective.named_modules():
        for name, p in module.named_parameters(recurse=False):
            if p.requires_grad and bool((p != 1).any()):
                decayed.append(f"{owner}.{name}")
                assert name == "weight", decayed[-1]
                assert isinstance(module, nn.Linear | nn.Conv2d), decayed[-1]
    assert len(decayed) > 4


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Contrastive, {"negatives": "memory_bank"}), (Contrastive, {"negatives": "queue"}),
        (Contrastive, {}), (MoCoV1, {}), (BYOL, {}), (MAE, {}),
    ],
)  # fmt: skip
def test_a_killed_run_ends_bit_identical(
    tmp_path: Path, kind: type[Objective], options: dict[str, Any]
) -> None:
    """After 5 of 8 steps, going on from the checkpoint after 3; the bank is as long as the data."""
    items, probe = Arrays(raw("image")["items"].numpy()), prepare(raw("image")["items"])
    plan = Plan(epochs=2, batch_size=8, precision="bf16")

    def go(objective: Objective, folder: str) -> Objective:
        checkpoints = Checkpoints("stage", folder, tmp_path)
        train(objective, items, plan, Silence(), probe=probe, checkpoints=checkpoints, every=3)
        return objective

    whole, halted = go(make(kind, **options), "a"), make(kind, **options)
    move = halted.after_step

    def killed(progress: Progress) -> None:
        move(progress)
        if progress.step == 5:
            raise KeyboardInterrupt

    halted.after_step = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        go(halted, "b")
    resumed = go(make(kind, **options), "b").state_dict()
    assert resumed.keys() == whole.state_dict().keys()
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed[name]), name


def test_an_objective_without_a_place_per_item_need_not_begin() -> None:
    class Plain(Objective):
        def forward(self, batch: Batch) -> Step:
            return Step(batch["x"].sum())

    Plain().begin(10)
