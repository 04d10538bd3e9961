"""One clip -> a few frames and the sound that goes with them, read by FFmpeg (PyAV).

Of a longer clip the middle `seconds` are kept, of a shorter one all, its sound repeated to length.
Every failure is a ValueError whose text is `reason` or `reason: detail`.

Shapes: F frames, S their side, T samples, L bytes of a packed clip.
"""

from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from modalities.audio.reading.readers import LIBRARY as _SOUND
from modalities.audio.reading.readers import RATE, fit, to_sound
from modalities.video.clips import frames_of, pack
from modalities.video.reading.layouts import count, describe, find

__all__ = ["count", "describe", "find", "read", "thumbnails"]

Pixels: TypeAlias = NDArray[np.uint8]
LIBRARY = _SOUND
MOST = 500_000  # frames: a clip that claims more is damaged


class Span(NamedTuple):
    """A stretch of a clip, in seconds from its beginning."""

    start: float
    length: float


def read(path: Path, *, size: int = 32, frames: int = 4, seconds: float = 2.0) -> Pixels:
    """Decode a clip to (L,) uint8: `frames` frames of `size` pixels, `seconds` of sound, packed.

    Frames lie evenly in the stretch: their shorter side is scaled to `size`, the centre is kept.
    ValueError(reason) without a picture or a sound track, or if it cannot be read.
    """
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError("no pictures")
            if not container.streams.audio:
                raise ValueError("no sound track")
            span = _span(container, seconds)
            pictures = _pictures(container, span, frames, size)
        with av.open(str(path)) as container:
            sound = _heard(container, span)
    except (av.error.FFmpegError, OSError) as error:
        detail = getattr(error, "strerror", None) or type(error).__name__
        raise ValueError(f"truncated or damaged: {detail}") from None
    except MemoryError:
        raise ValueError("too large for this machine's memory") from None
    return pack(pictures, fit(sound, round(seconds * RATE)))


def thumbnails(items: Any) -> Pixels:
    """(N, L) packed clips -> (N, S, S, 3): the frame in the middle."""
    if not len(items):
        return np.zeros((0, 32, 32, 3), np.uint8)
    found = frames_of(items)
    return np.ascontiguousarray(found[:, found.shape[1] // 2])


def _span(container: Any, seconds: float) -> Span:
    """The middle of what pictures and sound have in common."""
    lengths = [
        float(s.duration * s.time_base)
        for s in (container.streams.video[0], container.streams.audio[0])
        if s.duration and s.time_base
    ]
    whole = container.duration / av.time_base if container.duration else 0.0
    length = min([*lengths, *([whole] if whole else [])], default=0.0)
    if length <= 0:
        raise ValueError("truncated or damaged: no duration")
    return Span(max(0.0, (length - seconds) / 2), min(length, seconds))


def _pictures(container: Any, span: Span, frames: int, size: int) -> Pixels:
    """(F, S, S, 3): at each wanted time the last frame that has begun."""
    stream = container.streams.video[0]
    wanted = [span.start + span.length * (i + 0.5) / frames for i in range(frames)]
    if span.start > 0:
        container.seek(int(span.start * av.time_base))
    found: list[Pixels] = []
    last = None
    for number, frame in enumerate(container.decode(stream)):
        time = number * 0.0 if frame.time is None else frame.time
        while last is not None and len(found) < frames and time > wanted[len(found)]:
            found.append(_square(last, size))
        if len(found) == frames or number > MOST:
            break
        last = frame
    if last is None:
        raise ValueError("truncated or damaged: no frame can be decoded")
    return np.stack(found + [_square(last, size)] * (frames - len(found)))


def _square(frame: Any, size: int) -> Pixels:
    image: Image.Image = frame.to_image()
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    small = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(small.convert("RGB"), dtype=np.uint8)


def _heard(container: Any, span: Span) -> NDArray[np.float32]:
    """The samples of the span at 16 kHz."""
    return to_sound(container, container.streams.audio[0], span.start, span.length)
