"""A run that was killed ends as if it had not been, to the last bit."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes
from safetensors.torch import load_file
from training_world import make

from modalities.common.training.checkpoints import Checkpoints, fingerprint
from tasks.pretrain import processes

ROOT = Path(__file__).resolve().parents[3]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
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


RUNS = [
    "objective: rotation",
    "objective: simclr",
    "objective: byol, options: {hidden: 32}",
    "objective: contrastive",
    "objective: contrastive, options: {negatives: memory_bank}",
    "objective: mae, encoder: vit",
    "objective: colorization",
    "objective: inpainting, options: {hole: random}",
]


def project(folder: Path, processes: int) -> None:
    """One step of plain SGD over the whole set for each of RUNS: r0, r1, ..."""
    make(folder, items=16)
    lines = ["training: {precision: fp32}", f"machine: {{processes: {processes}}}"]
    lines += ["image:", "  source: raw", "  labels: raw", "  size: 16", "  runs:"]
    for number, run in enumerate(RUNS):
        shape = "{width: 16, depth: 1, heads: 2}" if "vit" in run else "{widths: [8, 16]}"
        lines.append(
            f"    r{number}: {{{run}, encoder_options: {shape}, epochs: 1, batch_size: 16,"
            " optimizer: sgd, learning_rate: 1.0, warmup: 0.0, clip: 0.0}"
        )
    (folder / "params.yaml").write_text("\n".join(lines) + "\n")


def done(command: list[str], folder: Path) -> None:
    env = ENV | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    found = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of RUNS."""
    folder = tmp_path_factory.mktemp("one")
    project(folder, 1)
    with contextlib.chdir(folder):
        two_processes.main()
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two make of them."""
    folder = tmp_path_factory.mktemp("two")
    project(folder, 2)
    done(processes.command(2, "two_processes"), folder)
    return folder


def same(one: Path, two: Path, run: str) -> None:
    """From equal starts the weights' change is the gradient."""
    weights = [load_file(each / "models" / run / "encoder.safetensors") for each in (one, two)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS)
def test_two_processes_have_the_gradients_of_one(one: Path, two: Path, run: str) -> None:
    same(one, two, f"r{RUNS.index(run)}")


@pytest.mark.slow
def test_the_stage_starts_two_processes(one: Path, tmp_path: Path) -> None:
    project(tmp_path, 2)
    done([sys.executable, "-m", "tasks", "pretrain", "r0"], tmp_path)
    same(one, tmp_path, "r0")
