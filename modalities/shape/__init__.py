"""3D shapes as a modality: see `modalities.base.Modality`. Importing this imports no torch."""

from typing import TYPE_CHECKING, Any

from modalities.shape.readers import count as count
from modalities.shape.readers import describe as describe
from modalities.shape.readers import find as find
from modalities.shape.readers import read as read
from modalities.shape.readers import thumbnails as thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder, Randomness


def build_encoder(name: str, **options: Any) -> "Encoder":
    from modalities.shape.encoder import build

    return build(name, **options)


def prepare(items: "Tensor") -> "Tensor":
    from modalities.shape.views import prepare as body

    return body(items)


def augment(items: "Tensor", rng: "Randomness") -> "Tensor":
    from modalities.shape.views import augment as body

    return body(items, rng)
