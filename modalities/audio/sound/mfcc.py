"""Mel-frequency cepstral coefficients, the classical description of short sounds, by numpy.

Shapes: T samples, F frames of 25 ms in every 10 ms, C = 13 coefficients.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from modalities.audio.sound.spectrogram import mel_bank

HOP = 160
WINDOW = 400
SIZE = 512
BANDS = 40
COEFFICIENTS = 13
REACH = 2  # frames on each side that a slope is taken over


@cache
def _bell() -> NDArray[np.float32]:
    return np.hanning(WINDOW).astype(np.float32)


def mfcc(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """(T,) int16 at 16 kHz -> (F, 13); frame f is centred at sample 160 f, F = T // 160 + 1."""
    x = np.pad(np.asarray(sound, dtype=np.float32) / 32768, WINDOW // 2, mode="reflect")
    cut = np.lib.stride_tricks.sliding_window_view(x, WINDOW)[::HOP] * _bell()
    power = np.square(np.abs(np.fft.rfft(cut, SIZE, axis=1)))
    level = np.log(power @ mel_bank(BANDS, SIZE // 2 + 1) + 1e-10)
    found: NDArray[np.float32] = dct(level, axis=1, norm="ortho")[:, :COEFFICIENTS]
    return found.astype(np.float32)


def slope(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """(F, C) -> (F, C): the regression line's slope over two frames on each side."""
    padded = np.pad(frames, ((REACH, REACH), (0, 0)), mode="edge")
    steps = range(1, REACH + 1)
    count = len(frames)
    rise = sum(k * (padded[REACH + k :][:count] - padded[REACH - k :][:count]) for k in steps)
    return np.asarray(rise / (2 * sum(k * k for k in steps)), dtype=np.float32)


def with_slopes(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """(T,) -> (F, 39): coefficients, their slopes, and the slopes of these."""
    still = mfcc(sound)
    first = slope(still)
    return np.concatenate([still, first, slope(first)], 1)


def mean(sound: NDArray[np.int16]) -> NDArray[np.float32]:
    """(T,) -> (13,): the mean over frames, which knows the spectrum and nothing of time."""
    found: NDArray[np.float32] = mfcc(sound).mean(0)
    return found
