"""Features of sounds -> groups of sounds: whitening, k-means, codes of signs, purity.

Shapes: N sounds (those that have a feature), D width of the feature, W of what is kept of it.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]


def whitened(features: Floats, width: int) -> Floats:
    """(N, D) -> (N, W): standardised, then the first principal components at variance 1.

    W = `width`, or fewer where there are not as many directions.
    """
    deviation = features.std(0)
    moving = deviation > 1e-6 * max(1e-12, float(deviation.max(initial=0)))
    standard = (features[:, moving] - features[:, moving].mean(0)) / deviation[moving]
    left, size, right = np.linalg.svd(standard.astype(np.float64), full_matrices=False)
    kept = min(width, int((size > 1e-6 * size[0]).sum()))
    # The sign of a direction is free: make its largest weight positive, on every machine.
    largest = np.take_along_axis(right, np.abs(right).argmax(1)[:, None], 1)[:, 0]
    return np.asarray(left[:, :kept] * np.sign(largest)[:kept] * np.sqrt(len(left)), np.float32)


def clustered(points: Floats, k: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """(N, W) -> cluster of each, by scikit-learn's k-means, and how sure that is, (N,) in [0, 1].

    Confidence is 1 - (distance to the own centre) / (to the next one). ValueError if k > N.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if k > len(points):
        raise ValueError(f"{k} clusters of {len(points)} sounds")
    with threadpool_limits(1):  # the order of sums is part of the result
        model = KMeans(k, n_init=4, random_state=seed).fit(points)
        distances = model.transform(points)
    if k == 1:
        return model.labels_.astype(np.int64), np.ones(len(points), np.float32)
    near = np.partition(distances, 1, axis=1)[:, :2]
    sure = 1 - near[:, 0] / np.maximum(near[:, 1], 1e-12)
    return model.labels_.astype(np.int64), np.clip(sure, 0, 1).astype(np.float32)


def purity(labels: NDArray[np.int64], truth: NDArray[np.int64]) -> dict[str, float]:
    """How well hard labels agree with a truth where both are known (not -1).

    `purity`: share that their cluster's most frequent class would name rightly; `nmi`: normalised
    mutual information. Empty without any truth. Never used to make labels.
    """
    from sklearn.metrics import normalized_mutual_info_score

    known = (labels >= 0) & (truth >= 0)
    labels, truth = labels[known], truth[known]
    if not len(truth):
        return {}
    right = sum(int(np.bincount(truth[labels == c]).max()) for c in np.unique(labels))
    shared = normalized_mutual_info_score(truth, labels)
    return {"purity": right / len(truth), "nmi": float(shared)}
