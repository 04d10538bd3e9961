"""Ambient sound as a teacher for vision. Owens, Wu, McDermott, Freeman, Torralba, ECCV 2016.

arXiv:1608.07017. Shapes: B clips, L bytes of a packed clip, k clusters or bits of a code.
"""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge, Gt, Le
from torch import nn
from torch.nn import functional as F

from modalities.base import Batch, Objective, Randomness, Step, UserError
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.views import contrastive
from modalities.video.drawing.units import top_frames
from modalities.video.network.views import any_frame


class AmbientSound(Objective):
    """From a frame of a clip, predict the group that the clip's sound belongs to.

    The labels say what is predicted: clusters (B,), by cross-entropy, or codes of bits (B, k), each
    by a logistic loss. `outputs`: at least as many as the labeler has clusters, or bits. Clips
    without a label (-1) are left out. `crop`: least share of the area that is kept; `colour`:
    strength of the change of colour; `grey`: probability.
    """

    needs = ("free_label",)

    def __init__(
        self,
        encoder: ImageEncoder,
        *,
        outputs: Annotated[int, Ge(2)] = 30,
        smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.0,
        crop: Annotated[float, Gt(0), Le(1)] = 0.4,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder: ImageEncoder = encoder
        self.outputs, self.smoothing = outputs, smoothing
        self.head = nn.Linear(encoder.dim, outputs)
        self.augmentation = contrastive(crop=crop, colour=colour, blur=0.0, grey=grey)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        labels = batch["free_label"]
        found = labels.shape[1] if labels.dim() == 2 else int(labels.max()) + 1
        if found > self.outputs:
            raise UserError(f"options.outputs: found {self.outputs}, the labels need {found}")
        return {"image": self.augmentation(any_frame(batch["items"], rng), rng), "label": labels}

    def forward(self, batch: Batch) -> Step:
        logits = self.head(self.encoder(batch["image"])).float()  # (B, k)
        labels = batch["label"]
        if labels.dim() == 2:
            known = labels >= 0
            part = logits[:, : labels.shape[1]]
            losses = F.binary_cross_entropy_with_logits(part, labels.float(), reduction="none")
            right = (((part > 0) == (labels > 0)) & known).sum()
            return Step((losses * known).sum() / known.sum().clamp(min=1),
                        {"accuracy": right / known.sum().clamp(min=1)})  # fmt: skip
        known = labels >= 0
        if not bool(known.any()):
            return Step(logits.sum() * 0)
        loss = F.cross_entropy(logits[known], labels[known], label_smoothing=self.smoothing)
        return Step(loss, {"accuracy": (logits.argmax(1) == labels)[known].float().mean()})

    @torch.no_grad()
    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:  # noqa: ARG002
        """The frames that each unit of the last map responds to most: pictures/units.html."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "units.html").write_text(top_frames(self.encoder, batch["items"]), "utf-8")
