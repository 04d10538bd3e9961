"""Pictures inside the page: thumbnails of the data.

Shapes: n pictures of height h and width w.
"""

from collections.abc import Sequence
from typing import Any

from modalities import named
from tasks.report.drawn import encoded
from tasks.report.facts import SPLITS, Data

LARGEST = 64  # pixels of a thumbnail's longer side
GRID = 320  # thumbnails of all classes together
UNLABELLED = 24


def uri(picture: Any, largest: int = LARGEST) -> str:
    """(h, w, 3) uint8 -> a data URI of a WebP no larger than `largest` pixels."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return encoded(image)


def thumbnails(data: Data, positions: Sequence[int]) -> list[str]:
    """Data URIs of some items, as their modality draws them."""
    if not positions:
        return []
    import numpy as np

    drawn = named.reading(data.modality).thumbnails(data.raw(positions))
    return [uri(np.ascontiguousarray(picture)) for picture in drawn]


def gallery(data: Data) -> list[dict[str, Any]]:
    """Some pictures of each class, fewer of each where there are many; then some without label."""
    tally = data.counts()
    each = max(1, min(12, GRID // max(1, len(data.classes))))
    places: dict[str | None, list[int]] = {name: [] for name in data.classes[:GRID]}
    places[None] = []
    for i, (split, label) in enumerate(zip(data.split, data.label, strict=True)):
        limit = UNLABELLED if label is None else each
        if split == "train" and label in places and len(places[label]) < limit:
            places[label].append(i)
    shown = []
    for label, found in places.items():
        counts = [tally[split][label] for split in SPLITS]
        if sum(counts):
            pictures = thumbnails(data, found)
            shown.append({"label": label, "counts": counts, "pictures": pictures})
    return shown
