"""The control `supervised`: an encoder that was told every label of the train split."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from modalities.base import Labelled, UserError
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.supervised import RECIPE, supervised
from modalities.image.network import augment, build_encoder, prepare
from modalities.image.tasks.classification import Classification
from modalities.items import Arrays
from tests.modalities.common.test_transfer import Quiet, Splits, rows
from tests.tasks.transfer.test_transfer_stage import ingested, stage

make = partial(build_encoder, "small", widths=[8, 16])
SETTING = Setting(prepare, augment, "fp32", "cpu")
SHORT = replace(RECIPE, min_steps=120, max_steps=120, batch_size=32)


def gratings(per: dict[str, int]) -> Splits:
    """Stripes of three directions at any phase, in noise: nothing that one pixel shows."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:16, :16]
    found = {}
    for split, count in per.items():
        labels = rng.permutation(np.repeat(np.arange(3), count))
        waves = np.array([down, right, down + right])[labels] * 1.3
        stripes = np.sin(waves + rng.uniform(0, 6.3, (len(labels), 1, 1)))
        items = 128 + 40 * stripes[..., None] + rng.normal(0, 25, (len(labels), 16, 16, 3))
        names = [f"{split}{i}" for i in range(len(labels))]
        items = items.clip(0, 255).astype(np.uint8)
        found[split] = Labelled(Arrays(items), labels, names, ["a", "b", "c"])
    return found


def test_features_that_were_told_labels_serve_few_labels() -> None:
    torch.set_num_threads(1)
    splits = gratings({"train": 40, "val": 20, "test": 40})
    encoder, score = supervised(make, splits, SETTING, seed=0, recipe=SHORT)
    assert score is not None
    assert score > 0.9
    assert not encoder.training
    probe = Classification(budgets=[2], draws=3, protocols=["linear"])
    told = rows(list(probe.run("pretrained", lambda: encoder, splits, Quiet())))["linear", 2]
    torch.manual_seed(0)
    untold = make().eval()
    fresh = rows(list(probe.run("pretrained", lambda: untold, splits, Quiet())))["linear", 2]
    assert np.mean(told.values) > np.mean(fresh.values) + 0.2


def test_the_same_seed_gives_the_same_encoder_and_test_labels_decide_nothing() -> None:
    torch.set_num_threads(1)
    splits = gratings({"train": 8, "val": 4, "test": 4})
    recipe = replace(SHORT, min_steps=6, max_steps=6)
    test = splits["test"]
    mixed = {**splits, "test": Labelled(test.items, 2 - test.labels, test.ids, test.classes)}
    one, _ = supervised(make, splits, SETTING, seed=1, recipe=recipe)
    two, _ = supervised(make, mixed, SETTING, seed=1, recipe=recipe)
    other, _ = supervised(make, splits, SETTING, seed=2, recipe=recipe)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(
        torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)
    )


def test_without_labels_it_says_so() -> None:
    splits = gratings({"train": 4})
    bare = replace(splits["train"], labels=np.full(12, -1))
    with pytest.raises(UserError, match=r"controls: supervised: .* found 0"):
        supervised(make, {"train": bare}, SETTING, seed=0)


def test_the_stage_measures_it_as_it_measures_a_run(tmp_path: Path) -> None:
    ingested(tmp_path / "data/image", labelled=True)
    done = stage(tmp_path, "control", "image", "supervised", "classification")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "results/image-supervised/classification/metrics.json"
    metrics = json.loads(path.read_text("utf-8"))
    assert (metrics["run"], metrics["objective"]) == ("supervised", None)
    assert {row["protocol"] for row in metrics["rows"]} == {"linear", "knn", "finetune"}


def test_without_labels_the_stage_has_nothing_to_measure(tmp_path: Path) -> None:
    ingested(tmp_path / "data/image", labelled=False)
    done = stage(tmp_path, "control", "image", "supervised", "classification")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "results/image-supervised/classification/metrics.json"
    assert json.loads(path.read_text("utf-8"))["rows"] == []
