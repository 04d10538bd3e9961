"""InfoNCE with three sources of negatives. van den Oord, Li, Vinyals 2018, arXiv:1807.03748.

The three are compared in He et al. 2019, arXiv:1911.05722, section 3.

Shapes: B pictures, P width of the projection, N items of the data, K length of the queue.
"""

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from modalities.base import Batch, Encoder, Randomness
from modalities.common.pretraining.instance import ContrastiveObjective
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class Contrastive(ContrastiveObjective):
    """A view must find its key among negatives by cosine similarity; where they come from is free.

    `negatives: batch`: the keys of the B - 1 other pictures, trained end to end; `memory_bank`: the
    N - 1 other pictures' features as they were when last seen; `queue`: K older keys by a following
    network. `bank_momentum` moves the bank's features; `queue`, `momentum` and `splits` are MoCo's.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
        **options: Any,
    ) -> None:
        augmentation = contrastive(crop=crop, colour=colour, blur=blur, grey=grey)
        super().__init__(encoder, augmentation, **options)

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        sheets.pairs(folder, *self.alike(batch, rng), others="hardest negatives")
