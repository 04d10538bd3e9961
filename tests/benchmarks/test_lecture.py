"""The section of docs/RESULTS.md on the lecture's profile: numbers and verdicts from results."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks import lecture
from benchmarks.grids import page
from tasks.settings.params import load
from tasks.transfer.measures import interval

ROOT = Path(__file__).resolve().parents[2]


def row(protocol: str, budget: Any, metric: str, values: list[float], val: float) -> dict[str, Any]:
    mean, low, high = interval(values)
    return {"protocol": protocol, "budget": budget, "metric": metric, "values": values,
            "mean": mean, "low": low, "high": high, "higher_is_better": True,
            "chosen": {"val": val}}  # fmt: skip


def accuracies(level: float) -> list[dict[str, Any]]:
    """`finetune` is what validation prefers, `linear` is better on test."""
    return [
        row(name, budget, "accuracy", [mean - 0.01, mean, mean + 0.01], val)
        for budget in (1, 5, 10, 50, "all")
        for name, mean, val in (("linear", level + 0.1, 0.1), ("finetune", level, 0.2))
    ]


def places(metric: str, level: float) -> list[dict[str, Any]]:
    draws = [level, level + 0.02, level + 0.04]
    return [
        row("finetune", 50, metric, draws, 0.5),
        row("frozen", 50, metric, [0.9] * 3, 0.1),
        row("finetune", 50, f"{metric}50", [0.99] * 3, 0.5),
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as the profile's run leaves it, with made-up numbers."""
    profile = ROOT / "profiles/lecture.yaml"
    shutil.copy(profile, tmp_path / "params.yaml")
    params = load(profile)

    def put(modality: str, run: str, objective: str | None, task: str, rows: list[Any]) -> None:
        place = run if objective else f"{modality}-{run}"
        folder = tmp_path / "results" / place / task
        folder.mkdir(parents=True)
        told = {"modality": modality, "run": run, "objective": objective, "task": task,
                "other_encoder": "vit" if run == "mae" else None}  # fmt: skip
        (folder / "metrics.json").write_text(json.dumps({**told, "rows": rows}))

    levels = {"scratch": 0.5, "supervised": 0.85, "rotation": 0.7, "rotation_1": 0.65,
              "jigsaw": 0.505, "context": 0.3, "moco_v2": 0.6, "mae": 0.8}  # fmt: skip
    runs = [(name, "some") for part in (params.image, params.video) for name in part.runs]
    for name, objective in [*runs, *((c, None) for c in params.image.controls)]:
        level = levels.get(name, 0.4)
        put("image", name, objective, "classification", accuracies(level))
        if name not in ("majority", "histogram", "pixels"):
            put("image", name, objective, "detection", places("AP", level))
            put("image", name, objective, "segmentation", places("mIoU", level))
    for name, objective in [*((r, "some") for r in params.audio.runs), ("scratch", None)]:
        put("audio", name, objective, "classification", accuracies(levels.get(name, 0.4)))
    for name, objective in [*((r, "some") for r in params.shape.runs), ("scratch", None)]:
        rows = [row("joint", b, "miou_instance", [0.7, 0.8], 0.5) for b in (1, 10)]
        put("shape", name, objective, "parts", rows)
    costs = tmp_path / ".gleaner/costs"
    costs.mkdir(parents=True)
    (costs / "a.json").write_text(json.dumps({"ended": 700.0, "seconds": 600.0}))
    (costs / "b.json").write_text(json.dumps({"ended": 6100.0, "seconds": 5700.0}))
    return tmp_path


@pytest.mark.slow
def test_the_protocol_is_validation_s_and_controls_come_last(checkout: Path) -> None:
    found = lecture.starts(checkout, "image")
    names = [each.name for each in found]
    assert names[:3] == ["rotation", "rotation_1", "rotation_2"]
    assert names.index("ambient") < names.index("scratch") < names.index("pixels")
    assert [each.learnt for each in found] == [n not in load(
        checkout / "params.yaml").image.controls for n in names]  # fmt: skip
    by_name = {each.name: each for each in found}
    row = by_name["rotation"].best(("classification", "accuracy", 5))
    assert row is not None
    assert (row["protocol"], row["values"]) == ("finetune", pytest.approx([0.69, 0.7, 0.71]))
    assert by_name["rotation"].cell(("detection", "AP", 50)) == "72.0 ± 5.0 finetune"
    assert by_name["pixels"].cell(("detection", "AP", 50)) == ""


def test_only_differences_beyond_the_intervals_are_verdicts(checkout: Path) -> None:
    found = [each for each in lecture.starts(checkout, "image")
             if each.name in ("rotation", "jigsaw", "context", "mae", "scratch")]  # fmt: skip
    lines = lecture.verdicts(found, [("classification", "accuracy", 5), ("detection", "AP", 50)])
    assert lines.splitlines() == [
        "- 5 per class: above rotation (+20.0); below context (-20.0).",
        "- detection: above rotation (+20.0); below context (-20.0).",
    ]
    every = lecture.verdicts(found, [("classification", "accuracy", "all")])
    assert every.startswith("- all labels: above rotation (+20.0)")
    alone = [each for each in found if each.name in ("jigsaw", "scratch")]
    assert lecture.verdicts(alone, [("classification", "accuracy", 5)]) == "- 5 per class: none."


def test_the_whole_section(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = checkout / "docs"
    docs.mkdir()
    (docs / "RESULTS.md").write_text("# Results\n\n## Another\n\nstays\n", "utf-8")
    monkeypatch.setattr(page, "TARGET", docs / "RESULTS.md")
    monkeypatch.setattr(page, "FIGURES", docs / "figures")
    monkeypatch.setattr("sys.argv", ["lecture", str(checkout)])
    lecture.main()
    text = (docs / "RESULTS.md").read_text("utf-8")
    assert text.startswith("# Results\n\n## Another\n\nstays\n\n## The lecture's profile")
    assert "2 stages took 100 minutes (105 one after the other)" in " ".join(text.split())
    assert "| rotation | 70.0, 65.0, 40.0 | 70.0, 65.0, 40.0 | 72.0, 67.0, 42.0 |" in text
    assert "supervised is above all: **holds** (85.0 against 80.0)" in text
    assert "jigsaw is above context in detection: **holds** (52.5 against 32.0)" in text
    assert "| rotation_1 |" not in text
    assert (docs / "figures/lecture.png").stat().st_size > 5000
    assert "not run yet" not in text
