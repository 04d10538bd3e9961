"""Transfer: honest draws, selection on validation only, controls that do what they say."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from modalities.base import Encoder, Labelled
from modalities.common.measuring.finetune import Recipe, batches
from modalities.common.measuring.knn import nearest_item, vote
from modalities.common.measuring.linear import fit_linear
from modalities.common.measuring.problem import Subset, best, draw_labels, problem
from modalities.common.measuring.rows import Row, Skipped
from modalities.image.tasks.classification import Classification, histogram
from modalities.items import Arrays
from tasks.transfer.measures import interval, row_of

SIZE = 16
Splits = dict[str, Labelled]


class Quiet:
    """A Tell that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.fractions: list[float] = []

    def progress(self, fraction: float, text: str = "") -> None:
        self.fractions.append(fraction)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *body: self.heard.append((name, *body))


def coloured(classes: int, per: Mapping[str, int], seed: int = 0) -> Splits:
    """Flat colours, one per class, with noise: easy for whoever sees colour."""
    rng = np.random.default_rng(seed)
    colours = rng.permutation(np.linspace(30, 225, classes))
    found = {}
    for split, count in per.items():
        labels = rng.permutation(np.repeat(np.arange(classes), count))
        noise = rng.normal(0, 4, (len(labels), SIZE, SIZE, 3))
        items = colours[labels][:, None, None, None] * np.array([1.0, 0.5, 0.25]) + noise
        names = [f"{split}{i}" for i in range(len(labels))]
        items = items.clip(0, 255).astype(np.uint8)
        found[split] = Labelled(Arrays(items), labels, names, [f"c{i}" for i in range(classes)])
    return found


def raw(split: Labelled, rows: Any = None) -> np.ndarray:
    return split.items.batch(np.arange(len(split.items)) if rows is None else rows)["items"]


def noise(classes: int, per: Mapping[str, int]) -> Splits:
    """Nothing to be learnt."""
    rng = np.random.default_rng(1)
    splits = coloured(classes, per)
    return {
        name: replace(s, items=Arrays(rng.integers(0, 256, raw(s).shape, np.uint8)))
        for name, s in splits.items()
    }


def run(splits: Splits, start: str = "random", **options: Any) -> list[Row | Skipped]:
    torch.set_num_threads(1)
    options = {"budgets": [1, 5], "draws": 2, **options}
    encoder = None
    if start == "pretrained":
        task = Classification()
        torch.manual_seed(0)
        weights = task._fresh().state_dict()

        def encoder() -> Encoder:
            copy = task._fresh()
            copy.load_state_dict(weights)
            return copy

    return list(Classification(**options).run(start, encoder, splits, Quiet(), seed=3))


def rows(found: list[Row | Skipped]) -> dict[tuple[str, Any], Row]:
    return {(r.protocol, r.budget): r for r in found if isinstance(r, Row)}


PER = {"train": 8, "val": 6, "test": 10}
FAST = {
    "epochs": 2, "min_steps": 4, "max_steps": 8, "batch_size": 16, "evaluations": 2,
    "learning_rates": [0.001, 0.01], "scratch_learning_rates": [0.001, 0.01],
}  # fmt: skip


@pytest.mark.parametrize("values", [[0.1, 0.4, 0.35], [0.5] * 4, [0.2, 0.9]])
def test_intervals_are_scipy_s(values: list[float]) -> None:
    mean, low, high = interval(values)
    assert mean == pytest.approx(np.mean(values))
    if np.ptp(values):
        expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected)
    else:
        assert low == high == mean


def test_an_accuracy_s_interval_stays_in_0_1() -> None:
    row = row_of(Row("supervised", "linear", 1, "accuracy", [0.0, 1.0, 1.0]))
    assert (row["low"], row["high"]) == (0.0, 1.0)
    shapes = row_of(Row("supervised", "finetune", 1, "miou_category", [0.7, 1.0]))
    assert (shapes["low"], shapes["high"]) == (0, 1)
    assert row_of(Row("supervised", "lm", 1, "perplexity", [5.0, 9.0]))["high"] > 9


def test_draws_are_nested_balanced_and_differ() -> None:
    splits = coloured(4, {"train": 30, "val": 2, "test": 2})
    whole = problem(splits)
    drawn = {
        (b, d): draw_labels(whole.train, whole.ids, b, 0, d) for b in (1, 5, 10) for d in (0, 1)
    }
    for draw in (0, 1):
        assert set(drawn[1, draw]) < set(drawn[5, draw]) < set(drawn[10, draw])
    assert set(drawn[5, 0]) != set(drawn[5, 1])
    for (budget, _), at in drawn.items():
        assert (np.bincount(whole.train.labels[at]) == budget).all()
    assert len(draw_labels(whole.train, whole.ids, "all", 0, 0)) == 120


