"""Nearest neighbours: in feature space, and in raw values.

Shapes: n labelled items, m queries, D feature width, C classes.
"""

from collections.abc import Callable, Sequence

import numpy as np

from modalities.common.measuring.linear import Features
from modalities.common.measuring.problem import FewLabels, Fitted, Method, Subset, accuracy, best

CHUNK = 2048  # items at a time: memory stays flat
TEMPERATURE = 0.07


def unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; a zero row stays zero."""
    norms: np.ndarray = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: np.ndarray = features / np.maximum(norms, 1e-12)
    return scaled


def vote(
    support: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int, classes: int
) -> np.ndarray:
    """Cosine k-NN, each neighbour counting exp(similarity / 0.07); (m,) int64.

    As in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination"
    (CVPR 2018). support (n, D), labels (n,), queries (m, D).
    """
    support, queries = unit(support), unit(queries)
    answers = []
    for start in range(0, len(queries), CHUNK):
        similar = queries[start : start + CHUNK] @ support.T  # (m', n)
        nearest = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        near = np.take_along_axis(similar, nearest, axis=1)
        weights = np.exp((near - near[:, :1]) / TEMPERATURE)  # relative to the nearest: no overflow
        votes = np.zeros((len(near), classes))
        np.add.at(votes, (np.arange(len(near))[:, None], labels[nearest]), weights)
        answers.append(votes.argmax(1))
    return np.concatenate(answers) if answers else np.zeros(0, dtype=np.int64)


class Neighbours(Method):
    """k-NN on features that stay as they are; k at most what the budget gives per class."""

    def __init__(self, features: Features, ks: Sequence[int], *, repeats: bool) -> None:
        self.features, self.ks, self.repeats = features, sorted(ks), repeats

    def cost(self, items: int) -> float:
        return 50 + items / 10

    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        support, labels = self.features(few.train, few.draw), few.train.labels
        most = len(labels) // few.classes
        ks = [k for k in self.ks if k <= most] or [most]

        def answer(subset: Subset, k: int) -> np.ndarray:
            return vote(support, labels, self.features(subset, few.draw), k, few.classes)

        scores: list[float | None] = [None] * len(ks)
        if len(few.val):
            scores = [accuracy(answer(few.val, k), few.val.labels) for k in ks]
        chosen = best(scores)
        note(self.cost(len(labels)))
        return Fitted(lambda subset: answer(subset, ks[chosen]), scores[chosen], {"k": ks[chosen]})


def nearest_item(known: Subset, asked: Subset) -> np.ndarray:
    """Label of the nearest item by Euclidean distance of raw values, read in pieces; (m,) int64."""
    answer = np.zeros(len(asked), dtype=np.int64)
    least = np.full(len(asked), np.inf)
    for q in range(0, len(asked), CHUNK):
        queries = _flat(asked, q)
        for s in range(0, len(known), CHUNK):
            support = _flat(known, s)
            squared = (support**2).sum(1) - 2 * queries @ support.T  # + |query|^2: alike for all
            at = squared.argmin(1)
            found = squared[np.arange(len(queries)), at]
            better = found < least[q : q + CHUNK]
            least[q : q + CHUNK][better] = found[better]
            answer[q : q + CHUNK][better] = known.labels[s + at[better]]
    return answer


def _flat(subset: Subset, start: int) -> np.ndarray:
    """(m', everything else) float32, centred so that float32 keeps what differs."""
    raw = subset.part(np.arange(start, min(start + CHUNK, len(subset)))).raw()
    items: np.ndarray = raw.astype(np.float32)
    if raw.dtype == np.uint8:
        items = items / 255 - 0.5
    return items.reshape(len(items), -1)


class NearestItem(Method):
    """1-nearest neighbour in raw values: the control that learns nothing at all."""

    repeats = True

    def cost(self, items: int) -> float:
        return 50 + items

    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        score = None
        if len(few.val):
            score = accuracy(nearest_item(few.train, few.val), few.val.labels)
        note(self.cost(len(few.train)))
        return Fitted(lambda subset: nearest_item(few.train, subset), score)


class Majority(Method):
    """The most frequent told label, always; among equals the draw decides."""

    def cost(self, items: int) -> float:
        return items / 1000

    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        counts = np.bincount(few.train.labels)
        label = np.random.default_rng(few.seed).choice(np.flatnonzero(counts == counts.max()))
        note(self.cost(len(few.train)))
        score = float((few.val.labels == label).mean()) if len(few.val) else None
        return Fitted(lambda subset: np.full(len(subset), label, dtype=np.int64), score)
