"""3D shapes from files: see `modalities.base.Reading`. Imports no torch."""

from modalities.shape.reading.readers import count as count
from modalities.shape.reading.readers import describe as describe
from modalities.shape.reading.readers import find as find
from modalities.shape.reading.readers import read as read
from modalities.shape.reading.readers import thumbnails as thumbnails
