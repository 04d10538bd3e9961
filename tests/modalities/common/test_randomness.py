"""Draws for a global batch of which a process has some positions."""

from typing import Any

import pytest
import torch
from torch import Tensor

from modalities.base import Randomness

POSITIONS = (torch.tensor([1, 2, 7, 11]), torch.tensor([9, 0, 4]), torch.tensor([3]), range(4, 9))


@pytest.mark.parametrize("at", POSITIONS)
def test_any_positions_are_rows_of_the_full_draw(at: Any) -> None:
    """Neither which positions a process has nor their order moves a draw, nor those after it."""

    def draws(positions: Any) -> list[Tensor]:
        rng = Randomness(torch.Generator().manual_seed(1), total=12, positions=positions)
        kinds = rng.uniform(3, low=-1.0), rng.normal(2, 2), rng.integers(9), rng.on("cpu").normal()
        return [*kinds, rng.bernoulli(0.5, 5)]

    rows = torch.as_tensor(list(at))
    for whole, part in zip(draws(None), draws(at), strict=True):
        assert len(whole) == 12
        assert torch.equal(whole[rows], part)
