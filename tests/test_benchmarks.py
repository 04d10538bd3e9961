"""The measurements themselves: that each gives a number, not which one."""

import math
from importlib.util import find_spec

import pytest

from benchmarks import masking, shapes, step, training

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


def test_the_default_setting_is_among_the_choices() -> None:
    assert sum("default" in name for name in training.CHOICES) == 1
    assert all(set(setting) <= set(step.DEFAULT) for setting in training.CHOICES.values())


def test_masking_has_a_table() -> None:
    table = masking.main(1, (16,), width=32, depth=1, heads=2)
    assert len(table.splitlines()) == 4
    assert "16 px, bf16" in table


def test_shapes_have_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = {"fast": {"voxels": 2000, "depth": 3}}
    monkeypatch.setattr(shapes, "SETTINGS", fast)
    page = shapes.main(2, 1, width=8, dim=16)
    assert "| fast |" in page
    assert "times as fast as one" in page and "clouds/s" in page
    assert page.count("\n| ") >= 4
