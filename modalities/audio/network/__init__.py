"""Sounds to features: see `modalities.base.Network`."""

from modalities.audio.network.encoder import build as build_encoder
from modalities.audio.network.views import augment, prepare

__all__ = ["augment", "build_encoder", "prepare"]
