"""One sound file -> so many samples at 16 kHz, whatever the file is.

What counts is a file's content, never its extension. libsndfile reads wav, flac, ogg and mp3; what
it does not know (m4a, the sound track of a video) FFmpeg reads. Every failure is a ValueError whose
text is `reason` or `reason: detail`.

Items have one length. Of a longer sound the loudest stretch is kept: clips are often padded with
silence. A shorter one is repeated from its beginning until the item is full, so that a crop
anywhere holds sound and no length need be known later. Of a very long one, which is not decoded
whole, the loudest of a few stretches spread evenly over it is kept.

Shapes: n frames of C channels at the file's rate, T samples of the item.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from modalities.audio.reading.layouts import count, describe, find
from modalities.audio.sound.spectrogram import thumbnails

__all__ = [
    "RATE",
    "audible",
    "count",
    "decode",
    "describe",
    "find",
    "read",
    "thumbnails",
    "to_sound",
]

Samples: TypeAlias = NDArray[np.int16]
Floats: TypeAlias = NDArray[np.float32]
Piece: TypeAlias = Callable[[int, int], Floats]  # (start, frames) -> (n, C)

LIBRARY = f"soundfile {soundfile.__version__}, soxr {soxr.__version__}, av {av.__version__}"
RATE = 16_000
SHORTEST = 0.025  # seconds: one window of a spectrogram
WHOLE = 10_000_000  # samples of all channels: longer files are looked at in places
PLACES = 8  # where
STEP = RATE // 100  # samples between two places where a stretch may begin
RATES = (1_000, 1_536_000)  # what a file may claim


def read(path: Path, *, seconds: float = 2.0) -> Samples:
    """Decode a file to (T,) int16 at 16 kHz, mono; T = 16000 `seconds`.

    The mean of the channels; the level stays, but for sounds beyond full scale, which are scaled
    to it. ValueError(reason) if there is nothing to hear in it or it cannot be read.
    """
    return fit(decode(path, seconds=seconds), round(seconds * RATE))


def decode(path: Path, *, seconds: float) -> Floats:
    """Samples at 16 kHz, (n,) float32 in [-1, 1]; of a very long file a stretch of `seconds`."""
    try:
        found = _by_soundfile(path, seconds)
        sound = _by_av(path, seconds) if found is None else found
    except MemoryError:
        raise ValueError("too large for this machine's memory") from None
    return audible(sound)


def fit(sound: Floats, length: int) -> Samples:
    """(n,) float32 in [-1, 1] -> (length,) int16: its loudest stretch, or repeated."""
    if len(sound) < length:
        sound = np.resize(sound, length)
    power = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    starts = np.arange(0, len(sound) - length + 1, STEP)
    start = int(starts[np.argmax(power[starts + length] - power[starts])])
    return np.rint(sound[start : start + length] * 32767).astype(np.int16)


def _by_soundfile(path: Path, seconds: float) -> Floats | None:
    """None: libsndfile does not know the format."""
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        _check_content(path)
        if "not recognised" in str(error) or "unknown format" in str(error).lower():
            return None
        raise ValueError(f"truncated or damaged: {_detail(error)}") from None
    except OSError as error:
        raise ValueError(f"cannot be opened: {error.strerror}") from None

    def piece(start: int, frames: int) -> Floats:
        file.seek(start)
        found: Floats = file.read(frames, dtype="float32", always_2d=True)
        return found

    with file:
        try:
            return _sound(piece, file.frames, file.channels, file.samplerate, seconds)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"truncated or damaged: {_detail(error)}") from None


def _by_av(path: Path, seconds: float) -> Floats:
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                kind = "a video without a sound track" if container.streams.video else "no sound"
                raise ValueError(kind)
            stream = container.streams.audio[0]
            rate, channels = int(stream.rate or 0), int(stream.channels or 0)
            length = 0.0
            if stream.duration and stream.time_base:
                length = float(stream.duration * stream.time_base)
            if not length and container.duration:
                length = container.duration / av.time_base
            frames = math.ceil(length * rate)

            def piece(start: int, frames: int) -> Floats:
                return _frames(container, stream, start / max(rate, 1), frames)

            return _sound(piece, frames, channels, rate, seconds)
    except (av.error.FFmpegError, OSError) as error:
        _check_content(path)
        raise ValueError(f"truncated or damaged: {_detail(error)}") from None


def _frames(container: Any, stream: Any, start: float, frames: int) -> Floats:
    """(n, C) of a track from about `start` (seconds) on; n at most `frames`."""
    if start > 0:
        container.seek(int(start * av.time_base))
    convert = av.AudioResampler(format="fltp")
    found, count = [], 0
    for frame in container.decode(stream):
        for each in convert.resample(frame):
            block = each.to_ndarray()  # (C, m)
            found.append(block)
            count += block.shape[1]
        if count >= frames:
            break
    if not found:
        return np.zeros((0, 1), np.float32)
    return np.ascontiguousarray(np.concatenate(found, 1)[:, :frames].T, dtype=np.float32)


def to_sound(container: Any, stream: Any, start: float, seconds: float) -> Floats:
    """So many seconds of an open container's track from `start` on, as `decode` gives them."""
    rate, channels = int(stream.rate or 0), int(stream.channels or 0)

    def piece(first: int, frames: int) -> Floats:
        return _frames(container, stream, start + first / max(rate, 1), frames)

    return audible(_sound(piece, math.ceil(seconds * rate), channels, rate, seconds))


