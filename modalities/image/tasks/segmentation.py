"""Naming every pixel with few labelled pictures: mean IoU as in PASCAL VOC.

The head is fully convolutional (Long et al. 2015, arXiv:1411.4038): all levels of a pyramid are
added at the finest one's resolution, then a convolution, dropout and a classifier, interpolated to
the picture. How it is measured: modalities/image/measuring/protocol.py.

Shapes: B pictures, S their side, C classes with the background, P width of the pyramid.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn

from modalities.base import Randomness
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Problem, Subset
from modalities.image.measuring.annotations import IGNORE, Annotations
from modalities.image.measuring.contract import DenseTarget, Head, chunks
from modalities.image.measuring.dense_task import DenseTask
from modalities.image.measuring.measured import Measured
from modalities.image.measuring.miou import mean_iou
from modalities.image.measuring.pyramid import Pyramid, added, resized
from modalities.image.measuring.windows import whole, zoomed
from modalities.image.network.contract import ImageEncoder


class Segmenter(Head):
    """(B, 3, S, S) -> (B, C, S, S)."""

    def __init__(self, pyramid: Pyramid, classes: int, dropout: float) -> None:
        super().__init__()
        self.pyramid, width = pyramid, pyramid.out_channels
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            nn.ReLU(inplace=True), nn.Dropout2d(dropout), nn.Conv2d(width, classes, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return resized(self.head(added(self.pyramid(x))), x.shape[2])

    def loss(self, x: Tensor, target: Tensor) -> Tensor:
        """target (B, S, S) int64, 255 ignored."""
        logits: Tensor = self(x)
        if bool((target == IGNORE).all()):
            return logits.sum() * 0
        # A GPU has no exact sum for classes in the second dimension.
        logits = logits.movedim(1, -1).flatten(0, -2)
        return F.cross_entropy(logits, target.flatten(), ignore_index=IGNORE)


class Masks(DenseTarget):
    """Maps of classes; those of no training picture are ignored, as nobody could learn them."""

    metrics = ("mIoU",)

    def __init__(
        self, notes: Mapping[str, Annotations], problem: Problem, size: int, options: dict[str, Any]
    ) -> None:
        self.notes, self.size, self.options = notes, size, options
        shown = np.unique(notes["train"].masks(problem.train.at))
        self.codes = np.union1d([0], shown[shown != IGNORE])  # (C,) values of masks
        self.names = [notes["train"].classes[code] for code in self.codes]
        self.code_of = np.full(256, IGNORE, np.uint8)
        self.code_of[self.codes] = np.arange(len(self.codes))

    def head(self, encoder: ImageEncoder) -> Head:
        made = Pyramid(encoder, self.size, width=self.options["width"], finest=2)
        return Segmenter(made, len(self.codes), self.options["dropout"])

    def truth(self, subset: Subset) -> np.ndarray:
        """(m, S, S) uint8 in [0, C), 255 ignored."""
        found: np.ndarray = self.code_of[self.notes[subset.split].masks(subset.at)]
        return found

    def batch(self, subset: Subset, rng: Randomness, device: str) -> tuple[Tensor, Any]:
        items = torch.from_numpy(subset.raw()).to(device)
        windows = zoomed(rng, self.options["crop"])
        masks = windows.masks(torch.from_numpy(self.truth(subset)).to(device))
        return windows.pictures(items, rng), masks.long()

    def predict(self, head: Head, subset: Subset, setting: Setting) -> list[Any]:
        head.eval()
        found: list[Any] = []
        for part in chunks(subset):
            items = setting.batch(part.items, part.at)
            with torch.inference_mode(), setting.autocast():
                logits = head(whole(len(items), items.device).pictures(items, None))
            found += list(logits.argmax(1).to(torch.uint8).cpu().numpy())
        return found

    def score(self, predicted: list[Any], subset: Subset) -> dict[str, float]:
        return {"mIoU": mean_iou(self.truth(subset), np.stack(predicted), len(self.codes))}


class Segmentation(DenseTask):
    """Mean IoU at every budget, with a frozen and a fine-tuned encoder.

    `crop`: least share of the area that training pictures keep; `dropout`: of the head.
    """

    crop: Annotated[float, Gt(0), Le(1)] = 0.4
    dropout: Annotated[float, Ge(0), Le(0.9)] = 0.1

    def begin(self) -> Measured:
        return Measured("masks", Masks, self.chosen())

    def show(self, folder: Any) -> None:
        from modalities.image.measuring.figures import show_masks

        if self.result is not None:
            show_masks(self.result, folder / "masks.png")
