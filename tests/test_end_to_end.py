"""The whole pipeline, tiny, in a fresh checkout: both doors, and what re-runs after a change."""

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from benchmarks import world
from benchmarks.world import edit

BIN = Path(sys.executable).parent
TINY = {
    "playroom": {"labelled": 6, "unlabelled": 4, "val": 3, "test": 4, "size": 32},
    "rotation": {"objective": "rotation", "start": "none", "epochs": 1, "batch_size": 32},
    "moco_v2": {
        "objective": "moco_v2",
        "start": "none",
        "epochs": 1,
        "batch_size": 32,
        "options": {"queue": 64},
    },
    "classification": {
        "budgets": [1, 5, 50, "all"],
        "draws": 3,
        "min_steps": 4,
        "max_steps": 8,
        "evaluations": 2,
        "learning_rates": [0.002],
        "scratch_learning_rates": [0.01],
    },
}
# Kept in one piece so that the slow parts (a pretraining run, a server) happen once.
pytestmark = pytest.mark.slow


def tiny(params: dict) -> None:
    params["playroom"]["image"].update(TINY["playroom"])
    params["image"]["size"] = 16
    params["image"]["runs"]["rotation"] = TINY["rotation"]
    params["image"]["runs"]["moco_v2"] = TINY["moco_v2"]
    params["image"]["tasks"]["classification"].update(TINY["classification"])
    params["playroom"]["shape"].update(
        {"labelled": 3, "unlabelled": 1, "val": 1, "test": 1, "points": 256}
    )
    params["shape"]["points"] = 256
    params["shape"]["labelers"]["convex"]["options"] = {"voxels": 2000, "depth": 3}
    params["shape"]["runs"]["convexity"].update({"epochs": 1, "batch_size": 4})
    params["shape"]["tasks"]["parts"].update(
        {"budgets": [1], "draws": 2, "min_steps": 2, "max_steps": 2,
         "protocols": ["finetune", "joint"], "joint_batch_size": 4}
    )  # fmt: skip
    sound = {"labelled": 6, "unlabelled": 4, "val": 2, "test": 2, "seconds": 0.5}
    params["playroom"]["audio"].update(sound)
    params["playroom"]["video"].update(clips=3, size=16, frames=2, seconds=0.5)
    params["audio"]["seconds"] = params["video"]["seconds"] = 0.5
    params["video"].update(size=16, frames=2)
    for modality in ("audio", "video"):
        for labels in params[modality]["labelers"].values():
            labels["options"]["k"] = 6
        for run in params[modality]["runs"].values():
            run.update(epochs=1, batch_size=16)
        few = {"draws": 2, "budgets": [2], "max_steps": 6, "min_steps": 4}
        params[modality]["tasks"]["classification"].update(few)
    # A stage takes seconds to start: what differs in nothing but its name is left out.
    params["audio"]["controls"] = ["mfcc"]
    params["shape"]["controls"] = []


def fresh(folder: Path) -> Path:
    world.checkout(folder)
    edit(folder, tiny)
    return folder


def run(checkout: Path, *command: str, ok: bool = True) -> str:
    done = world.run(checkout, *command)
    assert (done.returncode == 0) == ok, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def glean(checkout: Path, *arguments: str, ok: bool = True) -> str:
    return run(checkout, str(BIN / "python"), "-m", "flows", *arguments, ok=ok)


def lock(checkout: Path) -> dict:
    return YAML(typ="safe").load((checkout / "dvc.lock").read_text("utf-8"))["stages"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = fresh(tmp_path_factory.mktemp("end") / "checkout")
    glean(folder, "run")
    yield folder
    glean(folder, "ui", "--stop")


def test_every_stage_left_what_the_design_says(checkout: Path) -> None:
    for run_name in ("rotation", "moco_v2"):
        for name in ("encoder.safetensors", "config.json", "metrics.json"):
            assert (checkout / "models" / run_name / name).stat().st_size > 0
        assert (checkout / "results" / run_name / "classification" / "metrics.json").exists()
    page = (checkout / "report" / "index.html").read_text("utf-8")
    assert "moco_v2" in page
    summary = json.loads((checkout / "report" / "summary.json").read_text("utf-8"))
    assert summary["version"] == 1
    runs = {row["run"] for row in summary["rows"]}
    pictures = {"rotation", "moco_v2", "scratch", "random", "majority", "histogram", "pixels"}
    assert runs == pictures | {"ambient", "sound_clusters", "mfcc", "convexity"}
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 for row in summary["rows"])
    assert 50 not in {row["budget"] for row in summary["rows"]}, "6 labels a class cannot give 50"
    shapes = {row["protocol"] for row in summary["rows"] if row["run"] == "convexity"}
    assert shapes == {"finetune", "joint"}
    assert {s["stage"] for s in summary["stages"]} >= {"ingest-image", "pretrain-image@rotation"}


def test_dvc_sees_the_flow_s_work_as_done(checkout: Path) -> None:
    before = (checkout / "dvc.lock").read_bytes()
    assert "up to date" in run(checkout, "dvc", "status")
    run(checkout, "dvc", "repro")
    assert (checkout / "dvc.lock").read_bytes() == before