def audible(sound: Floats) -> Floats:
    """The sound within full scale; ValueError if there is nothing to hear."""
    loudest = float(np.abs(sound).max(initial=0))
    if loudest < 0.5 / 32768:
        raise ValueError("silent")
    return sound if loudest <= 1 else sound / loudest


def _sound(piece: Piece, frames: int, channels: int, rate: int, seconds: float) -> Floats:
    """Mono at 16 kHz, from all of the file or, if that is very long, from its loudest place."""
    if not RATES[0] <= rate <= RATES[1] or channels < 1:
        raise ValueError(f"impossible header: {channels} channels at {rate} Hz")
    if frames * channels <= WHOLE:
        mono = _mono(piece(0, frames), rate)
    else:
        wanted = min(frames, math.ceil(seconds * rate))
        starts = np.linspace(0, frames - wanted, PLACES).astype(int).tolist()
        mono = max((_mono(piece(s, wanted), rate) for s in starts), key=_energy)
    if rate == RATE:
        return mono
    sound: Floats = soxr.resample(mono, rate, RATE)
    return sound


def _mono(sound: Floats, rate: int) -> Floats:
    """(n, C) -> (n,): the mean of the channels, or the loudest where they cancel each other."""
    if len(sound) < SHORTEST * rate:
        text = f"{len(sound)} samples at {rate} Hz, expected {SHORTEST * 1000:.0f} ms"
        raise ValueError("empty: no samples" if not len(sound) else f"too short: {text}")
    wrong = int(sound.size - np.isfinite(sound).sum())
    if wrong:
        raise ValueError(f"not finite: {wrong} of {sound.size} samples")
    mean: Floats = sound.mean(1)
    if sound.shape[1] > 1:
        loudest = sound[:, np.argmax(np.square(sound).sum(0))]
        if _energy(mean) < 1e-3 * _energy(loudest):
            return np.ascontiguousarray(loudest)
    return mean


def _energy(sound: Floats) -> float:
    return float(np.square(sound, dtype=np.float64).sum())


def _check_content(path: Path) -> None:
    """ValueError for what was never a sound."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise ValueError("empty file")
    if start[:4] in (b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3\x03", b"ID3\x04"):
        return
    if not set(start) & {*range(9), *range(14, 27), *range(28, 32)}:
        raise ValueError("not a sound: it is text")


def _detail(error: Exception) -> str:
    """What the library says, without the file's path."""
    told = getattr(error, "strerror", None) or str(error).split(":")[-1].strip()
    return (told or type(error).__name__)[:100]
