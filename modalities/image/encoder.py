"""Networks that turn pictures into features, by name: `small`, `vit`, torchvision's, `timm/NAME`.

Shapes: B batch, H W height and width of the picture, C_i h_i w_i of stage i's feature map,
D = C of the last stage, N = h w of the last stage.
"""

import difflib
import inspect
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from modalities.base import Encoder, UserError
from modalities.common.convolution import Conv, careful


class ImageEncoder(Encoder):
    """A network in stages, each a map of finer features at a coarser resolution."""

    stages: nn.ModuleList

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C_i, h_i, w_i) of every stage, for detection and segmentation."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, N, D): the places of the last map, row by row."""
        if visible is not None:
            raise ValueError(
                "a convolution needs its neighbours, so a convolutional encoder cannot encode "
                "visible patches alone; choose an encoder made of patches for masked prediction"
            )
        return self.maps(x)[-1].flatten(2).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D): the mean over places."""
        return self.maps(x)[-1].mean((2, 3))


class PatchEncoder(ImageEncoder):
    """An encoder that can be shown some patches of a picture and not the others."""

    patch: int  # side of a patch, in pixels (p)

    def grid(self, x: Tensor) -> tuple[int, int]:
        """How many patches a picture of (B, 3, H, W) has, down and across: h, w; N = h w."""
        height, width = x.shape[2:]
        if height % self.patch or width % self.patch:
            raise UserError(
                f"pictures of {height} x {width} pixels cannot be cut into patches of "
                f"{self.patch}; set encoder_options.patch to a divisor"
            )
        return height // self.patch, width // self.patch

    def patches(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, 3 p p), row by row."""
        rows, columns = self.grid(x)
        x = x.reshape(x.shape[0], 3, rows, self.patch, columns, self.patch)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(x.shape[0], rows * columns, -1)


class Small(ImageEncoder):
    """A plain convolutional net that a CPU can train in a minute.

    Each stage halves the resolution, but for the first, which does so only with `stem: 4`: a 4 x 4
    convolution instead of a 3 x 3 one. `depth` 3 x 3 convolutions a stage, each with batch norm,
    which on a CPU in bf16 is several times as fast as group norm.
    """

    def __init__(
        self,
        *,
        widths: tuple[int, ...] = (32, 64, 128, 256),
        depth: int = 1,
        stem: Literal[3, 4] = 4,
    ) -> None:
        super().__init__()
        self.dim = widths[-1]
        self.stages = nn.ModuleList()
        before = 3
        for i, width in enumerate(widths):
            first = _block(before, width, stem if i == 0 else 3, 1 if i == 0 and stem == 3 else 2)
            rest = [layer for _ in range(depth - 1) for layer in _block(width, width, 3, 1)]
            self.stages.append(nn.Sequential(*first, *rest))
            before = width


def _block(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    padding = (kernel - 1) // 2
    conv = Conv(before, after, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return [conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


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


FAMILIES = (
    "convnext", "densenet", "efficientnet", "mobilenet", "regnet", "resne", "vgg", "wide_resnet",
)  # fmt: skip


def known() -> list[str]:
    """All names that `build` knows but for those of timm. Imports torchvision."""
    from torchvision import models

    return [*_own(), *(n for n in models.list_models(models) if n.startswith(FAMILIES))]


def body_of(name: str) -> Callable[..., ImageEncoder]:
    """The class of an encoder; UserError for a name that does not exist."""
    own = _own()
    if name in own:
        return own[name]
    timm = name.startswith("timm/")
    if timm:
        from modalities.image import timm_backbones
    names = timm_backbones.names() if timm else known()
    if name not in names:
        raise UserError(f"unknown encoder {name!r}{_nearest(name, names)}")
    if not timm:
        return Backbone
    patched = name in timm_backbones.transformers()
    return timm_backbones.TimmViT if patched else timm_backbones.TimmBackbone


def _own() -> dict[str, Callable[..., ImageEncoder]]:
    from modalities.image.vit import ViT

    return {"small": Small, "vit": ViT}


def build(name: str, **options: Any) -> ImageEncoder:
    """A new encoder with random weights; UserError for a name or an option that does not exist."""
    body = body_of(name)
    kinds = inspect.signature(body).parameters
    allowed = [key for key, p in kinds.items() if p.kind is p.KEYWORD_ONLY]
    for key in options:
        if key not in allowed:
            raise UserError(f"encoder {name}: unknown option {key!r}{_nearest(key, allowed)}")
    return body(**_checked(name, options)) if name in _own() else body(name, **options)


def _checked(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Options of our own encoders, for callers that do not come by way of params.yaml."""
    good: dict[str, Callable[[Any], bool]] = {
        "widths": lambda v: isinstance(v, list | tuple) and v != [] and all(map(_count, v)),
        "stem": lambda v: v in (3, 4),
        **dict.fromkeys(("depth", "patch", "width", "heads"), _count),
    }
    for key, value in options.items():
        if not good[key](value):
            raise UserError(f"encoder {name}: option {key}: impossible value {value!r}")
    return options


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _nearest(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word, names, 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint}; allowed: {', '.join(names if len(names) < 12 or not close else close)}"
