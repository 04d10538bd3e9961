"""Convolutions that are right, and fast, on maps which are narrower than their kernel.

Shapes: B batch, C channels, H W places.
"""

import torch
from torch import Tensor, nn

WORTH = 64  # items of a batch from which on a matrix of its own is worth its making


class Conv(nn.Conv2d):
    """A convolution that is right and fast on maps hardly larger than a point.

    Where only one column comes out of a stride of 2, on a CPU in bf16, oneDNN (torch 2.9) reads
    memory that nobody wrote: the gradient of the weights and, on processors with AMX, the output
    are others every time and sometimes no numbers. The same sum without the padding and without
    the stride is right: only the kernel's columns that meet the map, on the map's columns that meet
    the kernel.

    Where each place of the map lies under the kernel for each place that comes out, as on a map of
    1 x 1 or 2 x 2, most of the kernel lies on padding, and oneDNN multiplies it all the same. A
    matrix of what does meet is the same sum, in training 2 to 10 times as fast; it is made anew
    each time, which a batch of WORTH items pays for.
    """

    def forward(self, x: Tensor) -> Tensor:
        plain = self.dilation == (1, 1) and self.padding_mode == "zeros"
        if not plain or not isinstance(self.padding, tuple):
            return super().forward(x)
        if self.training and self.groups == 1 and len(x) >= WORTH and x.device.type == "cpu":
            starts = [self._starts(axis, x.shape[2 + axis]) for axis in (0, 1)]
            if all(starts):
                return self._multiplied(x, *starts)
        kernel, padding, stride = self.kernel_size[1], self.padding[1], self.stride[1]
        if 1 in (kernel, stride) or x.shape[3] + 2 * padding - kernel >= stride:
            return super().forward(x)
        met = min(x.shape[3], kernel - padding)
        return nn.functional.conv2d(
            x[..., :met], self.weight[..., padding : padding + met], self.bias,
            (self.stride[0], 1), (self.padding[0], 0), groups=self.groups,
        )  # fmt: skip

    def _starts(self, axis: int, size: int) -> range:
        """For each place that comes out, the kernel's first row (column) on the map's `size`.

        Empty unless the kernel reaches over the whole map from each of them.
        """
        assert isinstance(self.padding, tuple)
        kernel, padding, stride = self.kernel_size[axis], self.padding[axis], self.stride[axis]
        places = (size + 2 * padding - kernel) // stride + 1
        whole = (places - 1) * stride <= padding <= kernel - size
        return range(padding, padding - places * stride, -stride) if whole else range(0)

    def _multiplied(self, x: Tensor, down: range, across: range) -> Tensor:
        """(B, C, H, W) -> (B, C', len(down), len(across)) by one product of matrices."""
        weight = self.weight.permute(0, 2, 3, 1)  # (C', k, k, C)
        height, width = x.shape[2:]
        met = [weight[:, i : i + height, j : j + width].flatten(1) for i in down for j in across]
        bias = None if self.bias is None else self.bias.repeat(len(met))
        y = nn.functional.linear(x.permute(0, 2, 3, 1).flatten(1), torch.cat(met), bias)
        return y.view(len(x), len(down), len(across), -1).permute(0, 3, 1, 2)


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
