"""AP of boxes, AP by OKS and mIoU, against cases worked by hand and slow references."""

from typing import Any

import numpy as np
import pytest

from modalities.image.measuring.annotations import Objects
from modalities.image.measuring.coco_metrics import Detected, boxes, keypoints
from modalities.image.measuring.miou import confusion, iou, mean_iou

THRESHOLDS = np.linspace(0.5, 0.95, 10)


def truth(
    boxes_: list[list[float]], labels: list[int], crowd: list[bool] | None = None,
    points: list[Any] | None = None,
) -> Objects:  # fmt: skip
    box = np.array(boxes_, np.float32).reshape(-1, 4)
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return Objects(
        box, np.array(labels, np.int64), area,
        np.array(crowd or [False] * len(labels)), points or [None] * len(labels),
    )  # fmt: skip


def found(boxes_: list[list[float]], labels: list[int], scores: list[float]) -> Detected:
    return Detected(np.array(labels), np.array(scores, np.float32), np.array(boxes_, np.float32))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boxes, pixel by pixel of a fine grid in mind: by intersection and union."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, wide) * max(0.0, high)
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return float(both / (sum(areas) - both))


def slow_ap(
    candidates: list[tuple[float, int, Any]], facts: list[list[Any]], likeness: Any,
    thresholds: np.ndarray = THRESHOLDS,
) -> list[float]:  # fmt: skip
    """AP at each threshold, from the definition: (score, picture, thing), things per picture."""
    total, values = sum(map(len, facts)), []
    for threshold in thresholds:
        free = [set(range(len(own))) for own in facts]
        hits = []
        for _, picture, thing in sorted(candidates, key=lambda c: -c[0]):
            near = sorted((likeness(thing, facts[picture][i]), i) for i in free[picture])
            hits.append(bool(near) and near[-1][0] >= threshold)
            if hits[-1]:
                free[picture].remove(near[-1][1])
        right = np.cumsum(hits)
        recall, precision = right / total, right / np.arange(1, len(hits) + 1)
        points = [
            max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0)
            for level in np.linspace(0, 1, 101)
        ]
        values.append(float(np.mean(points)))
    return values


def test_boxes_by_hand() -> None:
    """Two objects, one found with IoU 0.6 and one not: recall 0.5 at .50, .55, .60 and no more."""
    facts = [truth([[0, 0, 10, 10], [20, 20, 30, 30]], [0, 0])]
    guess = [found([[0, 0, 10, 6.1]], [0], [0.9])]
    scores = boxes(guess, facts, [0])
    half = 51 / 101  # recall levels 0, .01, ..., .50 have precision 1
    assert scores["AP50"] == pytest.approx(half)
    assert scores["AP75"] == 0
    assert scores["AP"] == pytest.approx(3 / 10 * half)


