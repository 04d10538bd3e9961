"""Few-shot classification in episodes over held-out classes (training: few_shot_training.py).

Training sees labelled items of the other classes, and for the pretext task unlabelled ones too;
measuring sees test items of the held-out classes. All starts and all w meet the same classes and
the same episodes.

Shapes: N items of a split, W ways, K shots, Q queries of each class, D feature width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modalities.base import Labelled, Tell, UserError
from modalities.common.learners.few_shot_training import (
    Head,
    Material,
    Pretext,
    Schedule,
    Trainer,
)
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.knn import unit
from modalities.common.measuring.problem import Subset, seed_of
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped

Weights = Sequence[float | None]  # w; None: nothing is trained
# (w, what training may see, items) -> (m, D): the items' features
Features = Callable[[float | None, Material, Subset], np.ndarray]
NO_LABELS = "no labels: nothing to measure"


@dataclass(frozen=True)
class Episodes:
    """What is asked of the features."""

    way: int  # W
    shots: Sequence[int]  # each K
    queries: int  # Q
    count: int  # in each draw
    novel: int  # classes that are held out
    draws: int

    def __post_init__(self) -> None:
        if self.novel < self.way:
            raise UserError(f"few_shot: way {self.way} must not exceed novel {self.novel}")

    def obstacle(self, counts: np.ndarray, shot: int) -> str | None:
        """Why test items of classes with so many each do not allow this, if they do not."""
        if len(counts) < self.novel + 2:
            return f"{self.novel} held-out classes and two others are needed, found {len(counts)}"
        if counts.min() < shot + self.queries:
            return (
                f"{shot} shots and {self.queries} queries are needed of every class of the test "
                f"split, the smallest has {counts.min()}"
            )
        return None


@dataclass(frozen=True)
class Study:
    """Everything that is the same for every start."""

    episodes: Episodes
    schedule: Schedule
    setting: Setting
    pretext: Pretext
    seed: int

    def rows(
        self, features: Features, weights: Weights, splits: Mapping[str, Labelled], name: str,
        tell: Tell,
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        """A row for each w and K, with a value per draw: the mean accuracy over its episodes."""
        possible = []
        counts = self._counts(splits)
        for shot in dict.fromkeys(self.episodes.shots):
            reason = self.episodes.obstacle(counts, shot) if len(counts) else NO_LABELS
            if reason:
                yield Skipped(shot, reason)
            else:
                possible.append(shot)
        if not possible:
            return
        found: dict[tuple[float | None, int], list[float]] = {}
        held: list[list[str]] = []
        for number in range(self.episodes.draws):
            novel, material, test = self.draw(splits, number)
            held.append([splits["train"].classes[c] for c in novel])
            for i, weight in enumerate(weights):
                done = (number + i / len(weights)) / self.episodes.draws
                tell.progress(done, f"draw {number + 1} of {self.episodes.draws}, w = {weight}")
                known = features(weight, material, test)
                for shot in possible:
                    score = accuracy(known, test.labels, self.episodes, shot, self.schedule.head,
                                     material.seed)  # fmt: skip
                    found.setdefault((weight, shot), []).append(score)
        for (weight, shot), values in found.items():
            protocol = name if weight is None else f"w={weight:g}"
            yield Row("few_shot", protocol, shot, "accuracy", values, chosen={"held_out": held})

    def _counts(self, splits: Mapping[str, Labelled]) -> np.ndarray:
        """How many test items each class has that also has labelled training items."""
        if "train" not in splits or "test" not in splits:
            return np.zeros(0, dtype=np.int64)
        known = _known(splits)
        labels = np.asarray(splits["test"].labels)
        return np.array([(labels == code).sum() for code in known], dtype=np.int64)

    def draw(
        self, splits: Mapping[str, Labelled], number: int
    ) -> tuple[np.ndarray, Material, Subset]:
        """The held-out classes of a draw, what training may see, the items of the episodes."""
        seed = seed_of(self.seed, "few_shot", number)
        rng = np.random.default_rng(seed)
        known = _known(splits)
        novel = np.sort(rng.choice(known, self.episodes.novel, replace=False))
        base = np.setdiff1d(known, novel)
        train, test = splits["train"], splits["test"]
        told = np.asarray(train.labels)
        at = np.flatnonzero(np.isin(told, base))
        free = rng.permutation(np.flatnonzero(told < 0))
        if self.schedule.unlabelled >= 0:
            free = free[: self.schedule.unlabelled]
        labelled = Subset("train", train.items, at, np.searchsorted(base, told[at]))
        material = Material(labelled, np.concatenate([at, np.sort(free)]), seed)
        asked = np.flatnonzero(np.isin(test.labels, novel))
        labels = np.searchsorted(novel, np.asarray(test.labels)[asked])
        return novel, material, Subset("test", test.items, asked, labels)

    def trained(self, make: EncoderFactory) -> Features:
        """Features of an encoder that is trained anew for each draw and w, if there is a w."""

        def features(weight: float | None, material: Material, test: Subset) -> np.ndarray:
            torch.manual_seed(seed_of(material.seed, "weights"))  # of encoders that are random
            encoder = make()
            self.setting.put(encoder)
            if weight is not None:
                Trainer(
                    encoder, self.pretext, weight, material, self.schedule, self.setting
                ).train()
            return self.setting.outputs(encoder, test)

        return features


def _known(splits: Mapping[str, Labelled]) -> np.ndarray:
    """Codes of the classes that both the train and the test split show."""
    told = np.intersect1d(splits["train"].labels, splits["test"].labels)
    return told[told >= 0]


def accuracy(
    features: np.ndarray, labels: np.ndarray, episodes: Episodes, shot: int, head: Head, seed: int
) -> float:
    """Mean over episodes; features (m, D), labels (m,) from 0. The nearest prototype wins.

    A prototype is the mean of its K items: by Euclidean distance, or by cosine where training was.
    """
    if head == "cosine":
        features = unit(features)
    classes = int(labels.max()) + 1
    places = [np.flatnonzero(labels == code) for code in range(classes)]
    rng = np.random.default_rng(seed_of(seed, "episodes", shot))
    right = 0
    for _ in range(episodes.count):
        ways = rng.choice(classes, episodes.way, replace=False)
        size = shot + episodes.queries
        found = features[np.stack([rng.choice(places[c], size, replace=False) for c in ways])]
        prototypes = found[:, :shot].mean(1)  # (W, D)
        if head == "cosine":
            prototypes = unit(prototypes)
        queries = found[:, shot:]  # (W, Q, D)
        distance = np.square(queries[:, :, None] - prototypes).sum(3)  # (W, Q, W)
        right += int((distance.argmin(2) == np.arange(episodes.way)[:, None]).sum())
    return right / (episodes.count * episodes.way * episodes.queries)
