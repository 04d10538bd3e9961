"""The Playroom's sounds: things that are struck, and places, synthesised from their physics.

Kinds differ in how sound unfolds in time (decay, rhythm, texture) rather than in its mean spectrum:
pitch, loudness, microphone and room are drawn at random for every clip, so that no average spectrum
tells a kind (a test fits MFCC means and sees them fail). Within a clip several things of a kind
sound, the microphone moves, and other things pass by: what two moments of a clip have in common is
its kind.

Shapes: T samples at 16 kHz. All functions draw from `rng` alone.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, lfilter

RATE = 16_000
Floats: TypeAlias = NDArray[Any]
Generator: TypeAlias = np.random.Generator
Kind: TypeAlias = Callable[[Generator, int], Floats]

# Of a struck thing: seconds until it has decayed by 60 dB, number of modes, how much faster the
# high ones decay, share of the noise of the blow. After van den Doel and Pai 1998,
# doi:10.1162/105474698565794: the decay tells a material, the modes its shape and size.
MATERIALS = {
    "wood": ((0.04, 0.08), 5, 1.0, 0.25),
    "plastic": ((0.13, 0.22), 3, 0.6, 0.10),
    "ceramic": ((0.35, 0.60), 5, 0.4, 0.08),
    "metal": ((1.0, 2.2), 8, 0.15, 0.04),
}


def blow(rng: Generator, material: str, pitch: float | None = None) -> Floats:
    """One impact: decaying modes at inharmonic ratios, and the noise of the contact."""
    (low, high), modes, damping, contact = MATERIALS[material]
    decay = rng.uniform(low, high)
    t = np.arange(int(RATE * min(1.2, decay))) / RATE
    base = np.exp(rng.uniform(np.log(250), np.log(1800))) if pitch is None else pitch
    ratios = np.cumsum(np.r_[1.0, rng.uniform(0.4, 1.6, modes - 1)])
    ratios = ratios[ratios * base < 0.45 * RATE]
    times = decay / (1 + damping * (ratios - 1))
    waves = np.exp(-6.9 * t / times[:, None]) * np.sin(
        2 * np.pi * ratios[:, None] * base * t + rng.uniform(0, 6.28, (len(ratios), 1))
    )
    sound = rng.uniform(0.3, 1, len(ratios)) @ waves
    click = min(len(t), int(0.004 * RATE))
    sound[:click] += contact * 4 * rng.normal(size=click) * np.hanning(click)
    return np.asarray(sound / np.abs(sound).max())


def scatter(times: Floats, gains: Floats, sound: Floats, length: int) -> Floats:
    """`sound` begun at each of the times (seconds), as loud as gains say."""
    found = np.zeros(length + len(sound))
    for at, gain in zip((times * RATE).astype(int), gains, strict=True):
        if 0 <= at < length:
            found[at : at + len(sound)] += gain * sound
    return found[:length]


def poisson(rng: Generator, rate: float, seconds: float) -> Floats:
    """Times of events that come at random, `rate` a second."""
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


def noise(rng: Generator, length: int, slope: float = 0.0) -> Floats:
    """Noise whose power falls by `slope` dB an octave."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    octave = np.log2(np.maximum(np.fft.rfftfreq(length, 1 / RATE), 30) / 1000)
    return np.asarray(np.fft.irfft(spectrum * 10 ** (-slope * octave / 20), length))


def smooth(rng: Generator, length: int, rate: float) -> Floats:
    """A random curve in [0, 1] that turns about `rate` times a second."""
    knots = rng.uniform(0, 1, int(length / RATE * rate) + 3)
    x = np.arange(length) / RATE * rate + rng.uniform()
    low = x.astype(int)
    share = 0.5 - 0.5 * np.cos(np.pi * (x - low))
    return np.asarray(knots[low] * (1 - share) + knots[low + 1] * share)


def struck(material: str) -> Kind:
    """Blows at irregular times on a few things of one material."""

    def make(rng: Generator, length: int) -> Floats:
        seconds, sound = length / RATE, np.zeros(length)
        for thing in range(3):
            times = poisson(rng, rng.uniform(0.7, 1.5), seconds)
            times = np.r_[rng.uniform(thing, thing + 1) * seconds / 3, times]
            sound += scatter(times, rng.uniform(0.4, 1, len(times)), blow(rng, material), length)
        return sound

    return make


