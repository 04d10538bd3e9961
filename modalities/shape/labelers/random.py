"""A control: labels that say nothing, so that what training itself adds can be told apart.

Zhang, Bengio, Hardt, Recht, Vinyals, "Understanding deep learning requires rethinking
generalization", ICLR 2017, arXiv:1611.03530.

Shapes: P points of an item, N items.
"""

import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from modalities.labels import Array, Labeler, LabelerInput, Labels
from modalities.shape.labelling import gallery


class Random(Labeler):
    """Each point's group is drawn at random, and stays as it is: (P,) per item."""

    def __init__(self, *, groups: Annotated[int, Ge(2)] = 8) -> None:
        self.groups = groups

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(P,) int32; follows from the content."""
        rng = np.random.default_rng(zlib.crc32(np.ascontiguousarray(item).tobytes()))
        return rng.integers(self.groups, size=len(item)).astype(np.int32)

    def gather(self, found: LabelerInput) -> Labels:
        """Groups (N, P) int32, -1 where there is no label."""
        values = np.where(found.ok[:, None], found.values, -1)
        provenance = ["random" if ok else "none" for ok in found.ok]
        confidence = np.repeat(found.ok[:, None], values.shape[1], 1).astype(np.float32)
        return Labels(values, confidence, provenance, gallery.measures(values, found))
