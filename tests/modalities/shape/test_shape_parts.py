"""Part segmentation: the mIoU as ShapeNetPart has it, and what the task does with few shapes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modalities.base import Labelled, UserError
from modalities.common.measuring.finetune import Recipe
from modalities.common.measuring.problem import Subset, problem
from modalities.common.measuring.rows import Row, Skipped
from modalities.common.training.monitor import Silence
from modalities.items import Arrays
from modalities.shape.drawing.pictures import draw
from modalities.shape.measuring.joint import Joint
from modalities.shape.measuring.miou import Catalogue, means, shape_iou
from modalities.shape.measuring.predicted import SIDES
from modalities.shape.measuring.segmentation import Segmenter, Setting, Trial, fit, scores
from modalities.shape.network.encoder import build
from modalities.shape.network.views import Change
from modalities.shape.objectives.convexity import Convexity
from modalities.shape.tasks.classification import Classification
from modalities.shape.tasks.parts import Parts, catalogue, with_parts

torch.set_num_threads(1)
TINY: dict[str, Any] = {"width": 8, "dim": 16, "centres": [16, 4], "neighbours": 6}


def test_a_part_that_is_nowhere_counts_as_one() -> None:
    true, said = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    assert shape_iou(said, true, [0, 1]) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert shape_iou(said, true, [0, 1, 2]) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    wrong = np.array([0, 0, 1, 2])  # the absent part is predicted: 0
    assert shape_iou(wrong, true, [0, 1, 2]) == pytest.approx((1 + 1 / 2 + 0) / 3)
    unknown = np.array([0, 0, 1, -1])
    assert shape_iou(said, unknown, [0, 1]) == 1


def test_means_are_over_shapes_and_over_categories() -> None:
    values, codes = np.array([1.0, 0.5, 0.5, 0.0]), np.array([0, 1, 1, 1])
    instance, category = means(values, codes)
    assert instance == pytest.approx(0.5)
    assert category == pytest.approx((1 + 1 / 3) / 2)


def test_the_catalogue_numbers_all_parts_of_all_categories() -> None:
    found = Catalogue(((0, 3), (12, 13, 14)))
    assert found.size == 5
    assert found.classes(np.array([0, 3, -1, 12]), 0).tolist() == [0, 1, -1, -1]
    assert found.classes(np.array([14, 12]), 1).tolist() == [4, 2]
    assert found.allowed().tolist() == [[True, True, False, False, False],
                                        [False, False, True, True, True]]  # fmt: skip


def shapes(count: int, seed: int, *, parts: bool = True) -> np.ndarray:
    """Rods (parts 0, 1: halves along x) and, every other one, discs (parts 2, 3: by the normal)."""
    rng = np.random.default_rng(seed)
    items = np.zeros((count, 96, 7), np.float32)
    for i in range(count):
        place = rng.normal(size=(96, 3)) * ((1, 0.1, 0.1) if i % 2 == 0 else (0.6, 0.6, 0.05))
        normal = rng.normal(size=(96, 3))
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        if i % 2 == 0:
            part = (place[:, 0] > 0).astype(float)
        else:
            part = 2 + (normal[:, 2] > 0).astype(float)
        items[i] = np.concatenate([place, normal, part[:, None] if parts else -np.ones((96, 1))], 1)
    return items


def split(count: int, seed: int, **how: bool) -> Labelled:
    codes = np.arange(count) % 2
    items = Arrays(shapes(count, seed, **how))
    return Labelled(items, codes, [f"{seed}-{i}" for i in range(count)], ["rod", "disc"])


def raw(split: Labelled) -> np.ndarray:
    return split.items.batch(np.arange(len(split.items)))["items"]


@pytest.fixture
def splits() -> Iterator[dict[str, Labelled]]:
    yield {"train": split(16, 0), "val": split(6, 1), "test": split(8, 2)}


def quick(**more: Any) -> Parts:
    options = {"budgets": [2], "draws": 2, "learning_rates": [0.01], "min_steps": 30,
               "scratch_learning_rates": [0.01], "max_steps": 30, "batch_size": 4, "points": 64,
               "encoder_options": TINY, "scratch_factor": 1.0}  # fmt: skip
    return Parts(**(options | more))


def rows(task: Any, start: str, splits: dict[str, Labelled], encoder: Any = None) -> list[Any]:
    return list(task.run(start, encoder, splits, Silence(), seed=1))


def test_few_shapes_are_enough_for_an_easy_cut(splits: dict[str, Labelled]) -> None:
    found = rows(quick(), "scratch", splits)
    assert [(r.protocol, r.metric) for r in found] == [
        ("finetune", "miou_category"), ("finetune", "miou_instance"),
    ]  # fmt: skip
    assert all(len(r.values) == 2 for r in found)
    assert min(found[0].values) > 0.75, "chance is about .33"
    again = rows(quick(), "scratch", splits)
    assert [r.values for r in again] == [r.values for r in found]


def test_one_category_has_parts_to_tell_apart(splits: dict[str, Labelled]) -> None:
    def rods(split: Labelled, part: float | None = None) -> Labelled:
        items = raw(split)[::2].copy()
        items[..., 6] = items[..., 6] if part is None else part
        return Labelled(Arrays(items), split.labels[::2], split.ids[::2], ["rod"])

    found = rows(quick(), "scratch", {name: rods(each) for name, each in splits.items()})
    assert len(found) == 2 and min(found[0].values) > 0.7
    (skipped,) = rows(quick(), "scratch", {name: rods(each, 0) for name, each in splits.items()})
    assert isinstance(skipped, Skipped) and skipped.reason == "one part only: nothing to tell apart"


def test_what_was_predicted_is_drawn_beside_the_truth(
    splits: dict[str, Labelled], tmp_path: Path
) -> None:
    task = quick()
    rows(task, "scratch", splits)
    shown = task.examples["finetune"]
    codes = splits["test"].labels
    assert len(np.unique(codes)) == 2 and len(shown) == 6, "three of each category"
    first = [np.flatnonzero(codes == code)[at] for code in (0, 1) for at in range(3)]
    for each, row in zip(shown, first, strict=True):
        assert np.array_equal(each.item, raw(splits["test"])[row]), "in the order of categories"
        known = each.true >= 0
        assert (each.true[known] == each.predicted[known]).mean() > 0.75
        assert each.predicted.min() >= 0 and each.predicted.max() <= each.true.max()
    task.show(tmp_path)
    for name, of in {"answer": "true", "found": "predicted"}.items():
        picture = np.asarray(Image.open(tmp_path / f"{name}.png"))
        assert picture.shape == (96, 2 * len(shown) * 100 - 4, 3)
        for place, each in enumerate(shown):
            drawn = draw(each.item, getattr(each, of), size=96, turn=SIDES[1])
            assert np.array_equal(picture[:, 200 * place + 100 :][:, :96], drawn)
            assert (drawn < 250).any(), "not blank"
    quick().show(tmp_path / "nothing")  # nothing was run, nothing is written
    assert not (tmp_path / "nothing").exists()


def test_the_protocol_that_validation_prefers_is_drawn(
    splits: dict[str, Labelled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, drawn = quick(min_steps=2, max_steps=2), []
    monkeypatch.setattr(
        "modalities.shape.tasks.parts.show_parts", lambda examples, _: drawn.append(examples)
    )
    found = rows(task, "pretrained", splits, lambda: build("small", **TINY))
    assert task.reached == {row.protocol: row.chosen["val"] for row in found}
    for reached, name in (
        ((0.4, 0.5), "frozen"),
        ((0.5, 0.4), "finetune"),
        ((None,) * 2, "finetune"),
    ):
        task.reached = dict(zip(("finetune", "frozen"), reached, strict=True))
        task.show(tmp_path)
        assert drawn[-1] is task.examples[name]


def test_a_network_of_its_own_for_each_category_sees_no_other(
    splits: dict[str, Labelled], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[set[int], set[int]]] = []

    def watched(model: Segmenter, train: Subset, val: Subset, *rest: Any) -> Trial:
        seen.append((set(train.labels.tolist()), set(val.labels.tolist())))
        return fit(model, train, val, *rest)

    monkeypatch.setattr("modalities.shape.measuring.part_runs.fit", watched)
    found = rows(quick(per_category=True, learning_rates=[0.01]), "scratch", splits)
    assert seen == [({0}, {0}), ({1}, {1})] * 2, "two draws of two categories"
    assert min(found[0].values) > 0.75
    assert len(found[0].chosen["steps"]) == 4


def test_starts_have_the_protocols_that_make_sense(splits: dict[str, Labelled]) -> None:
    task = quick(min_steps=2, max_steps=2)
    kinds = {
        start: {r.protocol for r in rows(task, start, splits, encoder)}
        for start, encoder in (
            ("pretrained", lambda: build("small", **TINY)), ("scratch", None), ("random", None),
        )
    }  # fmt: skip
    assert kinds == {
        "pretrained": {"finetune", "frozen"}, "scratch": {"finetune"}, "random": {"frozen"},
    }  # fmt: skip


def test_frozen_means_that_the_encoder_stays(splits: dict[str, Labelled]) -> None:
    whole = with_parts(problem(splits))
    encoder = build("small", **TINY)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    setting = settings(catalogue(whole))
    model = Segmenter(encoder, setting.catalogue, frozen=True)
    head = model.head[1].weight.clone()  # type: ignore[union-attr, operator]
    fit(model, whole.train, whole.val, setting, 0.01, 0)
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    assert not torch.equal(head, model.head[1].weight)  # type: ignore[arg-type]


def settings(parts: Catalogue, **more: Any) -> Setting:
    recipe = Recipe([0.01], 1, 8, 8, 4, 0.0, 0.0, 2, 3)
    return Setting(recipe, parts, 64, Change(), "fp32", "cpu", **more)


def test_only_parts_of_the_category_are_predicted(splits: dict[str, Labelled]) -> None:
    whole = with_parts(problem(splits))
    parts = catalogue(whole)
    assert parts.parts == ((0, 1), (2, 3))
    model = Segmenter(build("small", **TINY), parts, frozen=False).eval()
    with torch.inference_mode():
        logits = model(torch.randn(2, 50, 6), torch.tensor([0, 1]))
    assert set(logits[0].argmax(-1).tolist()) <= {0, 1}
    assert set(logits[1].argmax(-1).tolist()) <= {2, 3}
    found = scores(model, whole.test, settings(parts))
    assert found.shape == (8,)
    assert ((found >= 0) & (found <= 1)).all()


def test_test_shapes_decide_nothing(splits: dict[str, Labelled]) -> None:
    one = rows(quick(), "scratch", splits)
    other = {**splits, "test": split(8, 77)}
    two = rows(quick(), "scratch", other)
    assert one[0].chosen == two[0].chosen
    assert one[0].values != two[0].values


def test_what_cannot_be_measured_is_skipped_with_a_reason(splits: dict[str, Labelled]) -> None:
    bare = {**splits, "train": split(16, 0, parts=False)}
    assert [type(r) for r in rows(quick(), "scratch", bare)] == [Skipped]
    many = rows(quick(budgets=[9]), "scratch", splits)
    assert isinstance(many[0], Skipped)
    assert "8 labelled" in many[0].reason


def test_joint_training_moves_the_encoder_by_both_losses(splits: dict[str, Labelled]) -> None:
    whole = with_parts(problem(splits))
    items = raw(splits["train"])
    free = items[..., 6].astype(np.int32)
    seen: list[float] = []

    class Watched(Convexity):
        def forward(self, batch: Any) -> Any:
            found = super().forward(batch)
            seen.append(float(found.loss.detach()))
            return found

    joint = Joint(
        Arrays(items), free, 10.0, 4, lambda encoder: Watched(encoder, points=64, turn="none")
    )
    setting = settings(catalogue(whole), joint=joint)
    torch.manual_seed(0)
    model = Segmenter(build("small", **TINY), setting.catalogue, frozen=False)
    fit(model, whole.train, whole.val, setting, 0.01, 0)
    assert len(seen) == 8, "a batch of pieces for each supervised one"
    assert np.mean(seen[-3:]) < np.mean(seen[:3])


def test_the_weight_of_the_joint_loss_counts(splits: dict[str, Labelled]) -> None:
    """With next to none training is the supervised one; Adam does not divide a weight out."""
    whole = with_parts(problem(splits))
    items = raw(splits["train"])
    plain = settings(catalogue(whole))

    def trained(weight: float | None) -> torch.Tensor:
        setting = plain
        if weight is not None:
            joint = Joint(
                Arrays(items), items[..., 6].astype(np.int32), weight, 4,
                lambda encoder: Convexity(encoder, points=64, turn="none"),
            )  # fmt: skip
            setting = replace(plain, joint=joint)
        torch.manual_seed(0)
        model = Segmenter(build("small", **TINY), setting.catalogue, frozen=False)
        fit(model, whole.train, whole.val, setting, 0.01, 0)
        return torch.cat([each.flatten() for each in model.encoder.parameters()])

    alone = trained(None)
    moved = [float(((trained(w) - alone).abs() > 1e-3).float().mean()) for w in (1e-9, 1e-3, 1.0)]
    assert moved[0] < 0.1, "but for biases before a normalisation, which have no gradient"
    assert moved[0] < moved[1] < moved[2] > 0.5


def test_the_protocol_joint_learns_from_the_labels_of_its_run(splits: dict[str, Labelled]) -> None:
    def encoder() -> Any:
        return build("small", **TINY)

    task = quick(points=48, min_steps=8, max_steps=8, protocols=["finetune", "joint"])
    bare = rows(task, "pretrained", splits, encoder)
    assert [r.reason for r in bare if isinstance(r, Skipped)] == [
        "joint: the run has no free labels"
    ]
    assert {r.protocol for r in bare if isinstance(r, Row)} == {"finetune"}

    train = splits["train"]
    free = replace(train, free=raw(train)[..., 6].astype(np.int32))
    found = rows(task, "pretrained", {**splits, "train": free}, encoder)
    one, two = (next(r for r in found if r.protocol == p) for p in ("finetune", "joint"))
    assert one.values == next(r for r in bare if isinstance(r, Row)).values
    assert one.values != two.values
    assert rows(task, "random", splits, encoder) == []


def test_the_control_joint_needs_and_uses_free_labels(splits: dict[str, Labelled]) -> None:
    with pytest.raises(UserError, match="needs free labels"):
        rows(quick(), "joint", splits)
    train = splits["train"]
    free = raw(train)[..., 6].astype(np.int32)
    task = quick(points=48, min_steps=8, max_steps=8)
    one, two = (
        rows(task, start, {**splits, "train": replace(train, free=free)})[0].values
        for start in ("joint", "scratch")
    )
    assert one != two


def test_shapes_are_classified(splits: dict[str, Labelled]) -> None:
    task = Classification(budgets=[4], draws=2, protocols=["linear", "knn"], encoder_options=TINY)
    found = rows(task, "pretrained", splits, lambda: build("small", **TINY))
    assert {r.protocol for r in found if isinstance(r, Row)} == {"linear", "knn"}
    assert all(min(r.values) > 0.7 for r in found), "rods and discs"
    assert rows(task, "majority", splits)[0].values == [0.5, 0.5]
    quick = Classification(budgets=[4], draws=2, min_steps=10, max_steps=10, batch_size=8,
                           scratch_learning_rates=[0.01], encoder_options=TINY)  # fmt: skip
    assert [r.protocol for r in rows(quick, "scratch", splits)] == ["finetune"]


def test_a_pick_without_parts_is_cut() -> None:
    items = np.concatenate([shapes(2, 0), shapes(2, 1, parts=False)])
    whole = problem(
        {"train": Labelled(Arrays(items), np.array([0, 1, 0, 1]), list("abcd"), ["rod", "disc"])}
    )
    assert with_parts(whole).train.at.tolist() == [0, 1]
    assert isinstance(with_parts(whole).val, Subset)
