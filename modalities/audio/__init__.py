"""Sounds as a modality: see `modalities.base.Modality`. Importing this imports no torch."""

from typing import TYPE_CHECKING, Any

from modalities.audio.readers import count as count
from modalities.audio.readers import describe as describe
from modalities.audio.readers import find as find
from modalities.audio.readers import read as read
from modalities.audio.readers import thumbnails as thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder, Randomness


def build_encoder(name: str, **options: Any) -> "Encoder":
    from modalities.audio.encoder import build

    return build(name, **options)


def prepare(items: "Tensor") -> "Tensor":
    from modalities.audio.views import prepare as body

    return body(items)


def augment(items: "Tensor", rng: "Randomness") -> "Tensor":
    from modalities.audio.views import augment as body

    return body(items, rng)
