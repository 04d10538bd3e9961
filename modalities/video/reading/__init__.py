"""Clips from files: see `modalities.base.Reading`. Imports no torch."""

from modalities.video.reading.readers import count as count
from modalities.video.reading.readers import describe as describe
from modalities.video.reading.readers import find as find
from modalities.video.reading.readers import read as read
from modalities.video.reading.readers import thumbnails as thumbnails
