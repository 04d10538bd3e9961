"""What several processes that share a batch need from one another. One process: nothing happens.

Shapes: n items of this process, R processes, B = n R items of the global batch.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world() -> int:
    """How many processes train together (R)."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is."""
    return dist.get_rank() if world() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """(n, ...) of every process -> (B, ...), in the order of the processes, with gradients."""
    return _Gather.apply(x) if world() > 1 else x  # type: ignore[no-untyped-call]


def total(x: Tensor) -> Tensor:
    """The sum of `x` over the processes, with gradients."""
    return _Total.apply(x) if world() > 1 else x  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = len(x)
        parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        # Every process's loss depends on every process's x: their gradients add up.
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad[rank() * ctx.size :][: ctx.size]


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad
