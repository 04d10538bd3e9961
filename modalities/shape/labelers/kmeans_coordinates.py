"""A control: clusters of coordinates, so that what convexity adds can be told from what nearness
does. Lloyd 1982, doi:10.1109/TIT.1982.1056489.

Shapes: P points of an item, N items.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from modalities.labels import Array, Labeler, LabelerInput, Labels
from modalities.shape.drawing.pictures import numbered
from modalities.shape.labelling import gallery


class KmeansCoordinates(Labeler):
    """k-means on the positions of each shape's points, the largest cluster first: (P,) per item."""

    def __init__(self, *, clusters: Annotated[int, Ge(2)] = 8) -> None:
        self.clusters = clusters

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        """(P,) int32."""
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits

        points = item[:, :3].astype(np.float64)
        count = min(self.clusters, len(np.unique(points, axis=0)))
        with threadpool_limits(1):
            found = KMeans(count, n_init=4, random_state=0).fit(points)
        return numbered(np.asarray(found.labels_, np.int64)).astype(np.int32)

    def gather(self, found: LabelerInput) -> Labels:
        """Clusters (N, P) int32, -1 where there is no label."""
        values = np.where(found.ok[:, None], found.values, -1)
        provenance = ["k-means" if ok else "none" for ok in found.ok]
        gallery.write(values, provenance, found)
        confidence = np.repeat(found.ok[:, None], values.shape[1], 1).astype(np.float32)
        return Labels(values, confidence, provenance, gallery.measures(values, found))
