"""Small tensors that views of any modality are made with.

Shapes: B batch.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor


@cache
def constant(
    values: tuple[Any, ...], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Numbers as a tensor, copied to the device once: a copy makes a GPU's queue run empty."""
    return torch.tensor(values, device=device, dtype=dtype)


def fast(device: torch.device) -> torch.dtype:
    """In what to resample: bf16 where the processor multiplies in it, which holds 0 to 255 exactly.

    Rounding in between costs what a library pays that keeps bytes between two operations.
    """
    if device.type == "cpu":
        low = torch.cpu._is_avx512_bf16_supported()
    else:
        low = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if low else torch.float32


def places(size: int, start: Tensor, part: Tensor) -> Tensor:
    """(B, size): where, in pixels, to look so that [start, start + part) of a line fills it.

    start and part (B,) are shares of the line, part at most 1.
    """
    at = (torch.arange(size, device=start.device) + 0.5) * part[:, None]
    return (at + start[:, None] * size - 0.5).clamp_(0, size - 1)
