"""torchvision's data sets by name: from disk, in the layout that torchvision leaves."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dense_world import coco_world, draw, voc_world
from torchvision import datasets

from flows.screen import edit
from modalities.image.reading import find, read
from modalities.image.reading.torchvision_sets import folder
from modalities.items import UserError
from tasks.settings.params import load

CLASSES = ["cat", "ship"]


def cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray[Any, Any]:
    """Two batches and their sums, as in cifar-10-python.tar.gz; the pictures (6, 32, 32, 3)."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), np.uint8)
    top = root / "cifar-10-batches-py"
    top.mkdir(parents=True)
    sums = {}
    batches = {"data_batch_1": range(4), "test_batch": range(4, 6)}
    for name, which in batches.items():
        rows = pixels[list(which)].reshape(len(which), -1)
        labels = [at % 2 for at in which]
        (top / name).write_bytes(pickle.dumps({"data": rows, "labels": labels}))
    (top / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    for path in top.iterdir():
        sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    kind = datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(kind, "meta", meta)
    return pixels.transpose(0, 2, 3, 1)


def test_cifar10_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = cifar(tmp_path / "sets", monkeypatch)
    found = folder("cifar10", tmp_path / "sets", tmp_path / "raw")
    assert found == tmp_path / "raw/pictures"
    items = find(found)
    assert sorted((i.label, i.split) for i in items) == sorted(
        [("cat", "train"), ("ship", "train")] * 2 + [("cat", "test"), ("ship", "test")]
    )
    read_back = {read(found / i.source).tobytes() for i in items}
    assert read_back == {each.tobytes() for each in pixels}  # every pixel is kept
    assert folder("cifar10", tmp_path / "sets", tmp_path / "raw") == found
    assert len(find(found)) == 6


def test_stl10_from_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures lie column by column, classes are counted from 1."""
    top = tmp_path / "stl10_binary"
    top.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 96, 96), np.uint8)
    for name in ("train", "test", "unlabeled"):
        (top / f"{name}_X.bin").write_bytes(pixels.transpose(0, 1, 3, 2).tobytes())
    for name in ("train", "test"):
        (top / f"{name}_y.bin").write_bytes(bytes([1, 9]))
    (top / "class_names.txt").write_text("\n".join("abcdefghij"))
    (top / "fold_indices.txt").write_text("0 1\n")
    monkeypatch.setattr(datasets.STL10, "_check_integrity", lambda self: True)
    found = folder("stl10", tmp_path, tmp_path / "raw")
    items = find(found)
    assert [(i.label, i.split) for i in items] == [
        ("a", "test"), ("i", "test"), ("a", "train"), ("i", "train"), (None, None), (None, None)
    ]  # fmt: skip
    assert np.array_equal(read(found / items[0].source, size=96), pixels[0].transpose(1, 2, 0))


def test_voc_coco_and_folders_are_read_where_they_lie(tmp_path: Path) -> None:
    shown: Any = {"a": ("train", [("person", (4, 4, 20, 28), False)])}
    voc = voc_world(tmp_path / "VOCdevkit/VOC2012", shown, (32, 32))
    (voc / "ImageSets/Segmentation/trainval.txt").write_text("a\n")
    assert folder("voc", tmp_path, tmp_path / "raw") == voc
    coco = coco_world(tmp_path / "coco", {"train": 2})
    assert folder("coco", coco, tmp_path / "raw") == coco
    draw(tmp_path / "kinds/x/a.png", (9, 9), [])
    assert folder("imagefolder", tmp_path / "kinds", tmp_path / "raw") == tmp_path / "kinds"
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("name", ["cifar10", "stl10", "voc"])
def test_nothing_is_downloaded_unasked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr("urllib.request.urlopen", never)
    with pytest.raises(UserError, match=rf"glean data image torchvision:{name} --download"):
        folder(name, tmp_path, tmp_path / "raw")
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(self: Any) -> None:
        asked.append(self.root)
        if len(asked) == 1:
            cifar(Path(self.root), monkeypatch)

    monkeypatch.setattr(datasets.CIFAR10, "download", fetch)
    assert len(find(folder("cifar10", tmp_path / "r", tmp_path / "r", download=True))) == 6
    assert asked == [str(tmp_path / "r")] * 2


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="torchvision:cifar: unknown data set; allowed: cifar10"):
        folder("cifar", tmp_path, tmp_path)
    with pytest.raises(UserError, match="torchvision does not download this one"):
        folder("coco", tmp_path, tmp_path, download=True)
    with pytest.raises(UserError, match=r"expected annotations/\*\.json"):
        folder("coco", tmp_path, tmp_path)
    with pytest.raises(UserError, match="data sets are pictures"):
        edit.named(tmp_path, "shape", "torchvision:voc", None, False)
    with pytest.raises(UserError, match="--root and --download are for"):
        edit.named(tmp_path, "image", "pictures", None, True)
    assert edit.named(tmp_path, "image", "pictures", None, False) == "pictures"


def test_a_name_in_params_says_what_to_type(tmp_path: Path) -> None:
    text = "image: {source: 'torchvision:cifar10', labels: raw}\n"
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UserError, match="glean data image torchvision:cifar10"):
        load(tmp_path / "params.yaml")
