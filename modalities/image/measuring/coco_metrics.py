"""COCO's average precision by pycocotools: of boxes by IoU, of keypoints by OKS.

AP is the mean over IoU (or OKS) thresholds .50:.05:.95 and over categories that the test pictures
show; at most 100 boxes, 20 sets of keypoints a picture. Lin et al. 2014, arXiv:1405.0312.

Shapes: n objects, K keypoints.
"""

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modalities.image.measuring.annotations import Objects

# Of COCO's person, cocodataset.org/#keypoints-eval: how far apart people put the same keypoint.
SIGMAS = {
    "nose": 0.026, "left_eye": 0.025, "right_eye": 0.025, "left_ear": 0.035, "right_ear": 0.035,
    "left_shoulder": 0.079, "right_shoulder": 0.079, "left_elbow": 0.072, "right_elbow": 0.072,
    "left_wrist": 0.062, "right_wrist": 0.062, "left_hip": 0.107, "right_hip": 0.107,
    "left_knee": 0.087, "right_knee": 0.087, "left_ankle": 0.089, "right_ankle": 0.089,
}  # fmt: skip
AP50, AP75 = 0, 5  # places of their thresholds


@dataclass(frozen=True)
class Detected:
    """What a model found in one picture."""

    labels: np.ndarray  # (n,) int64
    scores: np.ndarray  # (n,) float32
    boxes: np.ndarray | None = None  # (n, 4) left, top, right, bottom
    keypoints: Sequence[np.ndarray] | None = None  # n times (K, 2) x, y


def boxes(
    found: Sequence[Detected], truth: Sequence[Objects], categories: Sequence[int]
) -> dict[str, float]:
    """AP, AP50 and AP75 of boxes over `categories`, in [0, 1]."""
    gt = [_truth(o, range(len(o.labels)), at) for at, o in enumerate(truth)]
    dt = [
        {"image_id": at, "category_id": int(label), "score": float(score), "bbox": _xywh(box)}
        for at, each in enumerate(found)
        for label, score, box in zip(each.labels, each.scores, given(each.boxes), strict=True)
    ]
    kept = [note for notes in gt for note in notes]
    precision = _evaluate(kept, dt, len(truth), categories, "bbox", None)
    return _summary(precision, "AP")


def keypoints(
    found: Sequence[Detected], truth: Sequence[Objects], sigmas: dict[int, np.ndarray]
) -> dict[str, float]:
    """OKS AP, OKS AP50 and OKS AP75 over the categories of `sigmas` (category: (K,))."""
    parts = []
    for category, sigma in sigmas.items():
        gt = [
            note
            for at, objects in enumerate(truth)
            for note in _truth(objects, np.flatnonzero(objects.labels == category), at)
            if "keypoints" in note
        ]
        dt = [
            {"image_id": at, "category_id": category, "score": float(each.scores[i]),
             "keypoints": np.c_[given(each.keypoints)[i], np.ones(len(sigma))].ravel().tolist()}
            for at, each in enumerate(found) for i in np.flatnonzero(each.labels == category)
        ]  # fmt: skip
        parts.append(_evaluate(gt, dt, len(truth), [category], "keypoints", sigma))
    return _summary(np.concatenate(parts, 2), "OKS AP")


def given(values: Any) -> Any:
    """Boxes or keypoints of a `Detected` that has them."""
    assert values is not None
    return values


def _xywh(box: np.ndarray) -> list[float]:
    left, top, right, bottom = map(float, box)
    return [left, top, right - left, bottom - top]


def _truth(objects: Objects, which: Any, image: int) -> list[dict[str, Any]]:
    notes = []
    for i in which:
        note = {
            "image_id": image, "category_id": int(objects.labels[i]),
            "bbox": _xywh(objects.boxes[i]), "area": float(objects.area[i]),
            "iscrowd": int(objects.crowd[i]),
        }  # fmt: skip
        points = objects.keypoints[i]
        if points is not None:
            note["keypoints"] = points.ravel().tolist()
            note["num_keypoints"] = int((points[:, 2] > 0).sum())
        notes.append(note)
    return notes


def _evaluate(
    gt: list[dict[str, Any]], dt: list[dict[str, Any]], images: int, categories: Sequence[int],
    kind: str, sigmas: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Precision (thresholds, recalls, categories); -1 where a category is not in the pictures."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not dt:
        shown = {n["category_id"] for n in gt if not n["iscrowd"] and n.get("num_keypoints", 1)}
        none = [-1.0 if c not in shown else 0.0 for c in categories]
        return np.broadcast_to(np.array(none), (10, 101, len(none)))
    with contextlib.redirect_stdout(io.StringIO()):
        data = COCO()
        data.dataset = {
            "info": {}, "images": [{"id": at} for at in range(images)],
            "annotations": [{"id": at, **note} for at, note in enumerate(gt, 1)],
            "categories": [{"id": int(c)} for c in categories],
        }  # fmt: skip
        data.createIndex()
        judge = COCOeval(data, data.loadRes(dt), kind)
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.params.maxDets = [20] if kind == "keypoints" else [100]
        judge.params.catIds = [int(c) for c in categories]
        if sigmas is not None:
            judge.params.kpt_oks_sigmas = sigmas
        judge.evaluate()
        judge.accumulate()
    return np.asarray(judge.eval["precision"][:, :, :, 0, 0])


def _summary(precision: np.ndarray, name: str) -> dict[str, float]:
    def mean(part: np.ndarray) -> float:
        known = part[part > -1]
        return float(known.mean()) if known.size else 0.0

    return {name: mean(precision), f"{name}50": mean(precision[AP50]),
            f"{name}75": mean(precision[AP75])}  # fmt: skip
