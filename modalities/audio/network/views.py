"""Sounds as an encoder takes them, and the ways to change one without changing what it is.

Everything happens to whole batches of log-mel spectrograms on the training device.

Shapes: B batch, T samples, M mel bands, F frames of a sound and G of a view. In: (B, T) int16.
Out: (B, 1, M, G), in units of about one standard deviation.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from modalities.base import Randomness
from modalities.common.network.tensors import places

RATE = 16_000
BANDS = 64
HOP = 160  # samples: 10 ms
WINDOW = 400
SIZE = 512  # of the Fourier transform
RANGE = (50.0, 7_800.0)  # Hz
FLOOR = 1e-4  # share of a sound's mean power that is added: below it there is nothing to hear
SILENCE = -10.0  # in units of SCALE: a noise floor that nobody hears
SCALE = 3.0  # nepers: about the standard deviation of log-mel levels


@cache
def _transforms(device: torch.device) -> tuple[torch.nn.Module, torch.nn.Module]:
    from torchaudio.transforms import MelScale, Spectrogram

    spectrum = Spectrogram(SIZE, WINDOW, HOP, power=None)
    return spectrum.to(device), MelScale(BANDS, RATE, *RANGE, SIZE // 2 + 1).to(device)


def _power(wave: Tensor) -> Tensor:
    """(B, T) -> mel power (B, M, F). torchaudio's own way by `abs` takes 1.7 times as long."""
    spectrum, mel = _transforms(wave.device)
    real, imaginary = torch.view_as_real(spectrum(wave)).unbind(-1)
    found: Tensor = mel(real.square().addcmul_(imaginary, imaginary))
    return found


def frames_of(samples: int) -> int:
    """F for so many samples: a frame in every 10 ms, the first one in the middle of nothing."""
    return samples // HOP + 1


def log_mel(items: Tensor) -> Tensor:
    """(B, T) int16 -> (B, 1, M, F) float32: log-mel levels less their mean over the sound.

    So the level of a recording, which says more of the device than of what sounds, has no effect.
    A spectrogram already stays as it is.
    """
    if items.is_floating_point():
        return items
    with torch.autocast(items.device.type, enabled=False):
        wave = items.float() / 32768
        power = _power(wave)  # (B, M, F)
        level = (power + FLOOR * power.mean((1, 2), keepdim=True) + 1e-12).log()
        return ((level - level.mean((1, 2), keepdim=True)) / SCALE)[:, None]


