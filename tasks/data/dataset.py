"""What ingest wrote, opened for training and measuring: memory maps, so nothing is copied."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modalities.items import Arrays, Items, Labelled, UserError

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "val", "test")


def meta(folder: Path) -> dict[str, Any]:
    """`meta.json`: modality, classes, counts per split, fingerprint."""
    try:
        found: dict[str, Any] = json.loads((folder / "meta.json").read_text("utf-8"))
    except FileNotFoundError:
        text = f"{folder}/meta.json: not found; run `python -m tasks ingest {folder.name}` first"
        raise UserError(text) from None
    return found


def table(folder: Path) -> "pa.Table":
    """`items.parquet`: one row per item, quarantined ones included."""
    import pyarrow.parquet as pq

    meta(folder)
    return pq.read_table(folder / "items.parquet")


def opened(folder: Path) -> Items:
    """All items that ingest kept, by the rows of its table."""
    return Arrays(np.load(folder / "items.npy", mmap_mode="r"))


def load(folder: Path) -> dict[str, Labelled]:
    """The splits that exist, by name.

    `items` is a part of what lies on the disk. In `train` the labelled items come first, then the
    unlabelled (label -1); `val` and `test` hold labelled items only.
    """
    splits = _splits(folder)
    return {name: split for name, split in splits.items() if len(split.ids)}


def pool(folder: Path) -> Labelled:
    """What pretraining may see: all of the train split, unlabelled included; never val or test."""
    return _splits(folder)["train"]


def _splits(folder: Path) -> dict[str, Labelled]:
    classes = meta(folder)["classes"]
    codes = {name: code for code, name in enumerate(classes)}
    rows = table(folder).select(["id", "split", "label", "row"]).to_pydict()
    items = opened(folder)
    labels = np.array([codes.get(name, -1) for name in rows["label"]], dtype=np.int64)
    found = {}
    for name in SPLITS:
        # ingest orders rows by split, labelled first: every split is one stretch of items.npy
        where = [
            i
            for i, (split, row) in enumerate(zip(rows["split"], rows["row"], strict=True))
            if split == name and row >= 0 and (name == "train" or labels[i] >= 0)
        ]
        start = rows["row"][where[0]] if where else 0
        assert [rows["row"][i] for i in where] == list(range(start, start + len(where)))
        found[name] = Labelled(
            items=items.part(start, start + len(where)),
            labels=labels[where],
            ids=[rows["id"][i] for i in where],
            classes=classes,
            folder=folder,
            start=start,
        )
    return found
