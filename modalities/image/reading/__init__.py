"""Images from files: see `modalities.base.Reading`. Imports no torch."""

from modalities.image.reading.annotate import annotate as annotate
from modalities.image.reading.readers import count as count
from modalities.image.reading.readers import describe as describe
from modalities.image.reading.readers import find as find
from modalities.image.reading.readers import read as read
from modalities.image.reading.readers import thumbnails as thumbnails
