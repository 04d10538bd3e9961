"""BYOL for sounds. Niizumi et al. 2021, "BYOL-A", arXiv:2103.06695, after arXiv:2006.07733.

Shapes: P width of the projection.
"""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le

from modalities.audio.network.views import contrastive, log_mel
from modalities.base import Batch, Encoder, Randomness
from modalities.common.pretraining.byol import SiameseObjective


class BYOL(SiameseObjective):
    """From one view of a sound, predict how a slowly following network projects another view.

    `momentum` is tau at the start; it rises to 1 by a cosine. `hidden`: width of the hidden layers
    of projector and predictor. Where BYOL-A mixes other clips into a view, a random noise floor
    and frequency response take their place, so that a view needs its own sound alone.
    """

    precompute = staticmethod(log_mel)

    def __init__(
        self,
        encoder: Encoder,
        *,
        crop: Annotated[float, Gt(0), Le(1)] = 0.5,
        shift: Annotated[float, Ge(0), Le(0.5)] = 0.2,
        tilt: Annotated[float, Ge(0), Le(2)] = 0.4,
        noise: Annotated[float, Ge(0), Le(1)] = 0.5,
        hide: Annotated[float, Ge(0), Le(0.5)] = 0.0,
        **options: Any,
    ) -> None:
        augmentation = contrastive(crop=crop, shift=shift, tilt=tilt, noise=noise, hide=hide)
        super().__init__(encoder, augmentation, **options)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        return super().views({"items": log_mel(batch["items"])}, rng)  # once for both views
