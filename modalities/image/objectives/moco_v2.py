"""MoCo v2. Chen, Fan, Girshick, He 2020, arXiv:2003.04297; MoCo: He et al. 2019, arXiv:1911.05722.

Shapes: P width of the projection, K length of the queue.
"""

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from modalities.base import Batch, Encoder, Randomness
from modalities.common.network.heads import mlp
from modalities.common.pretraining.instance import InstanceObjective
from modalities.common.pretraining.negatives import Queue
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class MoCoV2(InstanceObjective):
    """A view must find its twin, seen by a slowly following network, among a queue of older keys.

    Beside v1: a head of two layers, blur, tau = .2, and a cosine schedule, which the engine has for
    every run. A queue should hold a small share of the data only.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        queue: Annotated[int, Gt(0)] = 65536,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.999,
        temperature: Annotated[float, Gt(0)] = 0.2,
        projection: Annotated[int, Gt(0)] = 128,
        splits: Annotated[int, Gt(0)] = 8,
        crop: Annotated[float, Gt(0), Le(1)] = 0.2,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
    ) -> None:
        head = mlp(encoder.dim, encoder.dim, projection)
        leader = nn.Sequential(encoder, head)
        source = Queue(leader, projection, length=queue, momentum=momentum, splits=splits)
        augmentation = contrastive(crop=crop, colour=colour, blur=blur, grey=grey)
        super().__init__(encoder, head, source, augmentation, temperature=temperature)

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        sheets.pairs(folder, *self.alike(batch, rng), others="hardest negatives")
