"""Folders of clips: the layouts of `modalities.common.reading.folders`, or with a csv of labels."""

from modalities.common.reading import folders

EXTENSIONS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"))

KIND = folders.Kind("clips", EXTENSIONS)
find, count, describe = KIND.find, KIND.count, KIND.describe
