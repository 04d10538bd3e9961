"""Clusters of the mean MFCC of clips' sounds: the control for sound textures.

Davis and Mermelstein 1980, doi:10.1109/TASSP.1980.1163420. Shapes: N clips, L bytes of a clip.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from modalities.audio.labelling.gallery import grouped
from modalities.audio.sound import mfcc
from modalities.labels import Array, Labeler, LabelerInput, Labels
from modalities.video.clips import sound_of, sounds_of
from modalities.video.reading.readers import thumbnails

# Part of the key of cached labels: the key knows the code of clips by itself, not of sounds.
LIBRARY = sha256(Path(mfcc.__file__).read_bytes()).hexdigest()


class Mfcc(Labeler):
    """The mean over time of 13 coefficients, whitened, by k-means into `k` clusters, (N,)."""

    chunk = 64

    def __init__(self, *, k: Annotated[int, Ge(2), Le(4096)] = 30) -> None:
        self.k = k

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(L,) uint8 -> (13,)."""
        return mfcc.mean(sound_of(item))

    def gather(self, found: LabelerInput) -> Labels:
        return grouped(
            found, kind="clusters", k=self.k, width=mfcc.COEFFICIENTS,
            tool="mean MFCC, k-means",
            sounds=lambda rows: sounds_of(found.raw(rows)),
            pictures=lambda rows: thumbnails(found.raw(rows)),
        )  # fmt: skip
