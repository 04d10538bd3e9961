"""Clusters of sound textures. Owens, Wu, McDermott, Freeman, Torralba 2016, arXiv:1608.07017.

Shapes: N sounds, T samples, W whitened components.
"""

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from modalities.audio.labelling import texture
from modalities.audio.labelling.gallery import grouped
from modalities.labels import Array, Labeler, LabelerInput, Labels


class SoundTexture(Labeler):
    """502 statistics of each sound, whitened over all sounds, then grouped.

    `kind: clusters`: k-means with `k` clusters, (N,); `kind: code`: the signs of the first `k`
    components, (N, k), the paper's binary variant. `components`: how many whitened components
    k-means sees; with many more, noise outweighs what sounds differ by.
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
        """(T,) int16 -> (502,)."""
        return texture.statistics(item)

    def gather(self, found: LabelerInput) -> Labels:
        return grouped(found, kind=self.kind, k=self.k, width=self.components,
                       tool="sound texture, k-means")  # fmt: skip
