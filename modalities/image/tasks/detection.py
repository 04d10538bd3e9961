"""Finding and naming objects with few labelled pictures: COCO's AP of boxes.

The head is torchvision's FCOS (Tian et al. 2019, arXiv:1904.01355) on a feature pyramid, with
anchors sized to the picture. How it is measured: modalities/image/measuring/protocol.py.

Shapes: B pictures, S their side, n objects of one.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Gt, Le, MultipleOf
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import (
    FCOS,
    FCOSClassificationHead,
    FCOSHead,
    FCOSRegressionHead,
)
from torchvision.models.detection.image_list import ImageList

from modalities.base import Randomness
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Problem, Subset
from modalities.image.measuring.annotations import Annotations, Objects
from modalities.image.measuring.coco_metrics import Detected, boxes
from modalities.image.measuring.contract import DenseTarget, Head, chunks
from modalities.image.measuring.dense_task import DenseTask
from modalities.image.measuring.measured import Measured
from modalities.image.measuring.pyramid import Pyramid
from modalities.image.measuring.windows import whole, zoomed
from modalities.image.network.contract import ImageEncoder

REACH = 8  # anchors of its size an FCOS level looks away, each way
SURE = 0.02  # the least score of a box that counts
CONVS = 2
LEFT = 0.3  # share of an object that must be left of it in a cut


class Centred(AnchorGenerator):  # type: ignore[misc]
    """Anchors around the middle of what a place stands for, not its upper left corner."""

    def grid_anchors(self, grid_sizes: Any, strides: Any) -> Any:
        found = super().grid_anchors(grid_sizes, strides)
        return [
            anchors + torch.stack([right, down, right, down]) / 2
            for anchors, (down, right) in zip(found, strides, strict=True)
        ]


class Norm(nn.GroupNorm):
    """32 groups. With channels last, torch's takes ten times as long on a CPU (measured)."""

    def __init__(self, channels: int) -> None:
        super().__init__(32, channels)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.contiguous())


def fcos_head(width: int, classes: int) -> FCOSHead:
    """Two convolutions before each answer: the published four are for pictures of 800 pixels."""
    head = FCOSHead(width, 1, classes, num_convs=CONVS)
    head.classification_head = FCOSClassificationHead(
        width, 1, classes, num_convs=CONVS, norm_layer=Norm
    )
    head.regression_head = FCOSRegressionHead(width, 1, num_convs=CONVS, norm_layer=Norm)
    return head


