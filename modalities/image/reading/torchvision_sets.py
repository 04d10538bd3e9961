"""torchvision's data sets by name, as folders that `find` understands.

Read from disk; downloaded only when asked for. What is not one file per picture (CIFAR-10, STL-10)
is written out as PNG, which keeps every pixel, below `pictures/`: train/CLASS/, test/CLASS/ and
unlabelled/.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from modalities.items import UserError

PREFIX = "torchvision:"
NAMES = ("cifar10", "stl10", "voc", "coco", "imagefolder")
YEAR = "2012"  # of VOC
LAYOUT = {
    "cifar10": "cifar-10-batches-py/",
    "stl10": "stl10_binary/",
    "voc": f"VOCdevkit/VOC{YEAR}/",
    "coco": "annotations/*.json and train2017/, val2017/",
    "imagefolder": "a folder per class",
}


def folder(name: str, root: Path, target: Path, *, download: bool = False) -> Path:
    """The folder to read as pictures; `root`: where torchvision looks for the data set; `target`:
    where pictures are written if they are no files yet.

    UserError if the name is unknown, or the data are not there and may not be, or cannot be,
    downloaded.
    """
    if name not in NAMES:
        raise UserError(f"torchvision:{name}: unknown data set; allowed: {', '.join(NAMES)}")
    if name in ("coco", "imagefolder"):
        if download:
            text = f"put {LAYOUT[name]} into {root}"
            raise UserError(f"torchvision:{name}: torchvision does not download this one; {text}")
        return _there(name, root)
    if download:
        root.mkdir(parents=True, exist_ok=True)
    try:
        return (
            _voc(root, download)
            if name == "voc"
            else _written(target, _pictures(name, root, download))
        )
    except (RuntimeError, FileNotFoundError) as error:  # what torchvision raises for both
        first = str(error).split("\n", maxsplit=1)[0]
        hint = "" if download else f"; `glean data image torchvision:{name} --download` fetches it"
        raise UserError(
            f"{root}: expected {LAYOUT[name]} of torchvision:{name}: {first}{hint}"
        ) from None


def _there(name: str, root: Path) -> Path:
    found = root.is_dir() and any(root.glob("annotations/*.json" if name == "coco" else "*/"))
    if not found:
        raise UserError(f"{root}: expected {LAYOUT[name]} of torchvision:{name}")
    return root


def _voc(root: Path, download: bool) -> Path:
    from torchvision.datasets import VOCSegmentation

    VOCSegmentation(str(root), year=YEAR, image_set="trainval", download=download)
    return root / "VOCdevkit" / f"VOC{YEAR}"


def _pictures(name: str, root: Path, download: bool) -> Iterator[tuple[str, Any]]:
    """Folder of a picture, picture."""
    from torchvision.datasets import CIFAR10, STL10

    for split in ("train", "test", "unlabelled")[: 2 if name == "cifar10" else 3]:
        if name == "cifar10":
            part: Any = CIFAR10(str(root), train=split == "train", download=download)
        else:
            spelled = split.replace("unlabelled", "unlabeled")
            part = STL10(str(root), split=spelled, download=download)
        for picture, label in part:
            yield split if split == "unlabelled" else f"{split}/{part.classes[label]}", picture


def _written(target: Path, pictures: Iterable[tuple[str, Any]]) -> Path:
    """`pictures/` below target, complete or not there."""
    found, part = target / "pictures", target / ".pictures.part"
    shutil.rmtree(part, ignore_errors=True)
    for number, (place, picture) in enumerate(pictures):
        (part / place).mkdir(parents=True, exist_ok=True)
        picture.save(part / place / f"{number:06d}.png")
    shutil.rmtree(found, ignore_errors=True)
    part.rename(found)
    return found
