"""Labels drawn at random: the control that shows what labels as such are worth.

Zhang, Bengio, Hardt, Recht, Vinyals 2016, arXiv:1611.03530. Shapes: N items.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from modalities.audio.labelling.clusters import purity
from modalities.labels import Array, Labeler, LabelerInput, Labels


class Random(Labeler):
    """One of `k` labels for each item, whatever it holds, all equally likely, (N,)."""

    def __init__(self, *, k: Annotated[int, Ge(2), Le(4096)] = 30) -> None:
        self.k = k

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        return np.zeros(1, np.uint8)

    def gather(self, found: LabelerInput) -> Labels:
        values = np.random.default_rng([found.seed, 5]).integers(self.k, size=len(found.ok))
        sure = np.full(len(values), 1 / self.k, np.float32)
        return Labels(values, sure, ["random"] * len(values), purity(values, found.truth))
