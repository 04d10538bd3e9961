"""Images to features: see `modalities.base.Network`."""

from modalities.image.network.factory import build as build_encoder
from modalities.image.network.views import augment, prepare

__all__ = ["augment", "build_encoder", "prepare"]
