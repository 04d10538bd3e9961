"""The stages transfer and control on a tiny ingested data set, once through `python -m tasks`."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modalities.items import UserError
from tasks.results import KEYS
from tasks.settings.params import load
from tasks.transfer import _learnt_from, summary_rows

ROOT = Path(__file__).resolve().parents[3]
PARAMS = """
image:
  source: raw
  labels: raw
  size: 16
  runs: {one: {objective: rotation, encoder_options: {widths: [8, 16]}}}
  controls: [scratch, supervised, random, majority, histogram, pixels]
  tasks:
    classification: {budgets: [1, 3, 50, all], draws: 2, epochs: 1, min_steps: 2, max_steps: 3,
      batch_size: 8, evaluations: 1, encoder_options: {widths: [8, 16]}}
"""
PER = {"train": 6, "val": 4, "test": 5}
CLASSES = ["a", "b", "c"]


def ingested(folder: Path, *, labelled: bool) -> None:
    rng = np.random.default_rng(0)
    columns: dict[str, list[Any]] = {k: [] for k in ("id", "split", "label", "row")}
    for split, count in PER.items():
        for i in range(3 * count):
            columns["id"].append(f"{split}{i}")
            columns["split"].append(split)
            columns["label"].append(CLASSES[i % 3] if labelled else None)
            columns["row"].append(len(columns["row"]))
    folder.mkdir(parents=True)
    rows = len(columns["row"])
    np.save(folder / "items.npy", rng.integers(0, 256, (rows, 16, 16, 3), np.uint8))
    kinds = [
        ("id", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("row", pa.int64()),
    ]
    pq.write_table(pa.table(columns, pa.schema(kinds)), folder / "items.parquet")
    meta = {"modality": "image", "classes": CLASSES if labelled else []}
    (folder / "meta.json").write_text(json.dumps(meta))


def pretrained(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from modalities.image.network import build_encoder

    torch.manual_seed(0)
    folder.mkdir(parents=True)
    save_file(build_encoder("small", widths=[8, 16]).state_dict(), folder / "encoder.safetensors")
    config = {"modality": "image", "run": "one", "objective": "rotation", "encoder": "small"}
    config["encoder_options"] = {"widths": [8, 16]}  # type: ignore[assignment]
    (folder / "config.json").write_text(json.dumps(config))


def stage(place: Path, *words: str) -> in_process.Done:
    (place / "params.yaml").write_text(PARAMS)
    return in_process.stage(place, *words)


def command(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    (place / "params.yaml").write_text(PARAMS)
    words = (sys.executable, "-m", "tasks", *words)
    return subprocess.run(
        words, cwd=place, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


@pytest.mark.slow
def test_a_run_is_measured_and_again_byte_by_byte(tmp_path: Path) -> None:
    ingested(tmp_path / "data/image", labelled=True)
    pretrained(tmp_path / "models/one")
    assert stage(tmp_path, "transfer", "one", "classification").returncode == 0
    folder = tmp_path / "results/one/classification"
    first = hashes(folder)
    assert set(first) == {"metrics.json", "predictions.parquet", "accuracy.png"}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["objective"] == "rotation"
    assert {(r["protocol"], r["budget"]) for r in metrics["rows"]} == {
        (p, b) for p in ("linear", "knn", "finetune") for b in (1, 3, "all")
    }
    assert [s["budget"] for s in metrics["skipped"]] == [50]
    for row in metrics["rows"]:
        assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
        assert row["draws"] == len(row["values"]) == 2
        assert 0 <= row["chosen"]["val"] <= 1
    assert all(set(row) == set(KEYS) for row in summary_rows(metrics))
    check_predictions(folder, metrics)
    assert command(tmp_path, "transfer", "one", "classification").returncode == 0
    assert hashes(folder) == first


def check_predictions(folder: Path, metrics: dict[str, Any]) -> None:
    """The table of predictions gives the rows' values."""
    table = pq.read_table(folder / "predictions.parquet").to_pylist()
    assert len(table) == len(metrics["rows"]) * 2 * 15
    for row in metrics["rows"]:
        for draw, value in enumerate(row["values"]):
            key = (row["protocol"], str(row["budget"]), draw)
            own = [r for r in table if (r["protocol"], r["budget"], r["draw"]) == key]
            assert value == pytest.approx(np.mean([r["prediction"] == r["label"] for r in own]))


@pytest.mark.parametrize("control", ["scratch", "majority"])
def test_a_control_is_measured(tmp_path: Path, control: str) -> None:
    ingested(tmp_path / "data/image", labelled=True)
    done = stage(tmp_path, "control", "image", control, "classification")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"results/image-{control}/classification"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["run"], metrics["objective"], metrics["modality"]) == (control, None, "image")
    assert len(metrics["rows"]) == 3
    check_predictions(folder, metrics)


def test_no_labels_is_a_note(tmp_path: Path) -> None:
    ingested(tmp_path / "data/image", labelled=False)
    done = stage(tmp_path, "control", "image", "pixels", "classification")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(
        (tmp_path / "results/image-pixels/classification/metrics.json").read_text()
    )
    assert metrics["rows"] == []
    assert {s["reason"] for s in metrics["skipped"]} == {"no labels: nothing to measure"}


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    ingested(tmp_path / "data/image", labelled=True)
    done = stage(tmp_path, "transfer", "one", "classification")
    assert done.returncode == 1
    assert "models/one/config.json: not found" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("min_steps", "min_stps", "did you mean 'min_steps'"),
        ("draws: 2", "draws: 1", "greater than or equal to 2"),
        ("budgets: [1, 3, 50, all]", "budgets: [0]", "budgets"),
        ("budgets: [1, 3, 50, all]", "budgets: [al]", "budgets"),
        ("budgets: [1, 3, 50, all]", "budgets: []", "budgets"),
        ("draws: 2", "draws: 2, protocols: [linera]", "did you mean 'linear'"),
    ],
)
def test_mistaken_options_are_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load(path)
    assert expected in str(caught.value)


def test_joint_training_sees_the_labels_that_the_run_learnt_from_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels/pieces").mkdir(parents=True)
    told = tmp_path / "labels/pieces/metrics.json"
    told.write_text('{"fingerprint": "then"}')
    config = {"run": "convexity", "labels": "pieces", "labels_fingerprint": "then"}
    assert _learnt_from(config) == "pieces"
    told.write_text('{"fingerprint": "now"}')
    with pytest.raises(UserError, match=r"labels/pieces: has changed since models/convexity"):
        _learnt_from(config)
    assert _learnt_from({"run": "rotation", "labels": "none"}) == "none"
