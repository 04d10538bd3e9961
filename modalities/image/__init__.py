"""Images as a modality: see `modalities.base.Modality`. Importing this imports no torch."""

from typing import TYPE_CHECKING, Any

from modalities.image.annotate import annotate as annotate
from modalities.image.readers import count as count
from modalities.image.readers import describe as describe
from modalities.image.readers import find as find
from modalities.image.readers import read as read
from modalities.image.readers import thumbnails as thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder, Randomness


def build_encoder(name: str, **options: Any) -> "Encoder":
    from modalities.image.encoder import build

    return build(name, **options)


def prepare(items: "Tensor") -> "Tensor":
    from modalities.image.views import prepare as body

    return body(items)


def augment(items: "Tensor", rng: "Randomness") -> "Tensor":
    from modalities.image.views import augment as body

    return body(items, rng)
