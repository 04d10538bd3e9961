"""The section of docs/RESULTS.md on sounds: its projects and its tables."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from benchmarks import sound_results, world
from tasks.settings.params import load

ROOT = Path(__file__).resolve().parents[2]
DRAWS = (0.0, 0.02, 0.04)


def rows(level: float) -> list[dict[str, Any]]:
    """`linear` is what validation prefers, `knn` is better on test."""
    return [
        {"protocol": name, "budget": budget, "values": [mean + draw for draw in DRAWS],
         "chosen": {"val": val}}
        for budget in sound_results.BUDGETS
        for name, mean, val in (("linear", level, 0.2), ("knn", level + 0.1, 0.1))
    ]  # fmt: skip


@pytest.mark.parametrize("change", [sound_results.small, sound_results.vit])
def test_checkouts_are_projects_with_comparable_controls(
    change: Callable[[Any], None], tmp_path: Path
) -> None:
    shutil.copy(ROOT / "profiles/lecture.yaml", tmp_path / "params.yaml")
    world.edit(tmp_path, change)
    found = load(tmp_path / "params.yaml").audio
    control = YAML().load((tmp_path / "params.yaml").read_text("utf-8"))["audio"]["tasks"]
    encoders = {(run.encoder, str(dict(run.encoder_options))) for run in found.runs.values()}
    told = control["classification"]
    assert encoders == {(told.get("encoder", "small"), str(dict(told.get("encoder_options", {}))))}
    assert told["budgets"] == [5, 10]
    assert {run.labels for run in found.runs.values()} - {"none"} <= set(found.labelers)


def test_seeds_are_averaged_in_each_draw_and_gains_told_draw_by_draw() -> None:
    page = sound_results.table({
        "contrastive": [rows(0.6), rows(0.62), rows(0.64)], "clusters": [rows(0.53)] * 3,
        "scratch": [rows(0.5)],
    })  # fmt: skip
    head, _, contrastive, clusters, scratch = page.splitlines()
    assert head == "|  | 5 labels | gain at 5 | seeds at 5 | 10 labels | gain at 10 | seeds at 10 |"
    assert contrastive.startswith(
        "| contrastive | 64.0 ± 5.0, linear | 12.0 ± 0.0, apart | 62.0, 64.0, 66.0 |"
    )
    assert "| 55.0 ± 5.0, linear | 3.0 ± 0.0 |" in clusters
    assert scratch.startswith("| scratch | 52.0 ± 5.0, linear |  |  |")


def test_columns_in_which_nothing_stands_are_left_out() -> None:
    page = sound_results.table({"mae": [rows(0.6)], "scratch": [rows(0.5)]})
    assert page.splitlines()[0] == "|  | 5 labels | gain at 5 | 10 labels | gain at 10 |"
