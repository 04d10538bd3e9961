"""What a GPU must do as a CPU does. Skipped where torch finds none, as on the project's own CI."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from test_objectives import FILES, ITEMS, make, raw
from torch import Tensor

from modalities.base import Objective, Randomness
from modalities.common.training.checkpoints import Checkpoints
from modalities.common.training.loop import Loop, Plan
from modalities.common.training.monitor import Silence
from modalities.items import Arrays
from modalities.shape.network.neighbours import farthest

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
DEVICE = "cuda"
STEPS = 6


class HaltError(Exception):
    """A run that ends in the middle."""


@pytest.fixture(params=FILES, ids=lambda p: f"{p.parts[-3]}-{p.stem}")
def path(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def moved(batch: dict[str, Tensor], device: str) -> dict[str, Tensor]:
    return {key: value.to(device) for key, value in batch.items()}


def test_views_and_loss_are_those_of_a_cpu(path: Path) -> None:
    found = []
    for device in ("cpu", DEVICE):
        objective = make(path).to(device)
        rng = Randomness(torch.Generator().manual_seed(3), total=ITEMS, device=device)
        views = objective.views(moved(raw(path.parts[-3], path.stem), device), rng)
        torch.manual_seed(0)
        loss = objective(views).loss
        loss.backward()
        grads = [p.grad for p in objective.encoder.parameters() if p.grad is not None]
        norm = torch.stack([g.norm() for g in grads]).norm()
        found.append((moved(views, "cpu"), loss.item(), norm.item()))
    (ours, loss, norm), (theirs, other, size) = found
    for key, value in ours.items():
        if value.is_floating_point():  # resampled in bf16, or in fp32 where there is none
            assert (value - theirs[key]).abs().mean() < 0.02 * value.std(), key
        else:
            assert (value != theirs[key]).float().mean() < 0.2, key  # nearest colours nearly tie
    assert other == pytest.approx(loss, rel=0.03, abs=0.01)
    assert size == pytest.approx(norm, rel=0.15)


def trained(path: Path, folder: Path, precision: str, kill: int | None = None) -> Objective:
    """An objective after a few steps, checkpointed after every one."""
    batch = raw(path.parts[-3], path.stem)
    items = batch["items"].numpy()
    free = {k: v.numpy() for k, v in batch.items() if k not in ("items", "index")}
    objective = make(path)
    plan = Plan(epochs=STEPS // 2, batch_size=ITEMS // 2, precision=precision)
    rng = Randomness(torch.Generator().manual_seed(0), total=ITEMS)
    probe = objective.views(batch, rng)
    shown = next(v for v in probe.values() if v.is_floating_point() and v.ndim > 1)
    loop = Loop(objective, Arrays(items), plan, Silence(), shown)
    loop.free = free
    checkpoints = Checkpoints("gpu", "print", folder)
    loop.resume(checkpoints)
    for each in loop.batches(0):
        if loop.step == kill:
            raise HaltError
        loop.forward(each)
        assert loop.pending[-1][1].loss.device.type == DEVICE
        loop.window += loop._losses()
        loop.checkpoint(checkpoints, 1)
    assert loop.step == STEPS
    assert np.isfinite([row["loss"] for row in loop.window]).all()
    return objective


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_run_ends_as_if_it_had_not_been(
    path: Path, tmp_path: Path, precision: str
) -> None:
    whole = trained(path, tmp_path / "whole", precision)
    with pytest.raises(HaltError):
        trained(path, tmp_path / "killed", precision, kill=3)
    again = trained(path, tmp_path / "killed", precision)
    for (name, one), other in zip(
        whole.state_dict().items(), again.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("shape", [(3, 200, 40), (2, 30, 50), (3, 200, 40)])
def test_farthest_points_are_those_of_a_cpu(shape: tuple[int, int, int]) -> None:
    """The search is recorded once for each shape and then played again."""
    clouds, points, count = shape
    for seed in range(3):
        g = torch.Generator().manual_seed(seed)
        place = torch.randn(clouds, points, 3, generator=g)
        assert torch.equal(farthest(place.to(DEVICE), count).cpu(), farthest(place, count))


def test_farthest_points_that_were_first_asked_for_in_inference_serve_training() -> None:
    place = torch.randn(4, 77, 3, device=DEVICE)
    with torch.inference_mode():
        first = farthest(place, 9)
    assert torch.equal(farthest(place, 9), first)


# Look at their labels, or at how many of them there are, at every step.
WAIT = {"audio-clusters", "audio-masked_units", "shape-convexity", "video-ambient_sound"}


def test_a_step_does_not_wait_for_the_gpu(path: Path) -> None:
    if f"{path.parts[-3]}-{path.stem}" in WAIT:
        pytest.skip("it does")
    batch = moved(raw(path.parts[-3], path.stem), DEVICE)
    items = Arrays(batch["items"].cpu().numpy())
    loop = Loop(make(path), items, Plan(epochs=STEPS, batch_size=ITEMS), Silence(), torch.ones(1))
    for _ in range(2):  # constants are copied at the first
        loop.forward(batch)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it does not see everything yet
        torch.cuda.set_sync_debug_mode("error")
    try:
        loop.forward(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
