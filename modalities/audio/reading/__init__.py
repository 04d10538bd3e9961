"""Sounds from files: see `modalities.base.Reading`. Imports no torch."""

from modalities.audio.reading.readers import count as count
from modalities.audio.reading.readers import describe as describe
from modalities.audio.reading.readers import find as find
from modalities.audio.reading.readers import read as read
from modalities.audio.reading.readers import thumbnails as thumbnails
