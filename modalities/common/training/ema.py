"""A network that follows another: an exponential moving average of its parameters."""

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def follower(module: M) -> M:
    """A copy that no gradient reaches."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def update(follower: nn.Module, leader: nn.Module, momentum: float) -> None:
    """follower <- momentum follower + (1 - momentum) leader, parameter by parameter.

    Buffers are not touched: the follower's batch norms see their own batches.
    """
    slow: list[torch.Tensor] = list(follower.parameters())
    fast: list[torch.Tensor] = list(leader.parameters())
    assert len(slow) == len(fast), "a follower has its leader's parameters"
    torch._foreach_lerp_(slow, fast, 1 - momentum)
