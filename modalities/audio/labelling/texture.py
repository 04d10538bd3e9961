"""Sound textures: 502 statistics of how a sound's bands move, without regard to when.

Owens, Wu, McDermott, Freeman, Torralba 2016, "Ambient Sound Provides Supervision for Visual
Learning", arXiv:1608.07017, section 3, after McDermott and Simoncelli 2011,
doi:10.1016/j.neuron.2011.06.032: 32 cochlear bands, their envelopes to the power .3 at 400 Hz, and
of these mean and deviation/mean (64), correlations of bands 1, 2, 3 and 5 apart (117), the power in
10 bands of modulation relative to the variance (320), and the loudness (1).

Bands are half cosines on their scale (ERB numbers; octaves for modulation), as in the latter paper.
All filters are products of spectra, so a sound counts as periodic. An envelope is slower than its
band is wide, so it is computed at 4 kHz at once; statistics of second order are sums over spectra.

Shapes: T samples, B = 32 bands, F frequencies of modulation up to 200 Hz, M = 10 modulation bands.
"""

from functools import cache
from typing import Any, TypeAlias

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

RATE = 16_000
BANDS = 32
LOWEST = 20.0  # Hz, where the first band begins; the last one ends at half the rate
ENVELOPE_RATE = 4_000  # at which envelopes are computed
KEPT_RATE = 400  # and of which what is below half of this is kept
POWER = 0.3
OFFSETS = (1, 2, 3, 5)  # between the bands that are correlated
MODULATIONS = 10
RANGE = (0.5, 200.0)  # Hz, centres of the first and the last modulation band
QUIET = 1e-5  # an envelope below this does not move
SIZE = 2 * BANDS + sum(BANDS - k for k in OFFSETS) + BANDS * MODULATIONS + 1
assert SIZE == 502


def erb(hertz: NDArray[Any] | float) -> NDArray[np.float64]:
    """ERB number of a frequency, Glasberg and Moore 1990, doi:10.1016/0378-5955(90)90170-T."""
    return np.asarray(9.265 * np.log(1 + np.asarray(hertz) / (24.7 * 9.265)))


@cache
def cochlea(length: int) -> NDArray[np.float32]:
    """(B, length / 2 + 1): the gain of each band at each frequency of a sound so long."""
    edges = np.linspace(erb(LOWEST), erb(RATE / 2), BANDS + 2)
    place = erb(np.fft.rfftfreq(length, 1 / RATE))
    off = (place - edges[1:-1, None]) / (edges[1] - edges[0])
    return np.where(np.abs(off) < 1, np.cos(np.pi / 2 * off), 0).astype(np.float32)


@cache
def modulation(length: int) -> NDArray[np.float32]:
    """(F, M): the squared gain of each modulation band, for envelopes of `length` at 400 Hz."""
    hertz = np.fft.rfftfreq(length, 1 / KEPT_RATE)
    centres = np.linspace(np.log2(RANGE[0]), np.log2(RANGE[1]), MODULATIONS)
    octave = np.log2(np.maximum(hertz, 1e-9))
    off = (octave[:, None] - centres) / (centres[1] - centres[0])
    gain = np.where(np.abs(off) < 1, np.cos(np.pi / 2 * off), 0)
    return np.square(gain).astype(np.float32)


def envelopes(sound: Floats) -> Floats:
    """(T,) -> (B, T / 4): compressed Hilbert envelopes at 4 kHz; T a multiple of 40."""
    length, short = len(sound), len(sound) * ENVELOPE_RATE // RATE
    spectrum = scipy.fft.rfft(sound)
    gains = cochlea(length)
    # A band's spectrum moved to zero has the same magnitude in time, at any rate above its width.
    shifted = np.zeros((BANDS, short), np.complex64)
    for band, gain in enumerate(gains):
        inside = np.flatnonzero(gain)
        first, last = int(inside[0]), int(inside[-1]) + 1
        shifted[band, : last - first] = spectrum[first:last] * gain[first:last]
    analytic = scipy.fft.ifft(shifted, axis=1, overwrite_x=True) * (2 * short / length)
    found: Floats = np.square(analytic.real) + np.square(analytic.imag)
    return np.power(found, POWER / 2, out=found)


def statistics(sound: NDArray[np.int16] | Floats) -> Floats:
    """(T,) at 16 kHz, int16 or floats in [-1, 1] -> the (502,) statistics, float32.

    ValueError for less than a tenth of a second.
    """
    scale = np.float32(1 / 32768 if sound.dtype == np.int16 else 1)
    length = len(sound) // 40 * 40
    if length < RATE // 10:
        raise ValueError(f"too short for a texture: {len(sound)} samples")
    heard: Floats = np.ascontiguousarray(sound[:length], dtype=np.float32) * scale
    moving = envelopes(heard)
    mean = moving.mean(1)  # (B,)
    kept = length * KEPT_RATE // RATE
    spectrum = scipy.fft.rfft(moving, axis=1)[:, : kept // 2 + 1] / moving.shape[1]  # (B, F)
    spectrum[:, 0] = 0
    spectrum[:, 1:] *= np.sqrt(2)  # both signs of a frequency, but for the highest
    if kept % 2 == 0:
        spectrum[:, -1] = np.sqrt(2) * spectrum[:, -1].real
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    variance = power.sum(1)
    deviation = np.sqrt(variance)
    moves = deviation > QUIET
    unit = spectrum / np.where(moves, deviation, np.inf)[:, None]
    together = [(unit[k:] * unit[:-k].conj()).real.sum(1) for k in OFFSETS]
    share = power @ modulation(kept) / np.where(moves, variance, np.inf)[:, None]  # (B, M)
    relative = deviation / np.maximum(mean, QUIET)
    loudness = 10 * np.log10(np.square(heard).mean() + 1e-10)
    return np.concatenate([mean, relative, *together, share.ravel(), [loudness]]).astype(np.float32)
