"""PartNet's HDF5 files, many shapes in each. Mo et al., CVPR 2019, arXiv:1812.02713.

An item is `FILE.h5::NUMBER`. `ins_seg_h5` has `pts` (n, P, 3) and `label` (n, P); `sem_seg_h5` has
`data` (n, P, 3), `data_num` (n,), how many of the points count, and `label_seg` (n, P), where class
0 is `other`, which no part of ours is: -1.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from modalities.common.reading.folders import no_file
from modalities.items import Item

FILE = re.compile(r"(?:.*/)?([^/]+)/(train|val|test)-\d+\.h5")
MEMBER = "::"


def is_file(name: str) -> bool:
    """Is that path one of PartNet's?"""
    return FILE.fullmatch(name) is not None


def items(source: Path, files: list[str]) -> list[Item]:
    """An item for each shape of each file; for a file that cannot be read one, to quarantine it."""
    import h5py

    found = []
    for file in files:
        match = FILE.fullmatch(file)
        assert match is not None
        label, split = match.groups()
        try:
            if no_file(source / file):
                raise OSError  # opening a pipe would wait for ever
            with h5py.File(source / file) as opened:
                count = len(opened[_names(opened)[0]])
        except (OSError, KeyError, ValueError):
            found.append(Item(file, label, split))
            continue
        found += [Item(f"{file}{MEMBER}{i}", label, split) for i in range(count)]
    return found


def rows(path: Path) -> NDArray[np.float64]:
    """Points of one shape: x y z 0 0 0 part, (n, 7); ValueError for what cannot be read."""
    import h5py

    file, _, number = str(path).partition(MEMBER)
    try:
        with h5py.File(file) as opened:
            points, parts = _names(opened)
            place = np.asarray(opened[points][int(number)], np.float64)
            label = np.asarray(opened[parts][int(number)], np.float64)
            if points == "data":
                used = int(opened["data_num"][int(number)]) if "data_num" in opened else len(place)
                place, label = place[:used], np.where(label[:used] > 0, label[:used], -1)
    except (OSError, KeyError, ValueError, IndexError) as error:
        raise ValueError(f"truncated or damaged: {str(error)[:100]}") from None
    if place.ndim != 2 or place.shape[1] < 3 or label.shape != place.shape[:1]:
        raise ValueError(f"expected (P, 3) points and (P,) labels, found {place.shape}")
    return np.concatenate([place[:, :3], np.zeros((len(place), 3)), label[:, None]], 1)


def _names(opened: "h5py.File") -> tuple[str, str]:  # type: ignore[name-defined]  # noqa: F821
    """What points and parts are called there."""
    for pair in (("pts", "label"), ("data", "label_seg")):
        if all(name in opened for name in pair):
            return pair
    raise KeyError(f"expected pts and label, or data and label_seg; found {sorted(opened)}")
