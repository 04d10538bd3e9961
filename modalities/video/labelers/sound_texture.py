"""Clusters of the sound textures of clips. Owens et al. 2016, arXiv:1608.07017.

Shapes: N clips, L bytes of a packed clip, W whitened components.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from modalities.audio.labelling import texture
from modalities.audio.labelling.gallery import grouped
from modalities.labels import Array, Labeler, LabelerInput, Labels
from modalities.video.clips import sound_of, sounds_of
from modalities.video.reading.readers import thumbnails

# Part of the key of cached labels: the key knows the code of clips by itself, not of sounds.
LIBRARY = sha256(Path(texture.__file__).read_bytes()).hexdigest()


class SoundTexture(Labeler):
    """502 statistics of each clip's sound, whitened over all clips, then grouped.

    `kind: clusters`: k-means with `k` clusters, (N,); `kind: code`: the signs of the first `k`
    components, (N, k), the paper's binary variant. `components`: how many whitened components
    k-means sees.
    """

    chunk = 64

    def __init__(
        self,
        *,
        k: Annotated[int, Ge(2), Le(4096)] = 30,
        kind: Literal["clusters", "code"] = "clusters",
        components: Annotated[int, Gt(0), Le(502)] = 16,
    ) -> None:
        self.k, self.kind, self.components = k, kind, components

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(L,) uint8 -> (502,)."""
        return texture.statistics(sound_of(item))

    def gather(self, found: LabelerInput) -> Labels:
        return grouped(
            found, kind=self.kind, k=self.k, width=self.components,
            tool="sound texture, k-means",
            sounds=lambda rows: sounds_of(found.raw(rows)),
            pictures=lambda rows: thumbnails(found.raw(rows)),
        )  # fmt: skip