def bounce(rng: Generator, length: int) -> Floats:
    """A rubber ball comes to rest: thuds ever faster and ever softer, each falling in pitch."""
    span = int(rng.uniform(0.05, 0.09) * RATE)
    pitch = rng.uniform(120, 420) * np.linspace(1.3, 0.7, span)
    thud = np.sin(2 * np.pi * np.cumsum(pitch) / RATE) * np.exp(-np.linspace(0, 5, span))
    thud[:64] += rng.normal(size=64) * np.hanning(64)
    keep, gap = rng.uniform(0.70, 0.82), rng.uniform(0.22, 0.38)
    steps = keep ** np.arange(12)  # then it is dropped again
    fall = gap * np.r_[0, np.cumsum(steps[:-1])]
    again = np.arange(-1, 3) * (fall[-1] + gap) + rng.uniform(0, gap)
    times = (again[:, None] + fall).ravel()
    return scatter(times, np.tile(np.sqrt(steps), len(again)), thud, length)


def clock(rng: Generator, length: int) -> Floats:
    """Ticks and tocks by turns, at equal distances."""
    gap = rng.uniform(0.11, 0.26)
    times = np.arange(rng.uniform(0, gap), length / RATE, gap)
    high = rng.uniform(1200, 3000)
    tick, tock = (blow(rng, "wood", pitch=p)[: int(0.04 * RATE)] for p in (high, 0.7 * high))
    even = np.arange(len(times)) % 2 == 0
    sound = scatter(times[even], np.ones(even.sum()), tick, length)
    return sound + scatter(times[~even], np.full((~even).sum(), 0.8), tock, length)


def rain(rng: Generator, length: int) -> Floats:
    """Many small drops, each a short ringing bubble, over a hiss."""
    sound = 0.02 * noise(rng, length, rng.uniform(-3, 3))
    for _ in range(5):
        times = poisson(rng, rng.uniform(20, 60), length / RATE)
        drop = blow(rng, "plastic", pitch=rng.uniform(700, 4000))[: int(0.03 * RATE)]
        sound += scatter(times, rng.exponential(0.3, len(times)), drop, length)
    return np.asarray(sound)


def fire(rng: Generator, length: int) -> Floats:
    """Crackles in bursts, of very different loudness, over a low rumble."""
    bursts = poisson(rng, 3, length / RATE)
    times = np.concatenate([b + rng.exponential(0.03, rng.poisson(8)) for b in (0.1, *bursts)])
    crack = rng.normal(size=60) * np.exp(-np.arange(60) / rng.uniform(4, 15))
    sound = scatter(times, rng.pareto(1.5, len(times)).clip(0, 12), crack, length)
    rumble = noise(rng, length, 6) * (0.5 + smooth(rng, length, 6))
    return np.asarray(sound / (np.abs(sound).max() + 1e-9) + 0.08 * rumble / rumble.std())


def wind(rng: Generator, length: int) -> Floats:
    """Noise through a resonance that wanders with its loudness."""
    curve = smooth(rng, length, rng.uniform(1, 3))
    low = noise(rng, length, 9)
    high = noise(rng, length, 3)
    return np.asarray((0.15 + curve**2) * low / low.std() + 0.5 * curve**4 * high / high.std())


def engine(rng: Generator, length: int, *, speed: tuple[float, float] = (18.0, 55.0)) -> Floats:
    """Puffs at a steady rate (of `speed` a second), each through the same exhaust."""
    rate = rng.uniform(*speed) * (1 + 0.15 * smooth(rng, length, 1.5))
    phase = np.cumsum(rate) / RATE
    puffs = np.flatnonzero(np.diff(np.floor(phase)) > 0) / RATE
    exhaust = rng.normal(size=400) * np.exp(-np.arange(400) / rng.uniform(20, 90))
    gains = np.where(np.arange(len(puffs)) % 4, rng.uniform(0.4, 1), 1.0)
    sound = scatter(puffs, gains, exhaust, length)
    return np.asarray(sound / sound.std() + 0.2 * noise(rng, length, 3))


def crickets(rng: Generator, length: int) -> Floats:
    """A tone in short pulses, the pulses in chirps."""
    t = np.arange(length) / RATE
    sound = np.zeros(length)
    for _ in range(2):
        tone = np.sin(2 * np.pi * rng.uniform(1500, 5500) * t)
        pulse = np.maximum(0, np.sin(2 * np.pi * rng.uniform(24, 48) * t)) ** 2
        rate, duty = rng.uniform(2, 5), rng.uniform(0.3, 0.6)
        chirp = ((t * rate + rng.uniform()) % 1 < duty).astype(float)
        sound += tone * pulse * np.convolve(chirp, np.hanning(160) / 80, "same")
    return sound


