"""Frames of sounds -> discrete units by k-means, and pictures of what each unit is.

Shapes: N sounds, F frames of each, D width of a frame's feature, k units.
"""

from typing import Any

import numpy as np

from modalities.audio.labelling.clusters import purity
from modalities.audio.labelling.gallery import strips
from modalities.labels import LabelerInput, Labels

PIECE = 256  # sounds at a time: memory stays flat
BATCH = 4096  # frames of a mini-batch of k-means


def quantised(found: LabelerInput, features: Any, k: int, sample: int, tool: str) -> Labels:
    """(N, F, D) -> units (N, F), -1 where `found.ok` is false; and units.html."""
    from sklearn.cluster import MiniBatchKMeans
    from threadpoolctl import threadpool_limits

    rows = np.flatnonzero(found.ok)
    count, frames, width = features.shape
    rng = np.random.default_rng([found.seed, 6])
    total = len(rows) * frames
    if k > total:
        raise ValueError(f"{k} units of {total} frames: choose a smaller k")
    chosen = np.sort(rng.choice(total, min(sample, total), replace=False))
    seen = np.stack([features[rows[i // frames], i % frames] for i in chosen]).astype(np.float32)
    mean, deviation = seen.mean(0), seen.std(0) + 1e-6
    values = np.full((count, frames), -1, np.int64)
    sure = np.zeros((count, frames), np.float32)
    with threadpool_limits(1):  # the order of sums is part of the result
        model = MiniBatchKMeans(k, batch_size=BATCH, n_init=3, random_state=found.seed)
        model.fit((seen - mean) / deviation)
        for start in range(0, len(rows), PIECE):
            part = rows[start : start + PIECE]
            flat = (features[part].reshape(-1, width).astype(np.float32) - mean) / deviation
            distance = model.transform(flat)
            near = np.partition(distance, 1, axis=1)[:, :2]
            values[part] = distance.argmin(1).reshape(-1, frames)
            share = 1 - near[:, 0] / np.maximum(near[:, 1], 1e-12)
            sure[part] = share.reshape(-1, frames)
    numbers = {"units": float(len(np.unique(values[rows])))}
    truth = np.repeat(found.truth[:, None], frames, 1)
    numbers |= {f"frame_{name}": n for name, n in purity(values.ravel(), truth.ravel()).items()}
    (found.folder / "units.html").write_text(strips(values, sure, found.items), "utf-8")
    return Labels(values, sure, [tool if good else "none" for good in found.ok], numbers)
