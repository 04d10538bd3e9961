"""Contrastive learning of sounds. Saeed, Grangier, Zeghidour 2020, "COLA", arXiv:2010.10915.

Shapes: B sounds, P width of the projection, N items of the data, K length of the queue.
"""

from typing import Annotated, Any

from annotated_types import Ge, Gt, Le, Lt

from modalities.audio.network.views import contrastive, log_mel
from modalities.base import Batch, Encoder, Randomness
from modalities.common.pretraining.instance import ContrastiveObjective


class Contrastive(ContrastiveObjective):
    """A crop of a sound must find another crop of it among those of other sounds.

    Cosine similarity at a temperature in place of COLA's bilinear one. `negatives: batch`: the
    other B - 1 sounds, as COLA; `memory_bank`: what the N - 1 others were when last seen; `queue`:
    K older keys by a following network. `bank_momentum` moves the bank's features; `queue`,
    `momentum` and `splits` are MoCo's (arXiv:1911.05722).
    """

    precompute = staticmethod(log_mel)

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        temperature: Annotated[float, Gt(0)] = 0.2,
        queue: Annotated[int, Gt(0)] = 4096,
        momentum: Annotated[float, Ge(0), Lt(1)] = 0.99,
        splits: Annotated[int, Gt(0)] = 4,
        crop: Annotated[float, Gt(0), Le(1)] = 0.5,
        shift: Annotated[float, Ge(0), Le(0.5)] = 0.2,
        tilt: Annotated[float, Ge(0), Le(2)] = 0.4,
        noise: Annotated[float, Ge(0), Le(1)] = 0.5,
        hide: Annotated[float, Ge(0), Le(0.5)] = 0.0,
        **options: Any,
    ) -> None:
        augmentation = contrastive(crop=crop, shift=shift, tilt=tilt, noise=noise, hide=hide)
        super().__init__(
            encoder, augmentation, temperature=temperature, queue=queue, momentum=momentum,
            splits=splits, **options,
        )  # fmt: skip

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        return super().views(batch | {"items": log_mel(batch["items"])}, rng)
