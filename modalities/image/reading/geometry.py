"""Where a place of a source picture lies in the square item that ingest makes of it.

The item is the centre square, scaled to S x S, turned as EXIF says; see readers.py. Places are
continuous: (0, 0) is the picture's upper left corner, (W, H) its lower right one; pixel (r, c)
covers [c, c + 1) x [r, r + 1).

Shapes: W, H the picture's width and height as annotated; S the item's side; n boxes or points.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalities.image.reading.readers import FORMATS
from modalities.image.reading.readers import _quiet as quiet

Floats: TypeAlias = NDArray[np.float32]
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True)
class Frame:
    """What ingest cuts from a picture of `width` x `height`, and what is done to it."""

    width: int
    height: int
    size: int  # S
    orientation: int = 1  # EXIF's; 1: nothing is turned after the cut

    @property
    def side(self) -> int:
        return min(self.width, self.height)

    @property
    def corner(self) -> tuple[float, float]:
        """Left and top of the centre square."""
        return (self.width - self.side) / 2, (self.height - self.side) / 2

    def points(self, points: Floats) -> Floats:
        """(n, 2) x, y in the picture -> (n, 2) in the item; outside of [0, S] where cut off."""
        moved = (points - np.array(self.corner)) * (self.size / self.side)
        x, y, back = moved[:, 0], moved[:, 1], self.size
        turned = {
            2: (back - x, y), 3: (back - x, back - y), 4: (x, back - y), 5: (y, x),
            6: (back - y, x), 7: (back - y, back - x), 8: (y, back - x),
        }.get(self.orientation, (x, y))  # fmt: skip
        return np.stack(turned, 1).astype(np.float32)

    def boxes(self, boxes: Floats) -> Floats:
        """(n, 4) left, top, right, bottom -> the same in the item, clipped to it."""
        ends = self.points(boxes.reshape(-1, 2)).reshape(-1, 2, 2)
        found = np.concatenate([ends.min(1), ends.max(1)], 1)
        return found.clip(0, self.size).astype(np.float32)

    def area(self, area: float) -> float:
        """Square pixels of the picture -> of the item."""
        return area * (self.size / self.side) ** 2

    def mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W) -> (S, S): the value at the centre of every pixel of the item, as masks are read
        in VOC and COCO (values are names, so nothing is averaged)."""
        left, top = self.corner
        at = (np.arange(self.size) + 0.5) * (self.side / self.size)
        found = mask[np.ix_((at + top).astype(int), (at + left).astype(int))]
        flipped = {
            2: found[:, ::-1], 3: found[::-1, ::-1], 4: found[::-1], 5: found.T,
            6: np.rot90(found, -1), 7: found[::-1, ::-1].T, 8: np.rot90(found),
        }  # fmt: skip
        return np.ascontiguousarray(flipped.get(self.orientation, found))


def frame(path: Path, size: int, annotated: tuple[int, int] | None) -> Frame:
    """The frame of a picture file from its header; nothing is decoded.

    `annotated`: width and height that the annotations were made for. They are those of the stored
    picture or, where EXIF turns it, of the upright one, which most tools show; where the numbers
    cannot tell, upright is meant. ValueError(reason) if they are neither.
    """
    with quiet(), Image.open(path, formats=FORMATS) as image:
        stored = image.size
        try:
            orientation = int(image.getexif().get(0x0112, 1))
        except Exception:  # as in readers.py: broken EXIF data turns nothing
            orientation = 1
    upright = stored[::-1] if orientation in TURNED else stored
    if annotated is None or annotated == upright:
        return Frame(*upright, size)
    if annotated == stored:
        return Frame(*stored, size, orientation)
    found = f"the picture has {stored[0]} x {stored[1]} pixels"
    raise ValueError(f"{found}, its annotations are for {annotated[0]} x {annotated[1]}")
