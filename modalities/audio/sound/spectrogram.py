"""Sounds as pictures for reports: log-mel spectrograms, by numpy alone.

Shapes: N sounds of T samples, F frames, M mel bands.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
WINDOW = 512
RANGE = 60.0  # dB below the loudest that is black


@cache
def mel_bank(bands: int, bins: int = WINDOW // 2 + 1, rate: int = RATE) -> NDArray[np.float32]:
    """(bins, M): triangles that are equally wide in mel (HTK's), from 0 Hz to half the rate."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    hertz = np.linspace(0, rate / 2, bins)[:, None]
    rise = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall)).astype(np.float32)


def spectrogram(sound: NDArray[np.int16], bands: int = 64, frames: int = 64) -> NDArray[np.float32]:
    """(T,) int16 -> (M, F) in [0, 1], low bands at the bottom, 60 dB below the loudest is 0."""
    x = np.asarray(sound, dtype=np.float32) / 32768
    x = np.pad(x, (0, max(0, WINDOW - len(x))))
    starts = np.linspace(0, len(x) - WINDOW, frames).astype(int)
    cut = x[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(cut, axis=1)) ** 2 @ mel_bank(bands)  # (F, M)
    level = 10 * np.log10(power + 1e-10)
    scaled = np.clip((level - level.max()) / RANGE + 1, 0, 1)
    return np.ascontiguousarray(scaled.T[::-1], dtype=np.float32)


def coloured(levels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(M, F) in [0, 1] -> (M, F, 3)."""
    from matplotlib import colormaps

    return np.asarray(colormaps["magma"](levels, bytes=True)[..., :3], dtype=np.uint8)


def thumbnails(items: Any) -> NDArray[np.uint8]:
    """(N, T) int16 -> (N, 64, 64, 3) uint8 log-mel spectrograms."""
    if not len(items):
        return np.zeros((0, 64, 64, 3), np.uint8)
    return np.stack([coloured(spectrogram(sound)) for sound in items])
