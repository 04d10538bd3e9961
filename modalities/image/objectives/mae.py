"""Masked autoencoders. He, Chen, Xie, Li, Dollar, Girshick 2021, arXiv:2111.06377.

Shapes: B pictures, N patches, K visible, M masked, p side of a patch, W width of the decoder.
"""

from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Gt, Le, Lt, MultipleOf
from torch import Tensor, nn

from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.network.masking import divide, take_tokens
from modalities.common.network.transformer import positions, start, transformer
from modalities.image.network.augmentation import LEVEL
from modalities.image.network.contract import PatchEncoder
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class MAE(Objective):
    """Paint the patches that the encoder was not shown.

    `mask`: share of each picture's patches that are hidden, drawn anew for every picture. The
    encoder sees the others only; a light decoder sees their features, and at each masked place a
    token that is the same everywhere, but for its position. Judge the encoder by fine-tuning too.
    """

    def __init__(
        self,
        encoder: PatchEncoder,
        *,
        mask: Annotated[float, Gt(0), Lt(1)] = 0.75,
        width: Annotated[int, Gt(0), MultipleOf(32)] = 96,
        depth: Annotated[int, Gt(0)] = 1,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
    ) -> None:
        super().__init__()
        self.encoder: PatchEncoder = encoder
        self.mask, self.width = mask, width
        self.enter = nn.Linear(encoder.dim, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # what stands at a masked place
        self.decoder = transformer(width, depth, heads=width // 32)
        self.leave = nn.Linear(width, 3 * encoder.patch**2)
        start(self.enter)
        start(self.leave)
        self.augmentation = contrastive(crop=crop, colour=0.0, blur=0.0, grey=0.0)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        image = self.augmentation(batch["items"], rng)  # (B, 3, H, W)
        rows, columns = self.encoder.grid(image)
        visible, masked = divide(rng.uniform(rows * columns), self.mask)  # (B, K), (B, M)
        return {"image": image, "visible": visible, "masked": masked}

    def forward(self, batch: Batch) -> Step:
        target = normalised(take_tokens(self.encoder.patches(batch["image"]), batch["masked"]))
        return Step((self.paint(**batch).float() - target).square().mean())

    def paint(self, image: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        """(B, 3, H, W), (B, K), (B, M) -> the masked patches, normalised, (B, M, 3 p p)."""
        place = positions(*self.encoder.grid(image), self.width, image.device)  # (N, W)
        seen = self.enter(self.encoder.tokens(image, visible)) + place[visible]  # (B, K, W)
        tokens = torch.cat([seen, self.hidden + place[masked]], 1)  # positions tell their order
        painted: Tensor = self.leave(self.decoder(tokens)[:, visible.shape[1] :])
        return painted

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        views = self.views(batch, rng)
        true = take_tokens(self.encoder.patches(views["image"]), views["masked"])
        spread = (true.var(2, keepdim=True) + LEVEL**2).sqrt()
        painted = self.paint(**views).float() * spread + true.mean(2, keepdim=True)
        sheets.patches(folder, views["image"], views["masked"], painted)


def normalised(patches: Tensor) -> Tensor:
    """(B, M, 3 p p): each patch less its mean, by its standard deviation.

    A patch that is flat but for rounding must not become noise, hence the level of grey.
    """
    centred = patches - patches.mean(2, keepdim=True)
    variance: Tensor = patches.var(2, keepdim=True)
    return centred / (variance + LEVEL**2).sqrt()
