"""What every network for pictures offers: maps of its stages, and of patches where it has them.

Shapes: B batch, H W height and width of the picture, C_i h_i w_i of stage i's feature map,
D = C of the last stage, N = h w of the last stage.
"""

from torch import Size, Tensor, nn

from modalities.base import Encoder, UserError
from modalities.common.network import fitting


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

    def fitted(self, name: str, found: Tensor, shape: Size) -> Tensor:
        """The first kernels may be for pictures with more or fewer channels."""
        first = next(self.named_parameters())[0]
        if name == first and found.ndim == len(shape) == 4:
            return fitting.of_channels(found, shape[1])
        return found


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
