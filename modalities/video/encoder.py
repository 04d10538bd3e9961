"""The encoders of clips' frames are those of pictures."""

from modalities.image.encoder import ImageEncoder as ImageEncoder
from modalities.image.encoder import build as build
