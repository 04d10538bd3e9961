"""Units of sound, a label for every frame. Hsu et al. 2021, "HuBERT", arXiv:2106.07447, section 3.

Shapes: N sounds, T samples, F frames (one in 10 ms), k units.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from modalities.audio.labelling.units import quantised
from modalities.audio.sound.mfcc import with_slopes
from modalities.labels import Array, Labeler, LabelerInput, Labels


class MfccUnits(Labeler):
    """39 numbers for each frame (13 MFCC, slopes, slopes of slopes), by k-means into `k` units.

    The first round's labels for masked prediction, (N, F). `sample`: frames that k-means sees.
    """

    def __init__(
        self,
        *,
        k: Annotated[int, Ge(2), Le(4096)] = 100,
        sample: Annotated[int, Gt(0)] = 50_000,
    ) -> None:
        self.k, self.sample = k, sample

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(T,) int16 -> (F, 39) float16."""
        return with_slopes(item).astype(np.float16)

    def gather(self, found: LabelerInput) -> Labels:
        return quantised(found, found.values, self.k, self.sample, "MFCC, k-means")