class Detector(Head):
    """FCOS on those levels of the pyramid whose objects fit into the picture."""

    def __init__(self, pyramid: Pyramid, size: int, classes: int, most: int) -> None:
        super().__init__()
        self.pyramid = pyramid
        # A place answers for objects that reach 4 to 8 anchors from it: half a stride each.
        self.levels = max(1, sum(stride * REACH / 4 < size for stride in pyramid.strides))
        sizes = tuple((stride / 2,) for stride in pyramid.strides[: self.levels])
        anchors = Centred(sizes, ((1.0,),) * self.levels)
        head = fcos_head(pyramid.out_channels, classes)
        self.fcos = FCOS(
            pyramid, classes, size, size, anchor_generator=anchors, head=head,
            center_sampling_radius=3.0, score_thresh=SURE, detections_per_img=most,
            topk_candidates=4 * most,
        )  # fmt: skip
        self.fcos.backbone, self.fcos.transform = nn.Identity(), nn.Identity()

    def _outputs(self, x: Tensor) -> tuple[dict[str, Tensor], list[Tensor], list[int]]:
        levels = list(self.pyramid(x).values())[: self.levels]
        outputs = {name: each.float() for name, each in self.fcos.head(levels).items()}
        sizes = [(x.shape[2], x.shape[3])] * len(x)
        anchors = self.fcos.anchor_generator(ImageList(x, sizes), levels)
        return outputs, anchors, [level.shape[2] * level.shape[3] for level in levels]

    def loss(self, x: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
        outputs, anchors, counts = self._outputs(x)
        with torch.autocast(x.device.type, enabled=False):
            losses = self.fcos.compute_loss(target, outputs, anchors, counts)
        return torch.stack(list(losses.values())).sum()

    def forward(self, x: Tensor) -> list[dict[str, Tensor]]:
        """(B, 3, S, S) -> per picture boxes (n, 4), scores (n,), labels (n,)."""
        outputs, anchors, counts = self._outputs(x)
        split = {name: list(torch.split(each, counts, 1)) for name, each in outputs.items()}
        places = [list(torch.split(each, counts)) for each in anchors]
        sizes = [(x.shape[2], x.shape[3])] * len(x)
        found: list[dict[str, Tensor]] = self.fcos.postprocess_detections(split, places, sizes)
        return found


class Boxes(DenseTarget):
    """Boxes of the categories that training pictures show."""

    metrics = ("AP", "AP50", "AP75")

    def __init__(
        self, notes: Mapping[str, Annotations], problem: Problem, size: int, options: dict[str, Any]
    ) -> None:
        self.notes, self.size, self.options = notes, size, options
        self.codes = notes["train"].present(problem.train.at)  # (C,)
        self.names = [notes["train"].categories[code] for code in self.codes]

    def head(self, encoder: ImageEncoder) -> Head:
        made = Pyramid(encoder, self.size, width=self.options["width"], finest=4)
        return Detector(made, self.size, len(self.codes), self.options["detections"])

    def truth(self, subset: Subset) -> list[Objects]:
        """Per picture, the objects of known categories, labelled in [0, C)."""
        found = []
        for at in subset.at:
            own = self.notes[subset.split].objects(at)
            own = own.part(np.isin(own.labels, self.codes))
            labels = np.searchsorted(self.codes, own.labels)
            found.append(Objects(own.boxes, labels, own.area, own.crowd, own.keypoints))
        return found

    def batch(self, subset: Subset, rng: Randomness, device: str) -> tuple[Tensor, Any]:
        items = torch.from_numpy(subset.raw()).to(device)
        windows = zoomed(rng, self.options["crop"])
        truth = [o.part(~o.crowd) for o in self.truth(subset)]
        of = torch.from_numpy(np.repeat(np.arange(len(truth)), [len(o.labels) for o in truth]))
        before = torch.from_numpy(np.concatenate([o.boxes for o in truth])).to(device)
        moved = windows.boxes(before, of.to(device), self.size)
        after = moved.clamp(0, self.size)
        enough = (_area(after) > LEFT * _area(moved)) & ((after[:, 2:] - after[:, :2]) > 0.5).all(1)
        labels = torch.from_numpy(np.concatenate([o.labels for o in truth])).to(device)
        target = []
        for at in range(len(truth)):
            mine = (of.to(device) == at) & enough
            target.append({"boxes": after[mine], "labels": labels[mine]})
        return windows.pictures(items, rng), target

    def predict(self, head: Head, subset: Subset, setting: Setting) -> list[Detected]:
        head.eval()
        found = []
        for part in chunks(subset):
            items = setting.batch(part.items, part.at)
            with torch.inference_mode(), setting.autocast():
                x = whole(len(items), items.device).pictures(items, None)
                given = head(x)
            for each in given:
                label, score, box = (each[k].cpu().numpy() for k in ("labels", "scores", "boxes"))
                found.append(Detected(label, score, boxes=box))
        return found

    def score(self, predicted: list[Any], subset: Subset) -> dict[str, float]:
        return boxes(predicted, self.truth(subset), range(len(self.codes)))


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


class Detection(DenseTask):
    """AP, AP50 and AP75 of boxes at every budget, with a frozen and a fine-tuned encoder.

    `crop`: least share of the area that training pictures keep; `detections`: boxes a picture at
    most.
    """

    learning_rates = [0.0015, 0.003]
    scratch_learning_rates = [0.001, 0.002]
    width: Annotated[int, Gt(0), MultipleOf(32)] = 64
    crop: Annotated[float, Gt(0), Le(1)] = 0.4
    detections: Annotated[int, Gt(0)] = 20

    def begin(self) -> Measured:
        return Measured("boxes", Boxes, self.chosen())

    def show(self, folder: Any) -> None:
        from modalities.image.measuring.figures import show_boxes

        if self.result is not None:
            show_boxes(self.result, folder / "detections.png")
