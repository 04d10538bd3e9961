"""3D shapes to features: see `modalities.base.Network`."""

from modalities.shape.network.encoder import build as build_encoder
from modalities.shape.network.views import augment, prepare

__all__ = ["augment", "build_encoder", "prepare"]
