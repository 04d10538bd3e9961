"""Clips as a modality: see `modalities.base.Modality`. Importing this imports no torch.

A clip is frames with their sound. What is learnt from them is an encoder of pictures, so encoders,
views and tasks are those of `modalities.image`; a full video modality adds its own beside these.
"""

from typing import TYPE_CHECKING, Any

from modalities.video.readers import count as count
from modalities.video.readers import describe as describe
from modalities.video.readers import find as find
from modalities.video.readers import read as read
from modalities.video.readers import thumbnails as thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder, Randomness


def build_encoder(name: str, **options: Any) -> "Encoder":
    from modalities.video.encoder import build

    return build(name, **options)


def prepare(items: "Tensor") -> "Tensor":
    from modalities.video.views import prepare as body

    return body(items)


def augment(items: "Tensor", rng: "Randomness") -> "Tensor":
    from modalities.video.views import augment as body

    return body(items, rng)