def prepare(items: Tensor) -> Tensor:
    """Only the change of form: (B, T) int16, or its spectrogram already, -> (B, 1, M, F)."""
    return log_mel(items)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a spectrogram. Defaults: nothing."""

    crop: tuple[float, float] = (1.0, 1.0)  # share of the time that is kept
    length: float = 1.0  # frames of a view as a share of the sound's
    shift: float = 0.0  # of the bands, up or down, as a share of them
    tilt: float = 0.0  # deviation of a random, smooth frequency response, in SCALE units
    noise: float = 0.0  # probability that a noise floor hides what is soft
    hide: float = 0.0  # greatest share of bands, and of frames, under a mask (SpecAugment)

    def __call__(self, x: Tensor, rng: Randomness) -> Tensor:
        """(B, T) int16, or its spectrogram (B, 1, M, F) -> (B, 1, M, G)."""
        x = log_mel(x)
        with torch.autocast(x.device.type, enabled=False):
            drawn = self._draw(rng)
            x = self._cut(x[:, 0], drawn)
            x = self._respond(x, drawn)
            return self._mask(x, drawn)[:, None]

    def _draw(self, rng: Randomness) -> dict[str, Tensor]:
        """Everything random, always in the same order."""
        return {
            "part": rng.uniform(low=self.crop[0], high=self.crop[1]),
            "place": rng.uniform(),
            "shift": rng.uniform(low=-self.shift, high=self.shift),
            "wide": rng.uniform(low=1 - self.shift, high=1.0),
            "tilt": rng.normal(4) * self.tilt,
            "floor": rng.uniform(low=-1.0, high=0.5),
            "slope": rng.uniform(low=-0.7, high=0.7),
            "noisy": rng.bernoulli(self.noise),
            "hidden": rng.uniform(4),
        }

    def _cut(self, x: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Crop and stretch: (B, M, F) -> (B, M, G)."""
        _, bands, frames = x.shape
        part = drawn["part"]
        at = places(frames, drawn["place"] * (1 - part), part)  # (B, F)
        kept = max(1, round(frames * self.length))
        if kept != frames:
            at = at[:, (torch.arange(kept, device=x.device) * frames) // kept]
        x = _frames(x, at)
        if not self.shift:
            return x
        low = ((1 - drawn["wide"]) / 2 + drawn["shift"] / 2).clamp(min=0)
        low = torch.minimum(low, 1 - drawn["wide"])
        return _bands(x, places(bands, low, drawn["wide"]))

    def _respond(self, x: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """Another microphone and another noise floor; (B, M, G)."""
        band = torch.linspace(-1, 1, x.shape[1], device=x.device)
        waves = torch.stack([torch.sin(math.pi / 2 * k * band) if k % 2 else
                             torch.cos(math.pi / 2 * k * band) for k in range(1, 5)])  # fmt: skip
        x = x + (drawn["tilt"] @ waves)[:, :, None]
        if not self.noise:
            return x
        floor = drawn["floor"][:, None] + drawn["slope"][:, None] * band  # (B, M)
        floor = torch.where(drawn["noisy"][:, None], floor, SILENCE)[:, :, None]
        return F.softplus(x - floor, beta=SCALE) + floor  # the logarithm of both powers' sum

    def _mask(self, x: Tensor, drawn: dict[str, Tensor]) -> Tensor:
        """A stretch of bands and one of frames become the mean; (B, M, G)."""
        if not self.hide:
            return x
        hidden = drawn["hidden"]
        for axis, size in ((1, x.shape[1]), (2, x.shape[2])):
            width, place = hidden[:, 2 * axis - 2] * self.hide, hidden[:, 2 * axis - 1]
            inside = _stretch_of(size, width, place)
            x = x.masked_fill(inside[:, :, None] if axis == 1 else inside[:, None, :], 0.0)
        return x


def _frames(x: Tensor, at: Tensor) -> Tensor:
    """(B, M, F), places (B, G) among the frames -> (B, M, G), each between the nearest two."""
    low, high, weight = _beside(at, x.shape[2])
    one, two = (x.gather(2, n[:, None].expand(-1, x.shape[1], -1)) for n in (low, high))
    return torch.lerp(one, two, weight[:, None])


def _bands(x: Tensor, at: Tensor) -> Tensor:
    """(B, M, F), places (B, M) among the bands -> (B, M, F), each between the nearest two."""
    low, high, weight = _beside(at, x.shape[1])
    first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    # Whole rows: `gather` along this axis takes six times as long.
    one, two = (x.flatten(0, 1)[(n + first).flatten()].view_as(x) for n in (low, high))
    return torch.lerp(one, two, weight[:, :, None])


def _beside(at: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Places on a line of so many -> those before and after them, and how near the later one is."""
    low = at.long()  # places are not negative
    return low, (low + 1).clamp_(max=size - 1), at - low


def _stretch_of(size: int, width: Tensor, start: Tensor) -> Tensor:
    """(B, size): which of a line of places lie in a stretch; (B,) shares: its width, its place."""
    at = (torch.arange(size, device=width.device) + 0.5) / size
    first = (start * (1 - width))[:, None]
    return (at >= first) & (at < first + width[:, None])


SUPERVISED = Augmentation(
    crop=(0.7, 1.0), length=1.0, shift=0.15, tilt=0.3, noise=0.3, hide=0.1,
)  # fmt: skip


def augment(items: Tensor, rng: Randomness) -> Tensor:
    """What fine-tuning and training from scratch see: as `prepare`, (B, 1, M, F)."""
    return SUPERVISED(items, rng)


def contrastive(
    *, crop: float = 0.5, shift: float = 0.2, tilt: float = 0.4, noise: float = 0.5,
    hide: float = 0.0,
) -> Augmentation:  # fmt: skip
    """What two views of one sound differ by, as in COLA (crops) and BYOL-A (the rest).

    `crop`: share of the time that a view shows, stretched or squeezed by up to a fifth; `shift`:
    of the bands; `tilt`: strength of a random frequency response; `noise`: probability of a noise
    floor, in place of BYOL-A's mixing with other clips; `hide`: greatest share of bands and frames
    that are masked.
    """
    low, high = min(1.0, 0.8 * crop), min(1.0, 1.2 * crop)
    return Augmentation((low, high), crop, shift, tilt, noise, hide)


def per_step(labels: Any, step: int) -> Any:
    """(N, F) array or tensor -> (N, F // step): the unit in the middle of every `step` frames."""
    return labels[:, step // 2 :: step][:, : labels.shape[1] // step]
