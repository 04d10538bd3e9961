"""Predict a sound's cluster. Caron, Bojanowski, Joulin, Douze 2018, arXiv:1807.05520.

With clusters of fixed features (sound textures, arXiv:1608.07017) in place of the network's own.
Shapes: B sounds, k clusters.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le
from torch import nn
from torch.nn import functional as F

from modalities.audio.network.views import contrastive, log_mel
from modalities.base import Batch, Encoder, Objective, Randomness, Step, UserError


class Clusters(Objective):
    """From a changed crop of a sound, name the cluster that the whole sound is in.

    `outputs`: at least as many as the labeler's k. `smoothing` of the labels. The other options
    are those of two views in contrastive learning: what a cluster must be recognised in spite of.
    """

    needs = ("free_label",)
    precompute = staticmethod(log_mel)

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        outputs: Annotated[int, Ge(2)] = 60,
        smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.1,
        crop: Annotated[float, Gt(0), Le(1)] = 0.5,
        shift: Annotated[float, Ge(0), Le(0.5)] = 0.2,
        tilt: Annotated[float, Ge(0), Le(2)] = 0.4,
        noise: Annotated[float, Ge(0), Le(1)] = 0.5,
        hide: Annotated[float, Ge(0), Le(0.5)] = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.outputs, self.smoothing = encoder, outputs, smoothing
        self.head = nn.Linear(encoder.dim, outputs)
        self.augmentation = contrastive(crop=crop, shift=shift, tilt=tilt, noise=noise, hide=hide)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        labels = batch["free_label"]
        if labels.dim() != 1:
            raise UserError("clusters learns from one label per sound: sound_texture, mfcc, random")
        if (found := int(labels.max()) + 1) > self.outputs:
            raise UserError(f"options.outputs: found {self.outputs}, the labels need {found}")
        return {"sound": self.augmentation(batch["items"], rng), "label": labels}

    def forward(self, batch: Batch) -> Step:
        logits = self.head(self.encoder(batch["sound"])).float()  # (B, k)
        known = batch["label"] >= 0
        if not bool(known.any()):
            return Step(logits.sum() * 0)
        logits, labels = logits[known], batch["label"][known]
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        return Step(loss, {"accuracy": (logits.argmax(1) == labels).float().mean()})
