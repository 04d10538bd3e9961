"""The same bits from run to run on a GPU, too; a CPU always adds in the same order."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def deterministically(train: Callable[[], T], warn: Callable[[str], None]) -> T:
    """What `train` returns; it is called again, less strictly, if the GPU cannot be exact."""
    use_deterministic()
    try:
        return train()
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        warn(f"on a GPU this run has other last digits every time: {error}")
        torch.use_deterministic_algorithms(True, warn_only=True)
        return train()
    finally:
        torch.use_deterministic_algorithms(False)


def use_deterministic() -> None:
    """From now on, only algorithms that add in a fixed order."""
    if torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        # With mere warnings attention would not even use the exact backward pass that it has.
        torch.use_deterministic_algorithms(True)
        # Else every new tensor is filled, which only serves to find mistakes.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
