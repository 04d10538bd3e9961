"""Masked prediction of units. Hsu et al. 2021, "HuBERT", arXiv:2106.07447.

Shapes: B sounds, F frames of 10 ms, h w patches across bands and time, M bands, p q of a patch,
D width of the encoder, P of the projection, C units.
"""

from typing import Annotated

import torch
from annotated_types import Gt, Le
from torch import nn
from torch.nn import functional as F

from modalities.audio.network.encoder import PatchEncoder
from modalities.audio.network.views import log_mel, per_step
from modalities.base import Batch, Objective, Randomness, Step, UserError
from modalities.common.pretraining.contrast import unit


class MaskedUnits(Objective):
    """Say which unit sounds where the spectrogram is masked; first MFCC's units, then one's own.

    `start`: probability that a span of `span` time steps (of the encoder's patches) is masked from
    a step on; a masked step shows the same learned patches everywhere, which for a linear embedding
    is HuBERT's mask embedding. The loss is on masked steps only: cross-entropy of cosine similarity
    with the units' codes at `temperature`. `units`: at least as many as the labeler's k.
    """

    needs = ("free_label",)
    precompute = staticmethod(log_mel)

    def __init__(
        self,
        encoder: PatchEncoder,
        *,
        units: Annotated[int, Gt(1)] = 100,
        start: Annotated[float, Gt(0), Le(1)] = 0.12,
        span: Annotated[int, Gt(0)] = 5,
        projection: Annotated[int, Gt(0)] = 64,
        temperature: Annotated[float, Gt(0)] = 0.1,
    ) -> None:
        super().__init__()
        self.encoder: PatchEncoder = encoder
        self.units, self.start, self.span, self.temperature = units, start, span, temperature
        self.hidden = nn.Parameter(torch.randn(encoder.patch) * 0.1)  # (p, q)
        self.head = nn.Linear(encoder.dim, projection)
        self.codes = nn.Parameter(torch.randn(units, projection))

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        sound = log_mel(batch["items"])  # (B, 1, M, F)
        steps = self.encoder.grid(sound)[1]
        labels = per_step(batch["free_label"], self.encoder.patch[1])[:, :steps]  # (B, w)
        if int(labels.max()) >= self.units:
            found = f"labels have unit {int(labels.max())}"
            raise UserError(f"options.units: {self.units} is too few: {found}")
        starts = rng.bernoulli(self.start, steps)
        first = rng.integers(steps)  # never nothing
        starts = starts | (torch.arange(steps, device=starts.device) == first[:, None])
        ahead = F.pad(starts.float(), (self.span - 1, 0))[:, None]
        masked = F.max_pool1d(ahead, self.span, 1)[:, 0] > 0  # (B, w)
        return {"sound": sound, "unit": labels, "masked": masked}

    def forward(self, batch: Batch) -> Step:
        sound, labels, masked = batch["sound"], batch["unit"], batch["masked"]
        rows, steps = self.encoder.grid(sound)
        q = self.encoder.patch[1]
        where = masked.repeat_interleave(q, 1)[:, None, None]  # (B, 1, 1, w q)
        shown = torch.where(where, self.hidden.repeat(rows, steps), sound[..., : steps * q])
        tokens = self.encoder.tokens(shown)  # (B, h w, D)
        tokens = tokens.view(len(tokens), rows, steps, -1).mean(1)  # (B, w, D)
        asked = masked & (labels >= 0)
        with torch.autocast(sound.device.type, enabled=False):
            found = unit(self.head(tokens.float())[asked])
            logits = found @ unit(self.codes).T / self.temperature  # (steps asked, C)
            loss = F.cross_entropy(logits, labels[asked]) if len(logits) else logits.sum() * 0
        right = (logits.argmax(1) == labels[asked]).float().mean() if len(logits) else 0.0
        return Step(loss, {"accuracy": right})
