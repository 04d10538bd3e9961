"""The measurements of training speed: that each gives a number, not which one."""

import itertools
import math
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from benchmarks.speed import training
from benchmarks.speed.loops import lightly_loops, step, steps
from modalities.common.network.convolution import Conv

TINY = {"size": 32, "batch": 8, "threads": 1, "seconds": 0.2}


@pytest.mark.parametrize("way", ["bare", "loop"])
def test_each_way_of_training_has_a_rate(way: str) -> None:
    found, ready = step.rate(step.WAYS[way](step.DEFAULT | TINY | {"way": way}), TINY["seconds"])
    assert math.isfinite(found) and found > 0
    assert ready > 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lightly") is None, reason="needs pip install -e .[bench]")
def test_lightly_has_a_rate_in_a_process_of_its_own() -> None:
    found = training.result(training.start(way="lightly", **TINY))
    assert math.isfinite(found["rate"]) and found["rate"] > 0


@pytest.mark.slow
def test_bare_step_and_loop_are_taken_in_turn() -> None:
    order: list[str] = []

    def endless(name: str) -> Iterator[int]:
        while True:
            order.append(name)
            yield 8

    ticks = itertools.count()
    bare, loop = steps.in_turn(endless("bare"), endless("loop"), 0, lambda: float(next(ticks)))
    assert order == ["bare", "loop"] * (steps.WARM + 3)
    assert (bare, loop) == (1.0, 1.0)
    found = training.result(training.start(way="share", **TINY))
    assert found["bare"] > 0 and found["loop"] > 0


@pytest.mark.slow
def test_runs_side_by_side_are_added_up() -> None:
    found = training.side_by_side(way="share", **TINY)
    assert set(found) == {"bare", "loop"} and all(rate > 0 for rate in found.values())


@pytest.mark.parametrize("installed", [True, False])
def test_everybody_has_a_place_in_the_tables(
    installed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Medians of rates and of the rounds' ratios; empty columns for who is not installed."""
    ours = {"bare": 1000.0, "loop": 900.0, "bare alone": 700.0, "loop alone": 560.0}
    theirs = {"lightly": 200.0, "lightly twice": 300.0} if installed else {}
    rounds = iter([ours | theirs, {k: 2 * v for k, v in (ours | theirs).items()}])
    monkeypatch.setattr(training, "everybody", lambda _: next(rounds))
    together, alone = training.against_lightly(2, 1.0, [("small", 32)])
    end = "300 | **0.90** | **4.5**" if installed else "- | **0.90** | -"
    assert together.splitlines()[2] == f"| small | 32 | 1500 | 1350 | {end} |"
    end = "**2.8** | 450 | **3.0**" if installed else "- | - | -"
    assert alone.splitlines()[2] == f"| small | 32 | 1050 | 840 | **0.80** | {end} |"
    for table in (together, alone):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_lightly_has_torchvisions_networks_and_torchs_convolutions_can_be_had() -> None:
    network = lightly_loops.encoder_of("resnet18")
    assert type(network).__module__.startswith("torchvision") and network.dim == 512
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 512)
    assert lightly_loops.encoder_of("small").dim == 256
    setting = step.DEFAULT | TINY | {"encoder": "resnet18"}
    for sparing in (True, False):
        objective = step.objective_of(setting | {"sparing": sparing})
        kinds = {type(m) for m in objective.modules() if isinstance(m, nn.Conv2d)}
        assert kinds == {Conv if sparing else nn.Conv2d}


def test_the_default_setting_is_among_the_choices() -> None:
    assert sum("default" in name for name in training.CHOICES) == 1
    assert all(set(setting) <= set(step.DEFAULT) for setting in training.CHOICES.values())


@pytest.mark.parametrize("objective", ["jigsaw", "contrastive", "mae"])
@pytest.mark.parametrize("way", ["bare", "loop"])
def test_every_objective_has_a_rate(objective: str, way: str) -> None:
    setting = step.DEFAULT | TINY | {"objective": objective, "way": way}
    if objective == "mae":
        setting["encoder"] = "vit"
    found, _ = step.rate(step.WAYS[way](setting), 0.1)
    assert math.isfinite(found) and found > 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lightly") is None, reason="needs pip install -e .[bench]")
@pytest.mark.parametrize("objective", ["moco_v2", "byol", "mae"])
def test_lightly_has_an_equivalent(objective: str) -> None:
    encoder = "vit" if objective == "mae" else "small"
    setting = TINY | {"objective": objective, "encoder": encoder, "batch": 16}
    found = training.result(training.start(way="lightly", **setting))
    assert math.isfinite(found["rate"]) and found["rate"] > 0