def test_a_second_box_on_an_object_is_wrong_and_a_crowd_is_not_counted() -> None:
    facts = [truth([[0, 0, 10, 10], [40, 0, 60, 20]], [0, 0], [False, True])]
    twice = [found([[0, 0, 10, 10], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    assert boxes(twice, facts, [0])["AP"] == pytest.approx(1.0)  # after full recall
    first = [found([[1, 9, 2, 10], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    assert boxes(first, facts, [0])["AP"] == pytest.approx(0.5)
    crowd = [found([[41, 1, 50, 10], [0, 0, 10, 10]], [0, 0], [0.9, 0.8])]
    assert boxes(crowd, facts, [0])["AP"] == pytest.approx(1.0)


def test_categories_count_alike_and_absent_ones_do_not() -> None:
    facts = [truth([[0, 0, 10, 10]] * 2, [0, 2])]
    guess = [found([[0, 0, 10, 10], [0, 0, 10, 10]], [0, 1], [0.9, 0.9])]
    assert boxes(guess, facts, [0, 1, 2])["AP"] == pytest.approx(0.5)
    nothing = [Detected(np.array([], int), np.array([]), np.zeros((0, 4)))]
    assert boxes(nothing, facts, [0, 1, 2])["AP"] == 0


@pytest.mark.parametrize("seed", range(5))
def test_boxes_as_the_slow_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    facts, guesses = [], []
    for _ in range(12):
        corner = rng.uniform(0, 20, (3, 2))
        box = np.c_[corner, corner + rng.uniform(4, 12, (3, 2))].astype(np.float32)
        near = box[rng.integers(3, size=5)] + rng.normal(0, 0.8, (5, 4))
        facts.append(truth(box.tolist(), rng.integers(2, size=3).tolist()))
        guesses.append(
            found(near.tolist(), rng.integers(2, size=5).tolist(), rng.random(5).tolist())
        )
    expected = []
    for kind in range(2):
        own = [list(f.boxes[f.labels == kind]) for f in facts]
        mine = [
            (float(s), at, b)
            for at, g in enumerate(guesses)
            for s, b, label in zip(g.scores, g.boxes, g.labels, strict=True)  # type: ignore[arg-type]
            if label == kind
        ]
        expected.append(slow_ap(mine, own, overlap))
    measured = boxes(guesses, facts, [0, 1])
    assert measured["AP"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert measured["AP50"] == pytest.approx(np.mean([e[0] for e in expected]), abs=1e-6)
    assert 0.05 < measured["AP"] < 0.9


def oks(one: np.ndarray, other: tuple[np.ndarray, float], sigma: np.ndarray) -> float:
    """COCO's definition: mean over labelled keypoints of exp(-d^2 / (2 s^2 k^2)), k = 2 sigma."""
    points, area = other
    seen = points[:, 2] > 0
    squared = ((one - points[:, :2]) ** 2).sum(1)
    return float(np.exp(-squared / (2 * area * (2 * sigma) ** 2))[seen].mean())


def test_oks_by_hand() -> None:
    """One keypoint a distance away at which OKS is 0.7: found at .50 to .70, five of ten."""
    sigma, area = 0.1, 100.0
    away = np.sqrt(-2 * np.log(0.701) * area) * 2 * sigma
    points = np.array([[5, 5, 2], [3, 3, 0]], np.float32)
    facts = [truth([[0, 0, 10, 10]], [4], points=[points])]
    guess = [
        Detected(np.array([4]), np.array([0.5]), keypoints=[np.array([[5 + away, 5], [99, 99]])])
    ]
    scores = keypoints(guess, facts, {4: np.array([sigma, sigma])})
    assert scores == pytest.approx({"OKS AP": 0.5, "OKS AP50": 1.0, "OKS AP75": 0.0})
    wide = keypoints(guess, facts, {4: np.array([2 * sigma, sigma])})
    assert wide["OKS AP"] == pytest.approx(0.9)  # OKS 0.701 ** (1 / 4) = 0.915: up to .90


@pytest.mark.parametrize("seed", range(4))
def test_oks_as_the_slow_reference(seed: int) -> None:
    """Categories with other numbers of keypoints and other sigmas, averaged."""
    rng = np.random.default_rng(seed)
    sigmas = {0: np.array([0.05, 0.1, 0.08]), 3: np.array([0.1, 0.07])}
    facts, guesses = [], []
    for _ in range(10):
        labels = [int(k) for k in rng.choice([0, 3], 2)]
        points, near = [], []
        for label in labels:
            at = rng.uniform(0, 30, (len(sigmas[label]), 2))
            seen = np.r_[2, rng.integers(0, 3, len(at) - 1)]
            points.append(np.c_[at, seen].astype(np.float32))
            near.append(at + rng.normal(0, 2, at.shape))
        facts.append(truth([[0, 0, 20, 15], [5, 5, 30, 25]], labels, points=points))
        guesses.append(Detected(np.array(labels), rng.random(2).astype(np.float32), keypoints=near))
    expected = []
    for kind, sigma in sigmas.items():
        own = [
            [(f.keypoints[i], float(f.area[i])) for i in np.flatnonzero(f.labels == kind)]
            for f in facts
        ]
        mine = [
            (float(g.scores[i]), at, g.keypoints[i])  # type: ignore[index]
            for at, g in enumerate(guesses)
            for i in np.flatnonzero(g.labels == kind)
        ]
        expected.append(slow_ap(mine, own, lambda a, b, s=sigma: oks(a, b, s)))
    scores = keypoints(guesses, facts, sigmas)
    assert scores["OKS AP"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert 0.05 < scores["OKS AP"] < 0.95


def test_miou_by_hand() -> None:
    """Background 2 of 3, class 1: 1 of 3; class 2 is predicted but not there: 0; 3 is neither."""
    facts = np.array([[[0, 0, 0, 1], [1, 255, 255, 255]]], np.uint8)
    guess = np.array([[[0, 0, 1, 1], [2, 3, 1, 0]]], np.uint8)
    assert confusion(facts, guess, 4).sum() == 5  # 255 is left out
    values = iou(confusion(facts, guess, 4))
    assert values[:3] == pytest.approx([2 / 3, 1 / 3, 0]) and np.isnan(values[3])
    assert mean_iou(facts, guess, 4) == pytest.approx((2 / 3 + 1 / 3 + 0) / 3)


def test_miou_as_the_slow_reference() -> None:
    """Over all pictures together, not picture by picture."""
    rng = np.random.default_rng(0)
    facts = rng.choice([0, 1, 2, 3, 255], (6, 9, 9)).astype(np.uint8)
    guess = np.where(rng.random(facts.shape) < 0.6, facts % 5, rng.integers(0, 5, facts.shape))
    values = []
    for kind in range(5):
        both = union = 0
        for t, p in zip(facts.ravel(), guess.ravel(), strict=True):
            if t != 255:
                both += t == kind and p == kind
                union += kind in (t, p)
        values.append(both / union)
    assert mean_iou(facts, guess.astype(np.uint8), 5) == pytest.approx(np.mean(values))