def birds(rng: Generator, length: int) -> Floats:
    """Whistles that glide, in phrases of a few birds."""
    sound = np.zeros(length)
    for bird in range(3):
        low, high = np.sort(rng.uniform(1500, 5500, 2))
        span = int(rng.uniform(0.05, 0.14) * RATE)
        sweep = np.linspace(low, high + 500, span)[:: int(rng.choice([-1, 1]))]
        note = np.sin(2 * np.pi * np.cumsum(sweep) / RATE) * np.hanning(span)
        gap = span / RATE * rng.uniform(1.2, 1.8)
        start = rng.uniform(bird, bird + 1) / 3 * (length / RATE - 0.3)
        times = start + gap * np.arange(int(rng.integers(2, 6)))
        sound += scatter(times, rng.uniform(0.5, 1, len(times)), note, length)
    return sound


def bark(rng: Generator, length: int) -> Floats:
    """Short harsh calls whose pitch falls."""
    span = int(rng.uniform(0.1, 0.2) * RATE)
    pitch = rng.uniform(250, 600) * np.linspace(1.2, 0.7, span)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    call = sum(np.sin(k * phase) / k**0.7 for k in range(1, 7)) + 0.8 * rng.normal(size=span)
    times = np.r_[rng.uniform(0, 0.4), poisson(rng, 2.5, length / RATE)]
    return scatter(times, rng.uniform(0.6, 1, len(times)), call * np.hanning(span), length)


KINDS: dict[str, Kind] = {
    **{material: struck(material) for material in MATERIALS},
    "bounce": bounce, "clock": clock, "rain": rain, "fire": fire, "wind": wind,
    "engine": engine, "crickets": crickets, "birds": birds,
}  # fmt: skip


def microphone(rng: Generator, sound: Floats, strength: float = 1.0) -> Floats:
    """Another frequency response, which changes as it moves, and another room for every clip."""
    spectrum = np.fft.rfft(sound)
    hertz = np.log(np.maximum(np.fft.rfftfreq(len(sound), 1 / RATE), 60))
    knots = np.linspace(np.log(60), np.log(RATE / 2), 7)
    ends = []
    for _ in range(2):
        curve = np.cumsum(rng.normal(0, 6, 7)) * strength  # dB
        gain = np.interp(hertz, knots, curve - curve.mean())
        ends.append(np.fft.irfft(spectrum * 10 ** (gain / 20), len(sound)))
    heard = ends[0] + np.linspace(0, 1, len(sound)) * (ends[1] - ends[0])
    span = int(rng.uniform(0.05, 0.25) * RATE)
    echo = rng.normal(size=span) * np.exp(-np.arange(span) / (span / 5))
    wet = fftconvolve(heard, echo)[: len(sound)]
    return np.asarray(heard + rng.uniform(0, 0.2) * wet * heard.std() / (wet.std() + 1e-12))


def rms(sound: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(sound**2)))


def passing(rng: Generator, length: int) -> Floats:
    """Two other things that pass by one after the other; (T,) of power about 1."""
    span, found = round(0.6 * length), np.zeros(length)
    fade = np.minimum(np.arange(span), np.arange(span)[::-1]).clip(max=RATE / 10) / (RATE / 10)
    for start in (0, length - span):
        kind = list(KINDS.values())[int(rng.integers(len(KINDS)))]
        sound = kind(rng, span) * fade
        found[start : start + span] += sound / (rms(sound) + 1e-9)
    return found


def record(
    rng: Generator, sound: Floats, snr: tuple[float, float] = (3.0, 20.0),
    behind: Floats | None = None,
) -> NDArray[np.int16]:  # fmt: skip
    """(T,) as a device would record it: response, room, a noise floor of its own, level.

    `behind`: what else is heard, of power 1; it becomes 2 to 12 dB softer than `sound`.
    """
    heard = microphone(rng, sound)
    if behind is not None:
        soft = rms(sound) * 10 ** (-rng.uniform(2, 12) / 20)
        heard = heard + microphone(rng, behind * soft)
    floor = noise(rng, len(sound), rng.uniform(-4, 8)) * (0.7 + 0.6 * smooth(rng, len(sound), 2))
    loud = rms(heard) + 1e-9
    floor *= loud / rms(floor) * 10 ** (-rng.uniform(*snr) / 20)
    mixed = lfilter([1, -1], [1, -0.995], heard + floor)  # no recorder keeps a constant
    level = 10 ** (rng.uniform(-32, -16) / 20) / rms(mixed)
    return np.asarray(np.rint(np.clip(mixed * level, -1, 1) * 32767), dtype=np.int16)
