"""Batch normalisation over the global batch of several processes, and over parts of a batch.

Shapes: B batch, C channels, ... places. Statistics are kept in float32 whatever the precision.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from modalities.common.steps import distributed


class SharedBatchNorm(_BatchNorm):
    """Batch norm whose statistics are of all processes' items; torch's own needs a GPU for that."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, ...), found {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:  # (B, C, ...)
        if not self.training or distributed.world() == 1:
            return super().forward(input)
        x = input.float()
        places = [0, *range(2, x.dim())]
        count = distributed.total(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
        mean = distributed.total(x.sum(places)) / count  # (C,)
        shape = (1, -1, *[1] * (x.dim() - 2))
        centred = x - mean.view(shape)
        variance = distributed.total(centred.square().sum(places)) / count
        if self.running_mean is not None and self.running_var is not None:
            assert self.momentum is not None and self.num_batches_tracked is not None
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(input.dtype)


class SplitBatchNorm(nn.Module):
    """Batch norm over each of `splits` parts of the batch, as if each were on a device of its own.

    What several GPUs without synchronisation do by accident and MoCo needs on purpose: the key's
    statistics must not tell which query it belongs to (arXiv:1911.05722, section 3.3). It keeps no
    running statistics, for it serves only networks that are never used in evaluation.
    """

    def __init__(self, norm: _BatchNorm, splits: int) -> None:
        super().__init__()
        self.weight, self.bias, self.eps, self.splits = norm.weight, norm.bias, norm.eps, splits

    def forward(self, x: Tensor) -> Tensor:  # (B, C, ...)
        splits = max(1, self.splits // distributed.world())
        while len(x) % splits:
            splits -= 1
        parts = [
            F.batch_norm(part, None, None, self.weight, self.bias, True, 0.0, self.eps)
            for part in x.chunk(splits)
        ]
        return torch.cat(parts)


def split(module: nn.Module, splits: int) -> nn.Module:
    """`module` with every batch norm split; in place, parameters kept."""
    return _replace(module, lambda norm: SplitBatchNorm(norm, splits))


def share(module: nn.Module) -> nn.Module:
    """`module` with every batch norm shared between the processes; in place, state kept.

    On a GPU by torch's own SyncBatchNorm.
    """
    if any(p.is_cuda for p in module.parameters()):
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
        return convert(module)  # type: ignore[no-any-return, no-untyped-call]

    def shared(norm: _BatchNorm) -> nn.Module:
        norm.__class__ = SharedBatchNorm
        return norm

    return _replace(module, shared)


def _replace(module: nn.Module, by: Callable[[_BatchNorm], nn.Module]) -> nn.Module:
    if isinstance(module, _BatchNorm):
        return by(module)
    for name, child in module.named_children():
        setattr(module, name, _replace(child, by))
    return module
