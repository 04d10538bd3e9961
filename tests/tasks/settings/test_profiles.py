"""The ready-made params.yaml files: each is valid, and every run of them trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.loop import Loop
from modalities.common.training.monitor import Silence
from modalities.image.network import prepare
from modalities.items import Arrays
from tasks.pretrain import construct, plan_of
from tasks.settings.params import Params, load

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "profiles"
LECTURE, PAPER = load(FOLDER / "lecture.yaml"), load(FOLDER / "paper.yaml")
METHODS = {
    "rotation", "jigsaw", "context", "colorization", "inpainting", "moco_v1", "moco_v2", "simclr",
    "byol", "mae",
}  # fmt: skip
SIDE, ITEMS = 64, 16  # so many pictures to a batch


def test_the_default_profile_is_the_default() -> None:
    assert (FOLDER / "default.yaml").read_text() == (ROOT / "params.yaml").read_text()


@pytest.mark.parametrize("params", [LECTURE, PAPER], ids=["lecture", "paper"])
def test_every_method_of_the_lecture_is_there(params: Params) -> None:
    assert {run.objective for run in params.image.runs.values()} >= METHODS


def test_two_methods_of_the_lecture_have_three_seeds() -> None:
    found: dict[str, set[int | None]] = {}
    settings: dict[str, set[str]] = {}
    for run in LECTURE.image.runs.values():
        found.setdefault(run.objective, set()).add(run.seed)
        settings.setdefault(run.objective, set()).add(run.model_dump_json(exclude={"seed"}))
    several = [name for name, seeds in found.items() if len(seeds) == 3]
    assert len(several) == 2
    assert all(len(settings[name]) == 1 for name in several), "they differ by the seed alone"
    assert LECTURE.image.tasks["classification"]["draws"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER.image.runs)
def test_the_published_settings_train(name: str, tmp_path: Path) -> None:
    """Two steps with the very network, head, optimiser and schedule, of small pictures."""
    torch.set_num_threads(1)
    run = PAPER.image.runs[name]
    rate = run.learning_rate * ITEMS / run.batch_size  # as the papers themselves scale it
    toy: dict[str, Any] = {"batch_size": ITEMS, "epochs": 2, "learning_rate": rate}
    PAPER.image.runs[name] = run.model_copy(update=toy)  # the dict itself is not frozen
    try:
        objective, plan = construct(PAPER, name), plan_of(PAPER, name)
    finally:
        PAPER.image.runs[name] = run
    rng = np.random.default_rng(0)
    # Not noise: it looks all the same to a deep network, whose batch norms then divide by nothing.
    coarse = rng.integers(0, 256, (ITEMS, SIDE // 4, SIDE // 4, 3), dtype=np.uint8)
    items = coarse.repeat(4, 1).repeat(4, 2)
    probe = prepare(torch.from_numpy(items[:4]))
    loop = Loop(objective, Arrays(items), plan, Silence(), probe)
    before = {key: value.clone() for key, value in objective.encoder.state_dict().items()}
    for batch in loop.batches(0):
        loop.forward(batch)
        loop.settled()
        loop.checkpoint(Checkpoints("paper", "", tmp_path), None)
    assert loop.step == loop.steps == 2
    assert all(np.isfinite(row["loss"]) for row in loop.history)
    after = objective.encoder.state_dict()
    assert any(not torch.equal(after[key], value) for key, value in before.items())


def test_the_published_batches_divide_among_the_processes() -> None:
    for name, run in PAPER.image.runs.items():
        assert run.batch_size % PAPER.machine.processes == 0, name
