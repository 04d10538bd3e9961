"""From the Playroom's COCO folder to results/RUN/TASK, through the real stages."""

import json
from pathlib import Path

import in_process
import numpy as np
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[3]
TINY = "{budgets: [1], draws: 2, min_steps: 2, max_steps: 2, evaluations: 1, width: 32"
PARAMS = f"""
playroom:
  make: [image]
  image: {{labelled: 2, unlabelled: 0, val: 1, test: 1, size: 48, objects: [1, 3]}}
image:
  source: raw/playroom/image
  labels: raw/playroom/image
  size: 32
  runs: {{one: {{objective: rotation, encoder_options: {{widths: [8, 16]}}}}}}
  controls: [scratch, random, majority, histogram, pixels]
  tasks:
    detection: {TINY}, encoder_options: {{widths: [8, 16]}}}}
    segmentation: {TINY}, encoder_options: {{widths: [8, 16]}}}}
    keypoints: {TINY}, encoder_options: {{widths: [8, 16]}}}}
"""


def stage(place: Path, *words: str) -> None:
    done = in_process.stage(place, *words)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from safetensors.torch import save_file

    from modalities.image.network import build_encoder

    place = tmp_path_factory.mktemp("project")
    (place / "params.yaml").write_text(PARAMS)
    stage(place, "playroom", "image")
    stage(place, "ingest", "image")
    torch.manual_seed(0)
    model = place / "models/one"
    model.mkdir(parents=True)
    save_file(build_encoder("small", widths=[8, 16]).state_dict(), model / "encoder.safetensors")
    config = {
        "modality": "image", "run": "one", "objective": "rotation", "encoder": "small",
        "encoder_options": {"widths": [8, 16]},
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config))
    return place


def test_the_playroom_is_annotated_for_all_three(project: Path) -> None:
    told = json.loads((project / "data/image/annotations.json").read_text())
    assert len(told["categories"]) == 12 and len(told["segmentation"]) == 13
    assert told["keypoints"]["dog"][:2] == ["nose", "neck"]
    table = pq.read_table(project / "data/image/objects.parquet").to_pylist()
    assert len(table) > 48  # several toys in some pictures
    for row in table:
        x, y, seen = np.reshape(row["keypoints"], (-1, 3)).T
        x, y = x[seen == 2], y[seen == 2]  # on the toy, so in its box, but for half a pixel or two
        assert (row["left"] - 2 <= x).all() and (x <= row["right"] + 2).all()
        assert (row["top"] - 2 <= y).all() and (y <= row["bottom"] + 2).all()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["detection", "segmentation", "keypoints"])
def test_a_run_and_its_controls(project: Path, task: str) -> None:
    stage(project, "transfer", "one", task)
    folder = project / f"results/one/{task}"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["task"], metrics["skipped"]) == (task, [])
    assert {row["protocol"] for row in metrics["rows"]} == {"frozen", "finetune"}
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 for row in metrics["rows"])
    assert len(list(folder.glob("*.png"))) == 2  # the curve, and predictions beside truth
    stage(project, "control", "image", "majority", task)
    told = json.loads((project / f"results/image-majority/{task}/metrics.json").read_text())
    assert told["rows"] == []
    assert told["skipped"][0]["reason"].startswith("no such control")
