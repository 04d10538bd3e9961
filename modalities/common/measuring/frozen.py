"""How a modality's items get into an encoder, and the features of an encoder that stays as it is.

Shapes: N items of a split, m of them picked, D feature width.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modalities.base import Batch, Items, Randomness
from modalities.common.measuring.problem import Problem, Subset, seed_of
from modalities.common.measuring.rows import EncoderFactory
from modalities.common.steps.precompute import BYTES, Work, precomputed
from modalities.items import Arrays

EVAL_BATCH = 256  # items at a time where nothing is learnt


@dataclass(frozen=True)
class Setting:
    """Where and how numbers are computed, and how this modality's items become encoder input."""

    prepare: Callable[[Tensor], Tensor]
    augment: Callable[[Tensor, Randomness], Tensor]
    precision: str
    device: str
    # What both of them begin with and what draws nothing; they take its result for the items, too.
    precompute: Work | None = None

    def autocast(self) -> AbstractContextManager[Any]:
        if self.precision != "bf16":
            return nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def put(self, model: nn.Module) -> nn.Module:
        """The model on the device; image networks are fastest with channels last."""
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def columns(self, items: Items, at: np.ndarray) -> Batch:
        """A batch of the items at these positions, each read once and in the order they lie in."""
        unique, inverse = np.unique(at, return_inverse=True)
        found = items.batch(unique)
        return {k: torch.from_numpy(v[inverse]).to(self.device) for k, v in found.items()}

    def batch(self, items: Items, at: np.ndarray) -> Tensor:
        """The items at these positions, without what else their batch has."""
        return self.columns(items, at)["items"]

    def ready(self, subset: Subset) -> Subset:
        """The same items with `precompute` done to them, unless that would take much memory."""
        if self.precompute is None or not len(subset):
            return subset
        first = subset.items.batch(subset.at[:1])
        if set(first) != {"items"} or first["items"].nbytes * len(subset) > BYTES:
            return subset
        items = precomputed(Arrays(subset.raw()), self.precompute, self.device)
        return replace(subset, items=items, at=np.arange(len(subset)))

    def outputs(self, model: nn.Module, subset: Subset) -> np.ndarray:
        """What a model in evaluation mode gives for the items; (m, width) float32."""
        model.eval()
        found = []
        with torch.inference_mode(), self.autocast():
            for start in range(0, len(subset), EVAL_BATCH):
                x = self.prepare(self.batch(subset.items, subset.at[start : start + EVAL_BATCH]))
                found.append(model(x).float().cpu().numpy())
        return np.concatenate(found)


class FrozenFeatures:
    """Features of an encoder's items, computed when they are first asked for and kept.

    With `seed` the encoder has random weights, others in each draw: then the spread over draws
    is that of the weights too. Draws come one after the other, so one draw's features are kept.
    """

    def __init__(
        self, make: EncoderFactory, setting: Setting, whole: Problem, seed: int | None
    ) -> None:
        self.make, self.setting, self.seed = make, setting, seed
        self.whole = {subset.split: subset for subset in (whole.train, whole.val, whole.test)}
        self.kept: dict[str, np.ndarray] = {}
        self.encoder: nn.Module | None = None
        self.draw = 0

    def __call__(self, subset: Subset, draw: int) -> np.ndarray:
        """(m, D) float32."""
        if self.encoder is None or (self.seed is not None and draw != self.draw):
            self.kept, self.draw = {}, draw
            torch.manual_seed(seed_of(self.seed, "random", draw))
            self.encoder = self.setting.put(self.make())
        whole = self.whole[subset.split]
        if subset.split not in self.kept:
            self.kept[subset.split] = self.setting.outputs(self.encoder, whole)
        return self.kept[subset.split][np.searchsorted(whole.at, subset.at)]
