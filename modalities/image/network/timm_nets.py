"""Any suitable network of timm by its name there, as `timm/NAME`, with random weights.

Vision transformers give tokens and can be shown visible patches alone; convolutional networks give
feature maps. Weights are loaded by modalities/image/published.py, never downloaded here.

Shapes: B batch, H W height and width, h w patches down and across, N = h w, K visible, D width.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor

from modalities.base import UserError
from modalities.common.network import fitting
from modalities.common.network.convolution import careful
from modalities.common.network.masking import take_tokens
from modalities.image.network.contract import ImageEncoder, PatchEncoder

PREFIX = "timm/"


class TimmViT(PatchEncoder):
    """A vision transformer of timm: those of its files vision_transformer.py and deit.py.

    `size`: side in pixels of the pictures it is made for, 0: its name's; others are taken too, with
    positions interpolated. `patch`: side of a patch, 0: its name's. `pool`: a picture's feature is
    the `mean` over its patches, or the class `token`, which supervised weights are trained for.
    """

    fits: ClassVar[tuple[str, ...]] = ("size", "patch", "pool")

    def __init__(
        self,
        name: str,
        file: Path | None = None,
        *,
        size: Annotated[int, Ge(0)] = 0,
        patch: Annotated[int, Ge(0)] = 0,
        pool: Literal["mean", "token"] = "mean",
    ) -> None:
        super().__init__()
        told = {key: value for key, value in (("img_size", size), ("patch_size", patch)) if value}
        self.net = create(name, file, dynamic_img_size=True, **told)
        self.prefix: int = self.net.num_prefix_tokens
        if pool == "token" and not self.prefix:
            raise UserError(f"encoder {name}: it has no class token; choose `pool: mean`")
        self.patch, self.dim = self.net.patch_embed.patch_size[0], self.net.embed_dim
        self.pool = pool

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, N, D), row by row; with `visible` (B, K), these alone: (B, K, D)."""
        return self._encode(x, visible)[:, self.prefix :]

    def _encode(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """With the class token and its like in front."""
        self.grid(x)
        x = self.net._pos_embed(self.net.patch_embed(x))  # (B, prefix + N, D)
        if visible is not None:
            x = torch.cat([x[:, : self.prefix], take_tokens(x[:, self.prefix :], visible)], 1)
        found: Tensor = self.net.norm(self.net.blocks(self.net.norm_pre(x)))
        return found

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, D, h, w), the only one."""
        return [self.tokens(x).transpose(1, 2).reshape(x.shape[0], self.dim, *self.grid(x))]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D)."""
        found = self._encode(x)
        return found[:, 0] if self.pool == "token" else found[:, self.prefix :].mean(1)

    def fitted(self, name: str, found: Tensor, shape: torch.Size) -> Tensor:
        """Positions of a finer or coarser grid, kernels of larger or smaller patches."""
        if name == "net.patch_embed.proj.weight" and found.ndim == 4:
            return fitting.kernels(found, shape[1], (shape[2], shape[3]))
        if name == "net.pos_embed" and found.ndim == 3:
            before = 0 if self.net.no_embed_class else self.prefix
            return fitting.positions(found, self.net.patch_embed.grid_size, before)
        return found


class TimmBackbone(ImageEncoder):
    """A convolutional network of timm, as maps of features at coarser and coarser resolutions."""

    def __init__(self, name: str, file: Path | None = None) -> None:
        super().__init__()
        try:
            self.net = create(name, file, features_only=True)
        except (RuntimeError, AttributeError, AssertionError) as error:
            raise UserError(f"encoder {name}: timm gives no feature maps: {error}") from None
        if str(getattr(self.net, "output_fmt", None) or "NCHW").split(".")[-1] != "NCHW":
            raise UserError(f"encoder {name}: its features are no (B, C, h, w) maps")
        self.dim = self.net.feature_info.channels()[-1]

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C_i, h_i, w_i) of every stage."""
        return list(self.net(x))


def create(name: str, file: Path | None, **options: Any) -> Any:
    """timm's network without its classifier; with the weights of a file, if one is given."""
    import timm

    if file is not None:
        options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(file)}}
    if not options.get("features_only"):
        options["num_classes"] = 0
    try:
        return careful(timm.create_model(name.removeprefix(PREFIX), **options))
    except TypeError as error:  # an option that this network does not have
        raise UserError(f"encoder {name}: {error}") from None


def transformers() -> list[str]:
    """The names, with their prefix, of those that can be shown some patches alone."""
    from timm.models import list_models

    return [PREFIX + n for file in ("vision_transformer", "deit") for n in list_models(module=file)]


def names() -> list[str]:
    """All names, with their prefix. Imports timm."""
    from timm.models import list_models

    return [PREFIX + name for name in list_models()]
