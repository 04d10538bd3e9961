"""The layouts of picture folders that are understood, and what they say of labels and splits.

COCO (`annotations/*.json` beside folders of pictures), VOC (`JPEGImages/` and `Annotations/*.xml`),
those of `common.reading.folders`, and any of them with a csv in place of their labels: columns
`file` and `label`, see `modalities.common.reading.csv_labels`.
"""

from modalities.common.reading import folders
from modalities.image.reading.coco import coco, is_coco
from modalities.image.reading.voc import is_voc, voc

EXTENSIONS = frozenset(
    (".apng", ".avif", ".bmp", ".dib", ".gif", ".ico", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg",
     ".jpg", ".mpo", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tif", ".tiff",
     ".webp")
)  # fmt: skip

KIND = folders.Kind(
    "pictures",
    EXTENSIONS,
    (
        folders.Layout("COCO", lambda source, *_: is_coco(source), coco),
        folders.Layout(
            "VOC",
            lambda source, *_: is_voc(source),
            lambda source, _, pictures: voc(source, pictures),
        ),
    ),
)
find, count, describe = KIND.find, KIND.count, KIND.describe
