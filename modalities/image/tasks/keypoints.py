"""Finding the named points of objects with few labelled pictures: COCO's AP by OKS.

Top-down with the true boxes, as in Xiao et al. 2018, arXiv:1804.06208: every object is cut out with
some margin, and each keypoint of its category gets a heatmap, learnt by cross-entropy over places
against a Gaussian (one place, in He et al. 2017, arXiv:1703.06870) and read with the places around
its maximum. So boxes and categories are given, and where the points are is what is measured.

Shapes: B objects, S side of a picture and of a heatmap, K keypoints of a category, Q those of all.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from modalities.base import Randomness
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Problem, Subset
from modalities.image.measuring.annotations import Annotations, Objects, mirror
from modalities.image.measuring.coco_metrics import SIGMAS, Detected, keypoints
from modalities.image.measuring.contract import DenseTarget, Head, chunks
from modalities.image.measuring.dense_task import DenseTask
from modalities.image.measuring.measured import Measured
from modalities.image.measuring.pyramid import Pyramid, added, resized
from modalities.image.measuring.windows import around
from modalities.image.network.contract import ImageEncoder

AROUND = 2  # pixels of the heatmap, each way, that its maximum is refined by


class Heatmaps(Head):
    """(B, 3, S, S) -> (B, Q, S, S): how likely each keypoint is at each place, before softmax."""

    def __init__(self, pyramid: Pyramid, channels: int, spread: float) -> None:
        super().__init__()
        self.pyramid, self.spread, width = pyramid, spread, pyramid.out_channels
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            ]  # fmt: skip
        self.head = nn.Sequential(*layers, nn.Conv2d(width, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return resized(self.head(added(self.pyramid(x))), x.shape[2])

    def loss(self, x: Tensor, target: dict[str, Tensor]) -> Tensor:
        """target: `of` (n,) object, `channel` (n,), `at` (n, 2) x, y in pixels of the cut."""
        maps: Tensor = self(x)[target["of"], target["channel"]]  # (n, S, S)
        if not len(maps):
            return maps.sum() * 0
        middle = torch.arange(maps.shape[1], device=maps.device) + 0.5
        away = (target["at"][:, :, None] - middle).square() / (2 * self.spread**2)  # (n, 2, S)
        wanted = (-(away[:, 1, :, None] + away[:, 0, None, :])).flatten(1).softmax(1)
        return F.cross_entropy(maps.flatten(1), wanted)


def peaks(maps: Tensor) -> tuple[Tensor, Tensor]:
    """(B, Q, S, S) -> x, y (B, Q, 2) in pixels, and how likely (B, Q): the mean place near the
    maximum, weighted by likelihood."""
    size = maps.shape[-1]
    chance = maps.flatten(2).softmax(2)  # (B, Q, S S)
    best = chance.argmax(2)
    row, column = best // size, best % size
    at = torch.arange(size, device=maps.device)
    near = ((at - row[..., None]).abs() <= AROUND)[..., :, None] & (
        (at - column[..., None]).abs() <= AROUND
    )[..., None, :]
    weight = chance.view_as(maps) * near
    total = weight.sum((2, 3))
    x = (weight.sum(2) * (at + 0.5)).sum(2) / total
    y = (weight.sum(3) * (at + 0.5)).sum(2) / total
    return torch.stack([x, y], 2), total


class Points(DenseTarget):
    """Keypoints of the categories that training pictures show."""

    metrics = ("OKS AP", "OKS AP50", "OKS AP75")

    def __init__(
        self, notes: Mapping[str, Annotations], problem: Problem, size: int, options: dict[str, Any]
    ) -> None:
        self.notes, self.size, self.options = notes, size, options
        train = notes["train"]
        shown = train.present(problem.train.at)
        self.codes = [int(c) for c in shown if train.categories[c] in train.keypoints]
        self.points = {code: train.keypoints[train.categories[code]] for code in self.codes}
        ends = np.cumsum([0, *(len(self.points[code]) for code in self.codes)])
        self.channels = {  # (K,) of a category, in [0, Q)
            code: np.arange(a, b) for code, a, b in zip(self.codes, ends, ends[1:], strict=False)
        }
        self.mirror = {c: mirror(self.points[c], options["swaps"]) for c in self.codes}
        self.sigmas = {code: self._sigmas(code) for code in self.codes}

    def _sigmas(self, code: int) -> np.ndarray:
        known = {**SIGMAS, **self.options["sigmas"]}
        return np.array([known.get(name, self.options["sigma"]) for name in self.points[code]])

    def head(self, encoder: ImageEncoder) -> Head:
        made = Pyramid(encoder, self.size, width=self.options["width"], finest=2)
        return Heatmaps(made, sum(map(len, self.points.values())), self.options["spread"])

    def truth(self, subset: Subset) -> list[Objects]:
        """Per picture, the objects whose keypoints are known, if any is."""
        found = []
        for at in subset.at:
            own = self.notes[subset.split].objects(at)
            good = [
                label in self.points and p is not None and (p[:, 2] > 0).any() and not crowd
                for label, p, crowd in zip(own.labels, own.keypoints, own.crowd, strict=True)
            ]
            found.append(own.part(np.array(good, bool)))
        return found

    def batch(self, subset: Subset, rng: Randomness, device: str) -> tuple[Tensor, Any]:
        truth = self.truth(subset)
        of = np.repeat(np.arange(len(truth)), [len(o.labels) for o in truth])
        boxes = torch.from_numpy(np.concatenate([o.boxes for o in truth])).to(device)
        items = torch.from_numpy(subset.part(of).raw()).to(device)
        own = Randomness(rng.generator, total=len(of), device=device)
        windows = around(boxes, self.size, self.options["margin"], own)
        target = self._target(truth, windows.flip.cpu().numpy())
        places = torch.from_numpy(target.pop("at")).to(device)
        told = {name: torch.from_numpy(value).to(device) for name, value in target.items()}
        told["at"] = windows.points(places, told["of"], self.size)
        inside = ((told["at"] >= 0) & (told["at"] <= self.size)).all(1)
        return windows.pictures(items, own), {name: v[inside] for name, v in told.items()}

    def _target(self, truth: list[Objects], flip: np.ndarray) -> dict[str, np.ndarray]:
        """Every labelled keypoint: which object's, its channel after a flip, its place before."""
        of, channel, at, number = [], [], [], 0
        for objects in truth:
            for label, points in zip(objects.labels, objects.keypoints, strict=True):
                assert points is not None
                names = self.mirror[label] if flip[number] else np.arange(len(points))
                seen = points[:, 2] > 0
                of.append(np.full(int(seen.sum()), number))
                channel.append(self.channels[label][names][seen])
                at.append(points[seen, :2])
                number += 1
        return {"of": np.concatenate(of), "channel": np.concatenate(channel),
                "at": np.concatenate(at)}  # fmt: skip

    def predict(self, head: Head, subset: Subset, setting: Setting) -> list[Any]:
        head.eval()
        truth = self.truth(subset)
        of = np.repeat(np.arange(len(truth)), [len(o.labels) for o in truth])
        every = subset.part(of)
        boxes = np.concatenate([o.boxes for o in truth])
        at, sure, start = [], [], 0
        for part in chunks(every, 128):
            items = setting.batch(part.items, part.at)
            box = torch.from_numpy(boxes[start : start + len(part)]).to(items.device)
            windows = around(box, self.size, self.options["margin"], None)
            with torch.inference_mode(), setting.autocast():
                maps = head(windows.pictures(items, None))
            places, chance = peaks(maps)
            at.append(windows.back(places, self.size).cpu().numpy())
            sure.append(chance.cpu().numpy())
            start += len(part)
        return self._found(truth, np.concatenate(at), np.concatenate(sure))

    def _found(self, truth: list[Objects], at: np.ndarray, sure: np.ndarray) -> list[Detected]:
        """(B, Q, 2) places and (B, Q) chances of all objects -> what was found in each picture."""
        found, number = [], 0
        for objects in truth:
            own = [self.channels[int(label)] for label in objects.labels]
            numbers = range(number, number + len(own))
            points = [at[i, c] for i, c in zip(numbers, own, strict=True)]
            scores = [sure[i, c].mean() for i, c in zip(numbers, own, strict=True)]
            found.append(Detected(objects.labels, np.array(scores, np.float32), keypoints=points))
            number += len(own)
        return found

    def score(self, predicted: list[Any], subset: Subset) -> dict[str, float]:
        return keypoints(predicted, self.truth(subset), self.sigmas)


class Keypoints(DenseTask):
    """OKS AP, AP50 and AP75 at every budget, with a frozen and a fine-tuned encoder.

    `sigmas`: per keypoint by name, how far apart people put it, as a share of the object's size
    (COCO's person has its own by default, others `sigma`); `swaps`: which keypoints change places
    in a flip, beside those whose names differ by left and right; `margin`: of the cut around a box;
    `spread`: of the heatmap's target, in pixels.
    """

    margin: Annotated[float, Ge(1)] = 1.25
    spread: Annotated[float, Gt(0)] = 1.0
    sigma: Annotated[float, Gt(0)] = 0.08
    sigmas: dict[str, Annotated[float, Gt(0)]] = {}
    swaps: dict[str, str] = {}

    def begin(self) -> Measured:
        return Measured("keypoints", Points, self.chosen())

    def show(self, folder: Any) -> None:
        from modalities.image.measuring.figures import show_keypoints

        if self.result is not None:
            show_keypoints(self.result, folder / "keypoints.png")