def test_a_new_item_moves_no_other() -> None:
    splits = coloured(2, {"train": 20, "val": 2, "test": 2})
    whole = problem(splits)
    before = {whole.ids[i] for i in draw_labels(whole.train, whole.ids, 5, 0, 0)}
    train = splits["train"]
    labels = np.r_[1, train.labels]
    splits["train"] = Labelled(
        Arrays(raw(train, [0, *range(len(train.ids))])), labels, ["new", *train.ids], train.classes
    )
    whole = problem(splits)
    at = whole.train.at[draw_labels(whole.train, whole.ids, 5, 0, 0)]
    after = {whole.ids[i] for i in at}
    assert len(before - after) <= 1


def test_unlabelled_items_and_other_splits_are_never_drawn() -> None:
    splits = coloured(3, PER)
    train = splits["train"]
    labels = train.labels.copy()
    labels[::3] = -1
    splits["train"] = Labelled(train.items, labels, train.ids, train.classes)
    whole = problem(splits)
    assert (labels[whole.train.at] >= 0).all()
    assert {whole.train.split, whole.val.split, whole.test.split} == {"train", "val", "test"}


@pytest.mark.parametrize("start", ["pretrained", "scratch"])
def test_selection_never_touches_test(start: str) -> None:
    splits = coloured(3, PER)
    rng = np.random.default_rng(0)
    test = splits["test"]
    mixed = {
        **splits,
        "test": Labelled(test.items, rng.permutation(test.labels), test.ids, test.classes),
    }
    one, two = rows(run(splits, start, **FAST)), rows(run(mixed, start, **FAST))
    assert one.keys() == two.keys()
    for key in one:
        assert one[key].chosen == two[key].chosen
        for a, b in zip(one[key].predictions, two[key].predictions, strict=True):
            assert np.array_equal(a, b)


def test_what_can_be_separated_is_separated() -> None:
    found = rows(run(coloured(3, {"train": 20, "val": 10, "test": 20}), "pretrained", budgets=[10]))
    assert {name for name, _ in found} == {"linear", "knn", "finetune"}
    for row in found.values():
        assert min(row.values) == 1.0
        assert row.chosen["val"] == 1.0


@pytest.mark.slow
def test_scratch_learns_from_nothing() -> None:
    splits = coloured(2, {"train": 20, "val": 10, "test": 20})
    row = rows(run(splits, "scratch", budgets=[10]))["finetune", 10]
    assert min(row.values) > 0.9


def test_noise_gives_chance() -> None:
    splits = noise(4, {"train": 10, "val": 10, "test": 60})
    for row in rows(run(splits, "pretrained", **FAST)).values():
        assert abs(np.mean(row.values) - 0.25) < 0.1


def test_random_features_differ_between_draws_and_are_not_trained() -> None:
    found = rows(run(noise(3, PER), "random", budgets=["all"]))
    assert {name for name, _ in found} == {"linear", "knn"}
    first, second = found["linear", "all"].predictions
    assert not np.array_equal(first, second)


def test_the_histogram_solves_colours_and_nothing_else() -> None:
    solved = rows(run(coloured(4, PER), "histogram"))["histogram", 5]
    assert solved.values == [1.0, 1.0]
    subset = Subset(
        "test",
        Arrays(np.full((1, SIZE, SIZE, 3), [255, 0, 64], np.uint8)),
        np.arange(1),
        np.zeros(1),
    )
    assert histogram(subset)[0, 3 * 16 + 0 * 4 + 1] == 1.0


def test_pixels_find_copies() -> None:
    splits = noise(5, {"train": 4, "val": 4, "test": 4})
    splits["test"] = splits["train"]
    found = rows(run(splits, "pixels", budgets=["all", 1]))
    assert found["pixels", "all"].values == [1.0, 1.0]
    assert max(found["pixels", 1].values) < 0.6


def test_nearest_item_is_the_nearest_for_any_kind_of_number() -> None:
    rng = np.random.default_rng(0)
    for kind in (np.uint8, np.int16, np.float32):
        known = Subset(
            "train",
            Arrays(rng.integers(0, 200, (30, 4, 5)).astype(kind)),
            np.arange(0, 30, 2),
            np.arange(15),
        )
        asked = Subset(
            "test",
            Arrays(rng.integers(0, 200, (20, 4, 5)).astype(kind)),
            np.arange(20),
            np.zeros(20),
        )
        far = known.raw()[None].astype(float) - asked.raw()[:, None].astype(float)
        assert np.array_equal(nearest_item(known, asked), (far**2).sum((2, 3)).argmin(1))


def test_majority_says_the_most_frequent() -> None:
    splits = coloured(3, PER)
    train = splits["train"]
    keep = np.r_[np.flatnonzero(train.labels == 2), np.flatnonzero(train.labels < 2)[:5]]
    splits["train"] = Labelled(
        Arrays(raw(train, keep)), train.labels[keep], [train.ids[i] for i in keep], train.classes
    )
    row = rows(run(splits, "majority", budgets=["all"]))["majority", "all"]
    assert all((p == 2).all() for p in row.predictions)
    assert row.values == pytest.approx([1 / 3, 1 / 3])


