"""How a clip lies in items.npy: frames and their sound in one row of bytes.

The only place that knows it. A row begins with six little-endian uint16: a mark, the number of
frames, the height and width of one, and the number of samples as high and low half. Then come the
frames, uint8 (F, H, W, 3), then the samples, little-endian int16 at 16 kHz.

Shapes: N clips, F frames, T samples, L bytes of a row.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MARK = 0x6C63
HEAD = 12  # bytes


class Shape(NamedTuple):
    """What all rows of one array have in common."""

    frames: int
    height: int
    width: int
    samples: int

    @property
    def picture_bytes(self) -> int:
        return self.frames * self.height * self.width * 3


def pack(frames: NDArray[np.uint8], sound: NDArray[np.int16]) -> NDArray[np.uint8]:
    """(F, H, W, 3) uint8 and (T,) int16 -> (L,) uint8."""
    numbers = (MARK, *frames.shape[:3], len(sound) >> 16, len(sound) & 0xFFFF)
    head = np.array(numbers, "<u2").view(np.uint8)
    return np.concatenate([head, frames.ravel(), sound.astype("<i2").view(np.uint8)])


def shape_of(row: Any) -> Shape:
    """The shape that a row's head tells; (L,) array or tensor."""
    mark, frames, height, width, high, low = (
        int(row[i]) + 256 * int(row[i + 1]) for i in range(0, HEAD, 2)
    )
    assert mark == MARK, "a row of data/video begins with its mark"
    return Shape(frames, height, width, (high << 16) + low)


def frames_of(items: Any) -> Any:
    """(N, L) array, memory map or tensor -> (N, F, H, W, 3), a view where that is possible."""
    shape = shape_of(items[0])
    cut = items[:, HEAD : HEAD + shape.picture_bytes]
    return cut.reshape(len(items), shape.frames, shape.height, shape.width, 3)


def sound_of(row: NDArray[np.uint8]) -> NDArray[np.int16]:
    """(L,) -> (T,) int16."""
    start = HEAD + shape_of(row).picture_bytes
    return np.ascontiguousarray(row[start:]).view("<i2").astype(np.int16)


def sounds_of(rows: NDArray[np.uint8]) -> NDArray[np.int16]:
    """(N, L) -> (N, T) int16."""
    return np.stack([sound_of(row) for row in rows])