def without_pictures(checkout: Path, folder: Path) -> set[str]:
    """A copy in which nothing about pictures has run yet, nor the report; the stages to run."""
    known = shutil.ignore_patterns(".gleaner", ".checkpoints", "tmp", "runs")  # each door's own
    shutil.copytree(checkout, folder, ignore=known)
    yaml = YAML()
    entries = yaml.load((folder / "dvc.lock").read_text("utf-8"))
    stages = entries["stages"]
    names = {name for name in stages if re.search(r"-image(@|$)|@image$|^report$", name)}
    for name in names:
        for out in stages.pop(name)["outs"]:
            path = folder / out["path"]
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    yaml.dump(entries, folder / "dvc.lock")
    return names


def test_the_other_door_leaves_the_same_lock(checkout: Path, tmp_path: Path) -> None:
    """Pictures and the report anew, by `dvc repro`; of the rest DVC says that it is done."""
    other = tmp_path / "other"
    names = without_pictures(checkout, other)
    told = run(other, "dvc", "repro")
    assert set(re.findall(r"Running stage '(.*?)'", told)) == names
    assert lock(other) == lock(checkout)
    assert "up to date" in glean(other, "run")


def test_one_option_reruns_what_depends_on_it_and_back_restores(checkout: Path) -> None:
    before = lock(checkout)
    weights = (checkout / "models/rotation/encoder.safetensors").read_bytes()
    edit(checkout, lambda p: p["image"]["runs"]["rotation"].update(learning_rate=1.5e-3))
    status = glean(checkout, "status")
    assert "learning_rate" in status or "image.runs.rotation" in status
    glean(checkout, "run")
    changed = {name for name, entry in lock(checkout).items() if entry != before[name]}
    assert changed == {
        "pretrain-image@rotation", "transfer-image@rotation-classification", "report"
    }  # fmt: skip
    edit(checkout, lambda p: p["image"]["runs"]["rotation"].pop("learning_rate"))
    out = glean(checkout, "run")
    assert lock(checkout) == before
    assert (checkout / "models/rotation/encoder.safetensors").read_bytes() == weights
    assert "restored" in out


def told(checkout: Path) -> tuple[list, list, str]:
    """Rows and what is left out, and what DVC tracks of the page."""
    summary = json.loads((checkout / "report/summary.json").read_text("utf-8"))
    rows = sorted({(row["modality"], row["run"]) for row in summary["rows"]})
    return rows, summary["stale"], (checkout / "report/inputs.json").read_text("utf-8")


def test_what_is_not_of_now_is_left_out_by_both_doors(checkout: Path) -> None:
    before = told(checkout)
    assert before[1] == []
    edit(checkout, lambda p: p["image"]["tasks"]["classification"].update(draws=2))
    glean(checkout, "run", "--only", "audio")
    rows, stale, _ = ours = told(checkout)
    assert rows == [row for row in before[0] if row[0] != "image" or row[1] == "ambient"]
    reasons = {reason for entry in stale for reason in entry["reasons"]}
    assert reasons == {"params.yaml: image.tasks.classification.draws is 2, was 3"}
    (checkout / "report/inputs.json").unlink()
    run(checkout, "dvc", "repro", "-s", "report")
    assert told(checkout) == ours
    edit(checkout, lambda p: p["image"]["tasks"]["classification"].update(draws=3))
    glean(checkout, "run")
    assert told(checkout) == before


def test_editing_an_objective_reruns_just_its_runs(checkout: Path) -> None:
    path = checkout / "modalities/image/objectives/rotation.py"
    text = path.read_text("utf-8")
    path.write_text(text + "\n# a remark\n", "utf-8")
    try:
        status = run(checkout, "dvc", "status")
    finally:
        path.write_text(text, "utf-8")
    assert "pretrain-image@rotation" in status
    assert "pretrain-image@moco_v2" not in status


SKETCH = '''"""Is the picture bright? A test's own pretext task, after Nobody, 2026, https://arxiv.org/abs/0."""

from torch import nn
from torch.nn import functional as F

from modalities.base import Batch, Encoder, Objective, Randomness, Step
from modalities.image.network.views import prepare


class Sketch(Objective):
    """Bright or dark."""

    def __init__(self, encoder: Encoder, *, width: int = 8) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(encoder.dim, width), nn.ReLU(), nn.Linear(width, 2))

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        light = batch["items"].float().mean((1, 2, 3))
        return {"x": prepare(batch["items"]), "target": (light > light.median()).long()}

    def forward(self, batch: Batch) -> Step:
        return Step(F.cross_entropy(self.head(self.encoder(batch["x"])), batch["target"]))
'''


def test_a_new_objective_is_one_file_and_one_line(checkout: Path) -> None:
    (checkout / "modalities/image/objectives/sketch.py").write_text(SKETCH, "utf-8")
    edit(checkout, lambda p: p["image"]["runs"].update(
        sketch={"objective": "sketch", "start": "none", "epochs": 1, "batch_size": 32,
                "options": {"width": 16}}
    ))  # fmt: skip
    glean(checkout, "run")
    summary = json.loads((checkout / "report/summary.json").read_text("utf-8"))
    assert "sketch" in {row["run"] for row in summary["rows"]}


def test_a_mistake_is_refused_before_anything_runs(checkout: Path) -> None:
    before = (checkout / "params.yaml").read_text("utf-8")
    for change, words in (
        (lambda p: p["image"]["runs"]["rotation"].update(epohcs=3), "did you mean 'epochs'"),
        (lambda p: p["image"]["runs"]["rotation"].update(batch_size=10**6), "batch_size"),
    ):
        edit(checkout, change)
        out = glean(checkout, "run", ok=False)
        (checkout / "params.yaml").write_text(before, "utf-8")
        assert words in out
        assert "Traceback" not in out
