"""A small vision transformer. Dosovitskiy et al. 2020, arXiv:2010.11929.

Shapes: B batch, h w patches down and across, N = h w, p side of a patch, D width, K visible ones.
"""

import math
from typing import Annotated, ClassVar

from annotated_types import Gt
from torch import Size, Tensor, nn

from modalities.base import UserError
from modalities.common.network import fitting
from modalities.common.network.masking import take_tokens
from modalities.common.network.transformer import positions, start, transformer
from modalities.image.network.contract import PatchEncoder


class ViT(PatchEncoder):
    """Patches, each a linear function of its pixels and a fixed position, through a transformer.

    As the encoder of MAE (arXiv:2111.06377), but without a class token: a picture's feature is the
    mean over its patches. Any size of picture that patches divide will do.
    """

    fits: ClassVar[tuple[str, ...]] = ("patch",)

    def __init__(
        self,
        *,
        patch: Annotated[int, Gt(0)] = 4,
        width: Annotated[int, Gt(0)] = 192,
        depth: Annotated[int, Gt(0)] = 6,
        heads: Annotated[int, Gt(0)] = 3,
    ) -> None:
        super().__init__()
        if width % 4 or width % heads:
            raise UserError(
                f"encoder vit: width {width} must be divisible by 4, for the positions, and by the "
                f"number of heads, {heads}"
            )
        self.patch, self.dim = patch, width
        self.embedding = nn.Linear(3 * patch * patch, width)
        start(self.embedding)
        self.blocks = transformer(width, depth, heads)

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, N, D), row by row; with `visible` (B, K), these alone: (B, K, D)."""
        place = positions(*self.grid(x), self.dim, x.device)  # (N, D)
        pixels = self.patches(x)  # (B, N, 3 p p)
        if visible is not None:
            pixels, place = take_tokens(pixels, visible), place[visible]
        found: Tensor = self.blocks(self.embedding(pixels) + place)
        return found

    def maps(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, D, h, w), the only one."""
        return [self.tokens(x).transpose(1, 2).reshape(x.shape[0], self.dim, *self.grid(x))]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D): the mean over patches."""
        return self.tokens(x).mean(1)

    def fitted(self, name: str, found: Tensor, shape: Size) -> Tensor:
        """What a patch of another size is multiplied by, (D, p p 3), as a kernel of this size."""
        side = math.isqrt(found.shape[-1] // 3)
        if name != "embedding.weight" or found.shape == shape or found.shape[1] != 3 * side * side:
            return found
        kernel = found.view(-1, side, side, 3).permute(0, 3, 1, 2)
        made = fitting.kernels(kernel, 3, (self.patch, self.patch))
        return made.permute(0, 2, 3, 1).flatten(1)
