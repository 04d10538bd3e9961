"""Detection, segmentation and keypoints as tasks: learning a tiny set, budgets, obstacles."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dense_world import coco_world, draw, ingested, voc_world

from modalities.base import Encoder
from modalities.common.measuring.problem import problem
from modalities.common.measuring.rows import Row, Skipped, Task
from modalities.image.measuring.annotations import annotated, only
from modalities.image.measuring.contract import setting
from modalities.image.measuring.pyramid import Pyramid
from modalities.image.network import build_encoder
from tasks.channel import Channel
from tasks.data.dataset import load

NAMES = ("detection", "segmentation", "keypoints")
METRICS = {
    "detection": ["AP", "AP50", "AP75"], "segmentation": ["mIoU"],
    "keypoints": ["OKS AP", "OKS AP50", "OKS AP75"],
}  # fmt: skip
FAST: dict[str, Any] = {
    "budgets": [2], "draws": 2, "epochs": 1, "min_steps": 2, "max_steps": 2, "batch_size": 4,
    "evaluations": 1, "learning_rates": [0.003], "scratch_learning_rates": [0.003],
    "width": 32, "encoder_options": {"widths": [8, 16, 24]},
}  # fmt: skip
SIZE = 32


def task(name: str, **options: Any) -> Any:
    module = importlib.import_module(f"modalities.image.tasks.{name}")
    return getattr(module, name.capitalize())(**options)


def small() -> Encoder:
    torch.manual_seed(0)
    return build_encoder("small", widths=[8, 16, 24])


def rows(
    made: Task, folder: Path, start: str, make: Callable[[], Encoder] | None = None
) -> list[Row | Skipped]:
    found: Iterator[Row | Skipped] = made.run(start, make, load(folder), Channel("test"))
    return list(found)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense")
    source = coco_world(folder / "coco", {"train": 16, "val": 6, "test": 8}, SIZE)
    return ingested(folder / "project", source, SIZE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "least"), [("detection", 0.6), ("segmentation", 0.85), ("keypoints", 0.75)]
)
def test_a_tiny_set_is_learnt(name: str, least: float, world: Path) -> None:
    """All training pictures told, from random weights: what was trained on is known by heart."""
    options = {
        "encoder_options": {"widths": [16, 32, 64]}, "learning_rates": [0.01], "width": 32,
        "min_steps": 220, "max_steps": 220, "batch_size": 16, "evaluations": 4, "patience": 4,
        "scratch_factor": 1.0, "scratch_learning_rates": [0.01], "validation": 16,
    }  # fmt: skip
    made = task(name, **options, budgets=["all"], draws=2)
    splits = load(world)
    splits = {"train": splits["train"], "val": splits["train"], "test": splits["train"]}
    made.draws = 1  # the others are not looked at
    values = [
        row.values[0]
        for row in made.run("scratch", None, splits, Channel("test"))
        if isinstance(row, Row) and row.metric == METRICS[name][0]
    ]
    assert values[0] > least


@pytest.mark.parametrize("name", NAMES)
def test_protocols_budgets_and_pictures(name: str, world: Path, tmp_path: Path) -> None:
    made = task(name, **{**FAST, "budgets": [2, 50]})
    found = rows(made, world, "pretrained", small)
    kept = [row for row in found if isinstance(row, Row)]
    assert [(r.protocol, r.metric) for r in kept] == [
        (protocol, metric) for protocol in ("frozen", "finetune") for metric in METRICS[name]
    ]
    assert all(r.budget == 2 and len(r.values) == 2 and r.learner == "supervised" for r in kept)
    assert all(0 <= value <= 1 for row in kept for value in row.values)
    assert all(set(r.chosen) == {"val", "learning_rate", "steps"} for r in kept)
    (skipped,) = [each for each in found if isinstance(each, Skipped)]
    assert skipped.budget == 50 and "the smallest class has" in skipped.reason
    made.show(tmp_path)
    (picture,) = tmp_path.glob("*.png")
    assert picture.stat().st_size > 5000
    again = [r for r in rows(task(name, **FAST), world, "pretrained", small) if isinstance(r, Row)]
    assert [r.values for r in again] == [r.values for r in kept]


@pytest.mark.parametrize("name", NAMES)
def test_controls(name: str, world: Path) -> None:
    """Scratch is trained, random is frozen, and what has no places is skipped with a reason."""
    scratch = [r for r in rows(task(name, **FAST), world, "scratch") if isinstance(r, Row)]
    assert {r.protocol for r in scratch} == {"finetune"}
    random = [r for r in rows(task(name, **FAST), world, "random") if isinstance(r, Row)]
    assert {r.protocol for r in random} == {"frozen"}
    for control in ("majority", "histogram", "pixels"):
        (skipped,) = rows(task(name, **FAST), world, control)
        assert isinstance(skipped, Skipped) and "no such control" in skipped.reason


@pytest.mark.parametrize("name", NAMES)
def test_a_frozen_encoder_stays_as_it_is(name: str, world: Path) -> None:
    made = task(name, **{**FAST, "protocols": ["frozen", "finetune"]})
    rows(made, world, "pretrained", small)
    notes = annotated(load(world), made.result.kind)
    whole = problem(only(load(world), notes, made.result.kind))
    head = made.result.places.head(small()).train()
    head.pyramid.freeze()
    before = {k: v.clone() for k, v in head.pyramid.encoder.state_dict().items()}
    from modalities.base import Randomness

    rng = Randomness(torch.Generator().manual_seed(0), total=4)
    x, target = made.result.places.batch(whole.train.part(np.arange(4)), rng, "cpu")
    head.train()
    loss = head.loss(x, target)
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert all(p.grad is None for p in head.pyramid.encoder.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    after = head.pyramid.encoder.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    head.pyramid.thaw()
    head.train()
    head.loss(x, target).backward()
    assert all(p.grad is not None for p in head.pyramid.encoder.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_without_annotations_it_is_skipped(name: str, tmp_path: Path) -> None:
    for at in range(12):
        draw(tmp_path / "s" / "xy"[at % 2] / f"{at}.png", (20, 20), [("brick", (2, 2, 9, 9))], at)
    folder = ingested(tmp_path / "p", tmp_path / "s", 32)
    (skipped,) = rows(task(name, **FAST), folder, "scratch")
    assert isinstance(skipped, Skipped) and skipped.reason.startswith("the data have no")


def test_voc_folders_are_segmented(tmp_path: Path) -> None:
    """VOC's classes, one of which only test pictures show: nobody could learn it."""
    pictures: Any = {
        f"{split}{at}": (split, [("person", (2 + at, 2 + low, 20, 24), False)])
        for low, split in enumerate(("train", "val", "test")) for at in range(4)
    }  # fmt: skip
    pictures["test0"] = (
        "test",
        [("person", (2, 2, 20, 24), False), ("dog", (22, 0, 32, 9), False)],
    )
    folder = ingested(tmp_path / "p", voc_world(tmp_path / "v", pictures, (32, 32)), 32)
    made = task("segmentation", **FAST)
    (row,) = [r for r in rows(made, folder, "scratch") if isinstance(r, Row)]
    assert made.result.places.names == ["background", "person"]
    assert row.metric == "mIoU"


