"""The loop: what is watched and said while it runs, what is refused, how it starts."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from training_world import make, params

from modalities.base import Batch, Encoder, Objective, Randomness, Step, UserError
from modalities.common.steps import optim
from modalities.common.steps.deterministic import deterministically
from modalities.common.training.batches import Order, ahead, loader
from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.loop import Plan, train
from modalities.common.training.monitor import (
    Clock,
    Silence,
    diagnose,
    effective_rank,
    spacing,
    spread,
)
from modalities.items import Arrays
from tasks.pretrain import pretrain

ROOT = Path(__file__).resolve().parents[3]
torch.set_num_threads(1)


class Said(Silence):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.lines: list[str] = []
        self.texts: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def log(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, fraction: float, text: str = "") -> None:
        self.texts.append(text)


class Line(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.dim = 8
        self.layer = nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found


class Toy(Objective):
    """Predict the sum of the items; with `bad`, the loss is not a number from that step on."""

    def __init__(self, *, bad: int = 10**9, collapsed: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.head, self.drop = Line(), nn.Linear(8, 1), nn.Dropout(0.5)
        self.bad, self.collapsed, self.seen = bad, collapsed, 0

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        x = batch["items"].float() / 255 + 0.1 * rng.normal(4)
        return {"x": x, "y": batch["items"].float().mean(1, keepdim=True) / 255}

    def forward(self, batch: Batch) -> Step:
        self.seen += 1
        if self.collapsed:
            with torch.no_grad():
                self.encoder.layer.weight.zero_()
        found = self.head(self.drop(self.encoder(batch["x"])))
        loss = (found - batch["y"]).square().mean()
        return Step(loss * float("nan") if self.seen >= self.bad else loss, {"twice": 2 * loss})


ITEMS = Arrays(np.random.default_rng(0).integers(0, 256, (40, 4), dtype=np.uint8))
PROBE = torch.rand(16, 4, generator=torch.Generator().manual_seed(0))


def run(folder: Path, objective: Objective, said: Said | None = None, **values: Any) -> Any:
    how = {key: values.pop(key) for key in ("workers", "every") if key in values}
    plan = Plan(**{"epochs": 5, "batch_size": 8, "precision": "fp32", **values})
    checkpoints = Checkpoints("toy", "print", folder)
    return train(
        objective, ITEMS, plan, said or Said(), probe=PROBE, checkpoints=checkpoints, **how
    )


def weights(objective: Objective) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in objective.state_dict().items()}


def same(one: Objective, other: Objective) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[key], b[key]) for key in a)


def test_any_number_of_workers_gives_the_same(tmp_path: Path) -> None:
    made = [Toy(), Toy()]
    curves = [run(tmp_path / str(n), made[n], workers=n) for n in (0, 1)]
    assert same(*made)
    assert curves[0] == curves[1]


def test_reading_ahead_changes_nothing_and_hides_no_mistake() -> None:
    order = Order(40, 8, 0, range(3, 25), (0, 1))
    plain = list(loader(ITEMS, order, workers=0))
    early = list(ahead(iter(loader(ITEMS, order, workers=0))))
    assert len(plain) == len(early) == 22
    for one, other in zip(plain, early, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)

    def broken() -> Iterator[Batch]:
        yield plain[0]
        raise OSError("the disk is gone")

    seen = ahead(broken())
    assert next(seen) is plain[0]
    with pytest.raises(OSError, match="the disk is gone"):
        next(seen)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_goes_on_from_a_checkpoint(tmp_path: Path, optimizer: str, precision: str) -> None:
    values = {"optimizer": optimizer, "precision": precision, "every": 3}
    whole, halted, resumed = Toy(), Toy(bad=14), Toy()
    curves = run(tmp_path / "a", whole, **values)
    with pytest.raises(UserError, match="step 14 of 25"):
        run(tmp_path / "b", halted, **values)
    said = Said()
    assert run(tmp_path / "b", resumed, said, **values) == curves
    assert said.lines == ["going on from step 12 of 25"]
    assert same(whole, resumed)


def test_a_loss_that_is_not_a_number_is_named_and_never_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss became nan at step 7 of 25; the last good"):
        run(tmp_path, Toy(bad=7), every=1)
    found = Checkpoints("toy", "print", tmp_path).load()
    assert found is not None
    assert found[0] == 6
    assert all(v.isfinite().all() for v in found[1]["objective"].values())


@pytest.mark.parametrize(
    ("items", "probe", "steps", "point", "every"),
    [
        (20 * 8, 8, 20, 1, 5),  # a short run: every fifth point
        (297 * 16, 150, 297, 2, 48),  # 150 shapes: six looks
        (2_300 * 64, 512, 2_300, 20, 100),  # thousands of pictures: every fifth point
        (40 * 8, 64, 40, 1, 8),  # five looks at the least
    ],
)
def test_looks_at_the_probe_cost_little(
    items: int, probe: int, steps: int, point: int, every: int
) -> None:
    assert spacing(items, probe, steps, point) == every
    assert steps // every >= 4


def test_collapse_is_named_while_it_happens(tmp_path: Path) -> None:
    said = Said()
    curves = run(tmp_path, Toy(collapsed=True), said, learning_rate=1e-6)
    assert any("collapse" in text for text in said.warnings)
    assert curves[-1]["feature_spread"] < 0.1
    said = Said()
    run(tmp_path / "healthy", Toy(), said)
    assert not any("collapse" in text for text in said.warnings)


def test_the_live_line_says_how_it_goes(tmp_path: Path) -> None:
    said = Said()
    curves = run(tmp_path, Toy(), said)
    for part in ("loss 0.", "items/s", "wait", "feature spread", "effective rank"):
        assert part in said.texts[-1]
    assert not [text for text in said.texts if "  0 items/s" in text], "a row starts the clock anew"
    assert [row["step"] for row in curves] == list(range(1, 26))
    assert all(row["twice"] == pytest.approx(2 * row["loss"], rel=1e-5) for row in curves)


def test_waiting_for_data_is_named_once() -> None:
    said = Said()
    clock = Clock(said)
    clock.started -= 10
    clock.waited = 2.0
    clock.check()
    assert said.warnings == []
    clock.waited = 5.0
    clock.check()
    clock.check()
    assert len(said.warnings) == 1
    assert "data starvation: 50%" in said.warnings[0]


def test_a_batch_above_the_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch_size 41 is above the number of items, 40"):
        run(tmp_path, Toy(), batch_size=41)


def test_the_stage_refuses_a_batch_above_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    wanted = params({"objective": "rotation", "batch_size": 65})
    with pytest.raises(UserError, match=r"runs\.tiny\.batch_size: 65 is above .* 64"):
        pretrain(wanted, Said(), run="tiny")  # type: ignore[arg-type]
    assert not Path("models/tiny").exists()


def test_where_a_gpu_cannot_be_exact_it_says_so_and_trains_again() -> None:
    told: list[str] = []
    tries = []

    def train() -> bool:
        tries.append(torch.is_deterministic_algorithms_warn_only_enabled())
        if not tries[-1]:
            raise RuntimeError("x does not have a deterministic implementation, but you set ...")
        return torch.are_deterministic_algorithms_enabled()

    assert deterministically(train, told.append)
    assert tries == [False, True]
    assert ["x does not have" in line for line in told] == [True]
    assert not torch.are_deterministic_algorithms_enabled()

    def broken() -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        deterministically(broken, told.append)
    assert len(told) == 1


def test_every_item_once_an_epoch_and_each_process_its_share() -> None:
    whole = list(Order(10, 4, 0, range(4), (0, 1)))  # 2 steps an epoch, 2 items left out
    halves = [list(Order(10, 4, 0, range(4), (rank, 2))) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert np.array_equal(batch, np.concatenate([half[step] for half in halves]))
    assert len(set(np.concatenate(whole[:2]))) == 8
    assert not np.array_equal(whole[0], whole[2])
    assert np.array_equal(next(iter(Order(10, 4, 0, range(3, 4), (0, 1)))), whole[3])
    got = [
        batch["index"].numpy()
        for batch in loader(ITEMS, Order(10, 4, 0, range(4), (0, 1)), workers=0)
    ]
    assert np.array_equal(got, whole)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_optimisers_are_those_of_torch(name: str) -> None:
    torch.manual_seed(0)
    mine = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    its = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    its.load_state_dict(mine.state_dict())
    thick, thin = ([p for p in its.parameters() if (p.dim() > 1) == k] for k in (True, False))
    groups = [{"params": thick, "weight_decay": 0.05}, {"params": thin, "weight_decay": 0.0}]
    ours = optim.optimizer(name, mine.parameters(), 0.1, 0.05)
    theirs = (
        torch.optim.AdamW(groups, lr=0.1)
        if name == "adamw"
        else torch.optim.SGD(groups, lr=0.1, momentum=0.9)
    )
    for _ in range(5):
        x = torch.randn(8, 4)
        for module, update in ((mine, ours), (its, theirs)):
            update.zero_grad()
            (module(x).square() * torch.arange(3)).sum().backward()
            update.step()
    for one, other in zip(mine.parameters(), its.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_lars_steps_in_proportion_to_the_weights() -> None:
    layer = nn.Linear(2, 1)
    update = optim.optimizer("lars", layer.parameters(), 0.5, 0.0)
    weight, bias = layer.weight.detach().clone(), layer.bias.detach().clone()
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 4.0]]), torch.tensor([2.0])
    update.step()
    length = 0.5 * 1e-3 * weight.norm()
    torch.testing.assert_close(layer.weight, weight - length * torch.tensor([[0.6, 0.8]]))
    torch.testing.assert_close(layer.bias, bias - 0.5 * 2.0)  # thin: plain SGD


def test_the_learning_rate_rises_then_falls() -> None:
    rates = [optim.rate(step, 100, 0.1) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_health_knows_collapse_from_variety() -> None:
    g = torch.Generator().manual_seed(0)
    wide = torch.randn(512, 16, generator=g)
    assert spread(wide) == pytest.approx(1.0, abs=0.05)
    assert effective_rank(wide) == pytest.approx(16, abs=0.5)
    point = torch.ones(512, 16) + 1e-3 * wide
    line = wide[:, :1] * torch.ones(16) + 1e-3 * wide
    assert spread(point) < 0.01
    assert effective_rank(line) < 1.2
    found = {"feature_spread": spread(point), "effective_rank": 16.0}
    assert "collapse" in (diagnose(found, 0.5) or "")
    assert diagnose(found, 0.01) is None  # an untrained network looks like that
    found = {"feature_spread": 1.0, "effective_rank": effective_rank(line)}
    assert "dimensional collapse" in (diagnose(found, 0.5) or "")


@pytest.mark.slow
def test_training_starts_without_what_it_does_not_need(tmp_path: Path) -> None:
    """Each of these would cost a stage a second or more before its first step."""
    make(tmp_path)
    heavy = ("torch._dynamo", "torchvision", "sklearn", "dvc", "dvclive", "prefect", "matplotlib")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from training_world import params\nfrom tasks import pretrain\n"
        "from modalities.common.training import loop as training\n"
        "from modalities.common.training.monitor import Silence\n"
        "done = training.Loop.settled\n"
        "def settled(loop):\n"
        f"    print([m for m in {heavy!r} if m in sys.modules])\n"
        "    return done(loop)\n"
        "training.Loop.settled = settled\n"
        "pretrain.pretrain(params(), Silence(), run='tiny')\n"
    )
    command = [sys.executable, "-c", program, str(ROOT / "tests")]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "[]"
