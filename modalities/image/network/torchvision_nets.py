"""Networks of torchvision, by its names."""

from typing import Any, Literal

import torch
from torch import nn

from modalities.base import UserError
from modalities.common.network.convolution import careful
from modalities.image.network.contract import ImageEncoder

FAMILIES = (
    "convnext", "densenet", "efficientnet", "mobilenet", "regnet", "resne", "vgg", "wide_resnet",
)  # fmt: skip


class Backbone(ImageEncoder):
    """A convolutional network of torchvision without its classifier, with random weights.

    `stem: small` fits a ResNet to pictures of 32 to 64 pixels, as SimCLR does for CIFAR: a 3 x 3
    convolution of stride 1 and no pooling in front (arXiv:2002.05709, appendix B.9).
    """

    def __init__(self, name: str, *, stem: Literal["standard", "small"] = "standard") -> None:
        super().__init__()
        from torchvision.models import get_model

        model = careful(get_model(name, weights=None))
        if stem == "small":
            if not hasattr(model, "maxpool") or not isinstance(model.conv1, nn.Conv2d):
                raise UserError(f"encoder {name}: `stem: small` is for the ResNet family only")
            model.conv1 = nn.Conv2d(3, model.conv1.out_channels, 3, padding=1, bias=False)
            model.maxpool = nn.Identity()
        names = {id(value): key for key, value in model.state_dict(keep_vars=True).items()}
        self.stages = nn.ModuleList(_stages(model))
        self.native: dict[str, str] = {  # our names of tensors -> torchvision's
            key: names[id(value)] for key, value in self.state_dict(keep_vars=True).items()
        }
        self.dim = _width(self)


def _stages(model: Any) -> list[nn.Module]:
    """What comes before the classifier, cut where torchvision's own modules are cut."""
    if hasattr(model, "layer4"):
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        return [nn.Sequential(stem, model.layer1), model.layer2, model.layer3, model.layer4]
    if hasattr(model, "trunk_output"):
        first, *rest = model.trunk_output.children()
        return [nn.Sequential(model.stem, first), *rest]
    return list(model.features.children())


@torch.no_grad()
def _width(encoder: ImageEncoder) -> int:
    encoder.eval()
    dim = encoder.maps(torch.zeros(1, 3, 64, 64))[-1].shape[1]
    encoder.train()
    return dim
