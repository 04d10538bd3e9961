"""Real pictures: scikit-learn's handwritten digits in folders, and a folder without labels."""

import contextlib
import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import in_process
import pytest

from benchmarks import world
from flows.dvc import graph, selection
from tasks.settings.params import load

pytestmark = pytest.mark.slow


def quick(params: Any) -> None:
    params["image"]["size"] = 16
    params["image"]["runs"] = {
        "moco_v2": params["image"]["runs"]["moco_v2"] | {"epochs": 6, "batch_size": 128}
    }
    params["image"]["controls"] = ["random", "majority"]
    params["image"]["tasks"]["classification"].update(
        budgets=[5, "all"], draws=3, protocols=["linear", "knn"]
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = world.checkout(tmp_path_factory.mktemp("real") / "checkout")
    world.edit(folder, quick)
    yield folder
    world.glean(folder, "ui", "--stop")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    return world.digits(tmp_path_factory.mktemp("digits") / "handwritten digits")


def run_here(checkout: Path) -> None:
    """As `glean run --only image` would, each stage in this process."""
    with contextlib.chdir(checkout):
        stages = [s for s in graph.plan(checkout) if re.search("-image(@|$)", s.name)]
        selection.check_sizes(load())
    commands = [stage.cmd for stage in stages if not stage.clean]
    for command in [*commands, "python -m tasks report"]:
        done = in_process.stage(checkout, *command.removeprefix("python -m tasks ").split())
        assert done.returncode == 0, done.stderr


def rows(checkout: Path) -> dict[tuple[str, str, Any], dict[str, Any]]:
    summary = json.loads((checkout / "report/summary.json").read_text("utf-8"))
    return {(r["run"], r["protocol"], r["budget"]): r for r in summary["rows"]}


def test_digits_in_folders(checkout: Path, digits: Path) -> None:
    shown = world.glean(checkout, "data", "image", str(digits))
    assert "+  source:" in shown
    world.glean(checkout, "run", "--only", "image")
    metrics = json.loads((checkout / "data/image/metrics.json").read_text("utf-8"))
    assert (metrics["ok"], metrics["quarantined"], metrics["classes"]) == (1797, 0, 10)
    found = rows(checkout)
    assert found["moco_v2", "linear", "all"]["mean"] > 0.9
    assert found["moco_v2", "linear", 5]["mean"] > found["majority", "majority", 5]["mean"] + 0.3
    assert not (checkout / "raw").exists(), "the Playroom is not needed"


def test_a_csv_tells_the_labels_and_the_rest_is_unlabelled(
    checkout: Path, digits: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    table = tmp_path / "labels.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label"])
        for i, path in enumerate(sorted(digits.rglob("*.png"))[::4]):
            shutil.copy(path, flat)
            if i % 2:
                writer.writerow([path.name, path.parent.name])
    (flat / "broken.png").write_bytes(b"not a picture at all")
    world.glean(checkout, "data", "image", str(flat), "--labels", str(table))
    run_here(checkout)
    metrics = json.loads((checkout / "data/image/metrics.json").read_text("utf-8"))
    assert (metrics["ok"], metrics["quarantined"], metrics["labelled"]) == (450, 1, 225)
    assert "broken.png" in (checkout / "report/index.html").read_text("utf-8")
    assert ("moco_v2", "linear", "all") in rows(checkout)


def test_without_labels_it_pretrains_and_says_what_is_missing(
    checkout: Path, digits: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted(digits.rglob("*.png"))[::4]:
        shutil.copy(path, flat)
    world.glean(checkout, "data", "image", str(flat))
    run_here(checkout)
    assert rows(checkout) == {}
    assert (checkout / "models/moco_v2/encoder.safetensors").exists()
    assert "without any label" in (checkout / "report/index.html").read_text("utf-8")
