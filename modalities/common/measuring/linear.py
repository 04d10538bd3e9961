"""Logistic regression on frozen features, its regularisation chosen on validation.

Shapes: n labelled items, m queries, D feature width, C classes.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from modalities.common.measuring.problem import FewLabels, Fitted, Method, Subset, accuracy, best

Features = Callable[[Subset, int], np.ndarray]  # (items, draw) -> (m, D)


@dataclass(frozen=True)
class Linear:
    """A linear classifier on raw features: the standardisation is folded into the weights."""

    weight: np.ndarray  # (C, D)
    bias: np.ndarray  # (C,)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """(m, D) -> (m,) int64."""
        answer: np.ndarray = (features @ self.weight.T + self.bias).argmax(1)
        return answer


def fit_linear(
    features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]
) -> list[Linear]:
    """One classifier per inverse regularisation strength C, each started from the one before.

    features (n, D) are standardised by their own mean and deviation; labels (n,) hold every class.
    """
    from sklearn.linear_model import LogisticRegression

    mean, deviation = features.mean(0), features.std(0)
    scale = np.where(deviation > 1e-8, deviation, 1.0)
    standard = ((features - mean) / scale).astype(np.float64)
    model = LogisticRegression(max_iter=300, tol=1e-3, warm_start=True)
    fitted = []
    for strength in strengths:
        model.C = strength
        with warnings.catch_warnings():
            # Not converged in 300 iterations only happens with hardly any regularisation, where
            # validation decides whether the result is of use.
            warnings.simplefilter("ignore")
            model.fit(standard, labels)
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes: scikit-learn keeps the difference only
            weight, bias = np.concatenate([-weight, weight]) / 2, np.array([-bias[0], bias[0]]) / 2
        fitted.append(Linear(weight / scale, bias - (weight / scale) @ mean))
    return fitted


class LinearProbe(Method):
    """The field's linear evaluation: logistic regression on features that stay as they are."""

    def __init__(self, features: Features, strengths: Sequence[float], *, repeats: bool) -> None:
        self.features, self.strengths, self.repeats = features, sorted(strengths), repeats

    def cost(self, items: int) -> float:
        return 100 + items / 2

    def probe(self, few: FewLabels) -> tuple[Linear, float | None, float]:
        """The classifier that validation chose, its score there, its C."""
        labels = few.train.labels
        fitted = fit_linear(self.features(few.train, few.draw), labels, self.strengths)
        scores: list[float | None] = [None] * len(fitted)
        if len(few.val):
            known = self.features(few.val, few.draw)
            scores = [accuracy(each.predict(known), few.val.labels) for each in fitted]
        chosen = best(scores)
        return fitted[chosen], scores[chosen], self.strengths[chosen]

    def fit(self, few: FewLabels, note: Callable[[float], None]) -> Fitted:
        model, score, strength = self.probe(few)
        note(self.cost(len(few.train)))
        return Fitted(
            lambda subset: model.predict(self.features(subset, few.draw)), score, {"C": strength}
        )
