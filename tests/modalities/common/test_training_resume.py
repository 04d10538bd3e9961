"""A run that was killed ends as if it had not been, to the last bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_world import make

from modalities.common.training.checkpoints import Checkpoints, fingerprint

ROOT = Path(__file__).resolve().parents[3]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_killed_at_random_moments_it_ends_bit_identical(tmp_path: Path) -> None:
    make(tmp_path)
    command = [sys.executable, str(ROOT / "tests/training_world.py"), str(tmp_path), "20"]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kills"] >= 20
    assert len(found["digests"]) >= 2
    assert len(set(found["digests"])) == 1, found  # models/RUN, every file of it
    assert found["left"] == []  # checkpoints are removed when a run is done


def state(value: float) -> dict[str, object]:
    return {"tensors": {0: torch.full((3, 2), value)}, "list": [1, 0.1, None, "x"], "v": value}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints("stage", "print", tmp_path)
    assert checkpoints.load() is None
    checkpoints.save(7, state(0.1))
    found = checkpoints.load()
    assert found is not None
    step, back = found
    assert (step, back["list"], back["v"]) == (7, [1, 0.1, None, "x"], 0.1)
    assert torch.equal(back["tensors"][0], torch.full((3, 2), 0.1))


@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints("stage", "print", tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, state(float(step)))
    files = sorted(checkpoints.folder.iterdir())
    assert [f.name[:9] for f in files] == ["000000002", "000000003"]  # two are kept
    body = bytearray(files[-1].read_bytes())
    body[-1] ^= 1
    changed = {"truncated": body[: len(body) // 2], "empty": b"", "flipped": body}[damage]
    files[-1].write_bytes(changed)
    (checkpoints.folder / ".000000004-x.safetensors.1.part").write_bytes(b"half")
    found = checkpoints.load()
    assert found is not None
    assert found[0] == 2
    checkpoints.save(3, state(3.0))
    assert checkpoints.load()[0] == 3  # type: ignore[index]


def test_another_fingerprint_is_another_run(tmp_path: Path) -> None:
    first = fingerprint({"lr": 0.1, "code": "a"})
    assert first == fingerprint({"lr": 0.1, "code": "a"})
    assert first != fingerprint({"lr": 0.2, "code": "a"})
    assert first != fingerprint({"lr": 0.1, "code": "b"})
    Checkpoints("stage", "old", tmp_path).save(1, state(1.0))
    assert Checkpoints("stage", "new", tmp_path).load() is None
    Checkpoints("stage", "new", tmp_path).clear()  # takes stale ones along
    assert Checkpoints("stage", "old", tmp_path).load() is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        "objective: rotation",
        "objective: simclr",
        "objective: byol, options: {hidden: 32}",
        "objective: contrastive",
        "objective: contrastive, options: {negatives: memory_bank}",
        "objective: mae, encoder: vit",
        "objective: colorization",
        "objective: inpainting, options: {hole: random}",
    ],
)
def test_two_processes_have_the_gradients_of_one(tmp_path: Path, run: str) -> None:
    """One step of plain SGD over the whole set: the weights' change is the gradient."""
    weights = []
    shape = "{width: 16, depth: 1, heads: 2}" if "vit" in run else "{widths: [8, 16]}"
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        make(folder, items=16)
        (folder / "params.yaml").write_text(
            f"training: {{precision: fp32}}\nmachine: {{processes: {processes}}}\n"
            "image:\n  source: raw\n  labels: raw\n  size: 16\n  runs:\n"
            f"    tiny: {{{run}, encoder_options: {shape}, epochs: 1,"
            " batch_size: 16, optimizer: sgd, learning_rate: 1.0, warmup: 0.0, clip: 0.0}\n"
        )
        command = [sys.executable, "-m", "tasks", "pretrain", "tiny"]
        done = subprocess.run(
            command, cwd=folder, env=ENV, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        weights.append(load_file(folder / "models/tiny/encoder.safetensors"))
    for name, one in weights[0].items():
        torch.testing.assert_close(weights[1][name], one, rtol=1e-4, atol=1e-5, msg=name)
