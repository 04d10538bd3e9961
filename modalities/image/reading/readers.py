"""One picture file -> one small square array, whatever the file is.

What counts is a file's content, never its extension. Colour profiles (ICC) are ignored: values are
taken as sRGB. Every failure is a ValueError whose text is `reason` or `reason: detail`.

Shapes: W, H the picture's width and height; M = min(W, H); S the side asked for; N pictures.
"""

import logging
import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError
from PIL import __version__ as _pillow

from modalities.image.reading.layouts import count, describe, find

__all__ = ["count", "describe", "find", "read", "thumbnails"]

Pixels: TypeAlias = NDArray[np.uint8]

LIBRARY = f"pillow {_pillow}"  # part of the key of cached items, as this file's text is
# Pillow logs about odd files, which Python shows on stderr where nobody handles it.
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Frequent formats first: Pillow loads its other plug-ins only when these do not match. Formats
# without a signature (TGA), that run programs (EPS) or are no pictures (HDF5, PDF) are left out.
FORMATS = (
    "PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "PCX", "QOI",
    "DIB",
)  # fmt: skip
BOMB = 400_000_000  # pixels: more are never decoded
LARGE = 50_000_000  # pixels: from here on a file must be of a plausible size
PER_BYTE = 4000  # pixels per byte that no photograph or drawing of LARGE pixels reaches
NEUTRAL = 128  # grey behind transparent pixels: both black and white drawings stay visible
BAND = 4_000_000  # pixels converted at a time
TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read(path: Path | BinaryIO, *, size: int = 32) -> Pixels:
    """Decode a file (of animations the first frame) to (S, S, 3) uint8 RGB.

    The shorter side is scaled to `size` with antialiasing, the centre is kept, transparent parts
    show a neutral grey, the EXIF orientation is applied. ValueError(reason) if it cannot be read.
    """
    if isinstance(path, Path):
        try:
            file = path.open("rb")
        except OSError as error:
            raise ValueError(f"cannot be opened: {error.strerror}") from None
        with file:
            return read(file, size=size)
    with _quiet():
        try:
            with _opened(path) as image:
                return _square(image, size)
        except MemoryError:
            raise ValueError("too large for this machine's memory") from None
        except ValueError:
            raise
        except Exception as error:  # damaged files raise nearly anything
            raise ValueError(f"truncated or damaged: {_detail(error)}") from None


def thumbnails(items: Any) -> Pixels:
    """(N, S, S, 3) raw items as pictures for reports: they are pictures already."""
    return np.ascontiguousarray(items, dtype=np.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, and our own limit on pixels in place of Pillow's."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _opened(file: BinaryIO) -> ImageFile.ImageFile:
    start = file.read(512)
    if not start:
        raise ValueError("empty file")
    length = file.seek(0, 2)
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(_unknown(start)) from None
    pixels = image.width * image.height
    claim = f"{image.width} x {image.height} pixels in {length} bytes"
    if pixels > BOMB or (pixels > LARGE and pixels > PER_BYTE * length):
        raise ValueError(f"decompression bomb: claims {claim}")
    if pixels == 0:
        raise ValueError("truncated or damaged: no pixels")
    return image


def _unknown(start: bytes) -> str:
    """Why no decoder took a file that starts so."""
    signatures = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")
    if start.startswith(signatures):
        return "truncated or damaged: broken header"
    text = not set(start) & {*range(9), *range(14, 27), *range(28, 32)}
    return "not an image: it is text" if text else "not an image"


def _detail(error: Exception) -> str:
    if isinstance(error, struct.error):
        return "broken header"
    first = str(error).split("\n", maxsplit=1)[0]
    return first[:100] or type(error).__name__


def _square(image: ImageFile.ImageFile, size: int) -> Pixels:
    """The centre square, (M, M) -> (S, S, 3), turned upright."""
    if image.format in ("JPEG", "MPO"):
        # libjpeg decodes at 1/2, 1/4 or 1/8 of the scale: fast, and memory stays small
        image.draft(None, (2 * size, 2 * size))
    image.load()
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    factor = side // (2 * size) if side * side > BAND else 1
    if factor > 1:
        small = _reduced(image, (int(left), int(top)), side, factor)
        box = (0.0, 0.0, side / factor, side / factor)
    else:
        x, y = math.floor(left), math.floor(top)
        small = _rgb(image.crop((x, y, math.ceil(left + side), math.ceil(top + side))), image)
        box = (left - x, top - y, left - x + side, top - y + side)
    if small.size != (size, size):
        small = small.resize((size, size), Image.Resampling.BICUBIC, box=box)
    turn = TRANSPOSE.get(_orientation(image))
    return np.asarray(small.transpose(turn) if turn is not None else small)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # broken EXIF data is no reason to lose the picture
        return 1


def _reduced(image: Image.Image, corner: tuple[int, int], side: int, factor: int) -> Image.Image:
    """The square at `corner` as RGB, each factor x factor pixels averaged; band by band, so that
    a conversion never doubles the memory of a huge picture."""
    x, y = corner
    rows = max(1, BAND // (side * factor)) * factor
    small = Image.new("RGB", (-(-side // factor), -(-side // factor)))
    for start in range(0, side, rows):
        band = image.crop((x, y + start, x + side, y + min(start + rows, side)))
        small.paste(_rgb(band, image).reduce(factor), (0, start // factor))
    return small


def _rgb(part: Image.Image, whole: Image.Image) -> Image.Image:
    """A part of a picture of any mode as 8-bit RGB; `whole` decides the range of values."""
    mode = part.mode
    if mode == "RGB" and "transparency" not in part.info:
        return part
    if mode.startswith("I;16"):
        wide = np.asarray(part).astype(np.uint32)  # full range: 65535 -> 255
        return Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if mode in ("I", "F"):
        return _grey(np.asarray(part, dtype=np.float64), *_range(whole)).convert("RGB")
    if part.has_transparency_data:
        rgba = part.convert("RGBA")
        back = Image.new("RGBA", rgba.size, (NEUTRAL, NEUTRAL, NEUTRAL, 255))
        return Image.alpha_composite(back, rgba).convert("RGB")
    return part.convert("RGB")


def _range(image: Image.Image) -> tuple[float, float]:
    """Black and white of a picture of 32-bit integers or floats, which no format defines."""
    low, high = (float(v) for v in image.getextrema())  # type: ignore[arg-type]
    if not (math.isfinite(low) and math.isfinite(high)):
        values = np.asarray(image)
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    for white in (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0):
        if low >= 0 and high <= white:
            return 0.0, white
    return low, max(high, low + 1.0)


def _grey(values: NDArray[np.float64], black: float, white: float) -> Image.Image:
    values = np.nan_to_num(values, nan=black, posinf=white, neginf=black)
    scaled = np.clip((values - black) / (white - black) * 255, 0, 255)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