@pytest.mark.parametrize(
    ("name", "options", "finest"),
    [("small", {}, 2), ("vit", {"patch": 8, "width": 48, "depth": 1}, 8),
     ("resnet18", {"stem": "small"}, 2), ("mobilenet_v3_small", {}, 2)],
)  # fmt: skip
def test_every_encoder_has_a_door(name: str, options: dict[str, Any], finest: int) -> None:
    pyramid = Pyramid(build_encoder(name, **options), 32, width=32, finest=2)  # type: ignore[arg-type]
    levels = pyramid(torch.zeros(2, 3, 32, 32))
    assert [32 / level.shape[3] for level in levels.values()] == pyramid.strides
    assert pyramid.strides[0] == finest
    assert all(level.shape[:2] == (2, 32) for level in levels.values())
    assert pyramid.strides == sorted(set(pyramid.strides))


def test_what_is_found_is_in_the_pictures_places() -> None:
    """Keypoints read from heatmaps with a known peak, between pixels too."""
    from modalities.image.tasks.keypoints import peaks

    at = torch.arange(32) + 0.5
    x, y = 10.8, 20.3
    away = (at[:, None] - y) ** 2 + (at[None, :] - x) ** 2
    places, sure = peaks((-away / 2)[None, None])
    assert places[0, 0].tolist() == pytest.approx([x, y], abs=0.1)
    assert 0.9 < float(sure) <= 1
    assert setting("fp32").precision == "fp32"
