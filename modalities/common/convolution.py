"""Convolutions that are right on maps which are narrower than their kernel.

Shapes: B batch, C channels, H W places.
"""

from torch import Tensor, nn


class Conv(nn.Conv2d):
    """A convolution whose output and gradients are right where only one column comes out, too.

    With a stride of 2 there, on a CPU in bf16, oneDNN (torch 2.9) reads memory that nobody wrote:
    the gradient of the weights and, on processors with AMX, the output are others every time and
    sometimes no numbers. The same sum without the padding and without the stride is right: only
    the kernel's columns that meet the map, on the map's columns that meet the kernel.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.padding, tuple) or self.dilation != (1, 1):
            return super().forward(x)
        kernel, padding, stride = self.kernel_size[1], self.padding[1], self.stride[1]
        if 1 in (kernel, stride) or x.shape[3] + 2 * padding - kernel >= stride:
            return super().forward(x)
        met = min(x.shape[3], kernel - padding)
        return nn.functional.conv2d(
            x[..., :met], self.weight[..., padding : padding + met], self.bias,
            (self.stride[0], 1), (self.padding[0], 0), groups=self.groups,
        )  # fmt: skip


class ConvTranspose(nn.ConvTranspose2d):
    """A transposed convolution, whose backward pass is a convolution, that is right there, too."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        assert isinstance(self.padding, tuple)
        kernel, padding = self.kernel_size[1], self.padding[1]
        plain = (self.output_padding, self.dilation) == ((0, 0), (1, 1))
        if x.shape[3] > 1 or kernel <= 2 * padding or not plain or output_size is not None:
            return super().forward(x, output_size)
        return nn.functional.conv_transpose2d(
            x, self.weight[..., padding : kernel - padding], self.bias,
            (self.stride[0], 1), (self.padding[0], 0), groups=self.groups,
        )  # fmt: skip


def careful(model: nn.Module) -> nn.Module:
    """A network of another library, in place, with convolutions that are right on narrow maps."""
    for each in model.modules():
        if type(each) is nn.Conv2d and each.padding_mode == "zeros":
            each.__class__ = Conv
    return model