def test_a_budget_that_the_smallest_class_cannot_give_is_skipped() -> None:
    found = run(coloured(3, PER), "pixels", budgets=[1, 50, "all"])
    skipped = [each for each in found if isinstance(each, Skipped)]
    assert skipped == [Skipped(50, "the smallest class has 8 labelled training items")]
    assert {r.budget for r in found if isinstance(r, Row)} == {1, "all"}


@pytest.mark.parametrize(
    "start", ["pretrained", "scratch", "random", "majority", "histogram", "pixels"]
)
def test_nothing_to_measure_is_no_error(start: str) -> None:
    splits = coloured(3, PER)
    train = splits["train"]
    bare = Labelled(train.items, np.full(len(train.ids), -1), train.ids, [])
    one = coloured(1, PER)
    for case, text in (
        ({"train": bare}, "no labels"),
        ({}, "no labels"),
        (one, "one class only"),
        ({"train": train, "val": splits["val"]}, "no labelled test items"),
    ):
        found = run(case, start)
        assert [type(each) for each in found] == [Skipped, Skipped]
        assert all(isinstance(f, Skipped) and text in f.reason for f in found)


@pytest.mark.parametrize("start", ["pretrained", "scratch", "histogram"])
def test_odd_splits(start: str) -> None:
    """No validation; a class that val and test lack; a class that only they have."""
    splits = coloured(4, PER)
    assert rows(run({k: v for k, v in splits.items() if k != "val"}, start, **FAST))

    def only(split: str, wanted: list[int]) -> Labelled:
        s = splits[split]
        keep = np.flatnonzero(np.isin(s.labels, wanted))
        return Labelled(Arrays(raw(s, keep)), s.labels[keep], [s.ids[i] for i in keep], s.classes)

    odd = {
        "train": only("train", [0, 1, 3]),
        "val": only("val", [1, 2]),
        "test": only("test", [1, 2, 3]),
    }
    for row in rows(run(odd, start, **FAST)).values():
        left = np.isin(odd["test"].labels, [1, 3])
        for codes in row.predictions:
            assert (codes[~left] == -1).all()
            assert np.isin(codes[left], [0, 1, 3]).all()


@pytest.mark.parametrize("start", ["pretrained", "scratch", "random"])
def test_the_same_twice(start: str) -> None:
    splits = coloured(3, PER)
    one, two = rows(run(splits, start, **FAST)), rows(run(splits, start, **FAST))
    for key in one:
        assert one[key].values == two[key].values
        assert one[key].chosen == two[key].chosen


def test_progress_rises_to_the_end() -> None:
    tell = Quiet()
    list(
        Classification(budgets=[1, "all"], draws=2, **FAST).run(
            "scratch", None, coloured(3, PER), tell
        )
    )
    assert tell.fractions == sorted(tell.fractions)
    assert tell.fractions[-1] == pytest.approx(1.0)


def test_knn_is_scikit_learn_s_for_one_neighbour() -> None:
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    support, queries = rng.normal(size=(40, 8)), rng.normal(size=(30, 8))
    labels = rng.integers(0, 4, 40)
    other = KNeighborsClassifier(1, metric="cosine").fit(support, labels)
    assert np.array_equal(vote(support, labels, queries, 1, 4), other.predict(queries))
    assert np.array_equal(
        vote(10 * support, labels, queries, 7, 4), vote(support, labels, queries, 7, 4)
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_the_folded_probe_is_scikit_learn_s(classes: int) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    labels = np.arange(60) % classes
    features = rng.normal(5, 3, (60, 6)) + labels[:, None]
    scaler = StandardScaler().fit(features)
    other = LogisticRegression(C=0.1, tol=1e-3).fit(scaler.transform(features), labels)
    mine = fit_linear(features, labels, [0.1])[0]
    queries = rng.normal(6, 3, (200, 6))
    assert np.array_equal(mine.predict(queries), other.predict(scaler.transform(queries)))


def test_without_validation_the_middle_is_taken() -> None:
    assert best([None] * 5) == 2
    assert best([0.1, 0.7, 0.7]) == 1


def test_every_item_is_seen_equally_often() -> None:
    seen = np.concatenate(list(batches(10, 4, 10, seed=0)))
    assert (np.bincount(seen) == 4).all()
    recipe = Recipe([1e-3], 2, 3, 8, 64, 0, 0, 1, 1)
    assert (recipe.batch(5), recipe.batch(50), recipe.batch(500)) == (32, 50, 64)
    assert (recipe.steps(5), recipe.steps(50_000)) == (3, 8)
