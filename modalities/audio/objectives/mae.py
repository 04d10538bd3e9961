"""Masked autoencoders that listen. Huang et al. 2022, "Audio-MAE", arXiv:2207.06405.

Shapes: B sounds, N patches, K visible, M masked, p q bands and frames of a patch, W width of the
decoder.
"""

from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from torch import Tensor, nn

from modalities.audio.network.encoder import PatchEncoder
from modalities.audio.network.views import contrastive, log_mel
from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.network.masking import divide, take_tokens
from modalities.common.network.transformer import positions, start, transformer

SOFT = 0.05  # standard deviations of a spectrogram: a patch with less variation is flat


class MAE(Objective):
    """Fill in the patches of the spectrogram that the encoder was not shown.

    `mask`: share of each sound's patches that are hidden, drawn anew for every sound. The encoder
    sees the others only; a light decoder sees their features, and at each masked place a token that
    is the same everywhere but for its position; the loss is on masked patches alone. `crop`: share
    of the time that a view shows; `tilt`: strength of a random frequency response.
    """

    precompute = staticmethod(log_mel)

    def __init__(
        self,
        encoder: PatchEncoder,
        *,
        mask: Annotated[float, Gt(0), Lt(1)] = 0.75,
        width: Annotated[int, Gt(0), MultipleOf(32)] = 96,
        depth: Annotated[int, Gt(0)] = 1,
        crop: Annotated[float, Gt(0), Le(1)] = 0.8,
        tilt: Annotated[float, Ge(0), Le(2)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder: PatchEncoder = encoder
        self.mask, self.width = mask, width
        self.enter = nn.Linear(encoder.dim, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # what stands at a masked place
        self.decoder = transformer(width, depth, heads=width // 32)
        self.leave = nn.Linear(width, encoder.patch[0] * encoder.patch[1])
        start(self.enter)
        start(self.leave)
        self.augmentation = contrastive(crop=crop, shift=0.0, tilt=tilt, noise=0.0)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        sound = self.augmentation(batch["items"], rng)  # (B, 1, bands, frames)
        rows, columns = self.encoder.grid(sound)
        visible, masked = divide(rng.uniform(rows * columns), self.mask)  # (B, K), (B, M)
        return {"sound": sound, "visible": visible, "masked": masked}

    def forward(self, batch: Batch) -> Step:
        sound, visible, masked = batch["sound"], batch["visible"], batch["masked"]
        place = positions(*self.encoder.grid(sound), self.width, sound.device)  # (N, W)
        seen = self.enter(self.encoder.tokens(sound, visible)) + place[visible]  # (B, K, W)
        tokens = torch.cat([seen, self.hidden + place[masked]], 1)  # positions tell their order
        filled = self.leave(self.decoder(tokens)[:, visible.shape[1] :])  # (B, M, p q)
        target = normalised(take_tokens(self.encoder.patches(sound), masked))
        return Step((filled.float() - target).square().mean())


def normalised(patches: Tensor) -> Tensor:
    """(B, M, p q): each patch less its mean, by its standard deviation; flat ones stay flat."""
    centred = patches - patches.mean(2, keepdim=True)
    variance: Tensor = patches.var(2, keepdim=True)
    return centred / (variance + SOFT**2).sqrt()
