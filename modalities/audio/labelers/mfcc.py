"""Clusters of mean MFCC: the control for sound textures, which knows no change in time.

Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420. Shapes: N sounds, T samples.
"""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from modalities.audio.labelling.gallery import grouped
from modalities.audio.sound import mfcc
from modalities.labels import Array, Labeler, LabelerInput, Labels


class Mfcc(Labeler):
    """The mean over time of 13 coefficients, whitened, by k-means into `k` clusters, (N,)."""

    def __init__(self, *, k: Annotated[int, Ge(2), Le(4096)] = 30) -> None:
        self.k = k

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(T,) int16 -> (13,)."""
        return mfcc.mean(item)

    def gather(self, found: LabelerInput) -> Labels:
        return grouped(found, kind="clusters", k=self.k, width=mfcc.COEFFICIENTS,
                       tool="mean MFCC, k-means")  # fmt: skip
