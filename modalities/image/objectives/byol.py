"""BYOL. Grill et al. 2020, arXiv:2006.07733.

Shapes: P width of the projection.
"""

from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from modalities.base import Batch, Encoder, Randomness
from modalities.common.pretraining.byol import SiameseObjective
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets


class BYOL(SiameseObjective):
    """From one view, predict how a slowly following network projects the other; no negatives.

    `momentum` is tau at the start; it rises to 1 by a cosine. `hidden`: width of the hidden layers
    of projector and predictor. Biases and norms are not decayed, as in every run. Both views have
    the same distribution: the paper's solarisation and its unequal blur are left out.
    """

    def __init__(
        self,
        encoder: Encoder,
        *,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.996,
        crop: Annotated[float, Gt(0), Le(1)] = 0.08,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        blur: Annotated[float, Ge(0), Le(1)] = 0.5,
        grey: Annotated[float, Ge(0), Le(1)] = 0.2,
        **options: Any,
    ) -> None:
        augmentation = contrastive(crop=crop, colour=colour, blur=blur, grey=grey)
        super().__init__(encoder, augmentation, momentum=momentum, **options)

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        sheets.pairs(folder, *self.alike(batch, rng), others="nearest others")
