"""Boxes, masks and keypoints from COCO and VOC folders, moved as their pictures are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from dense_world import POINTS, coco_note, coco_world, draw, ingested, voc_world, write
from PIL import Image

from modalities.image.reading import find, read
from modalities.image.reading.geometry import TURNED, Frame, frame
from modalities.image.reading.masks import decode
from modalities.items import UserError


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "objects.parquet").to_pylist()
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(64, 64), (97, 64), (64, 90)])
def test_places_follow_the_pixels(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    """However a picture is shaped and turned: where its red pixels go, boxes and masks go."""
    path = tmp_path / "a.png"
    left, top, right, bottom = 22, 20, 46, 32
    draw(path, size, [("brick", (left, top, right, bottom))])
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)
    item = read(path, size=32).astype(int)
    red = item[..., 0] - item[..., 1]
    there = frame(path, 32, size if size[0] != size[1] else None)
    if size[0] != size[1]:  # the annotations were made on the stored picture
        assert there.orientation == (orientation if orientation in TURNED else 1)
    if (orientation not in TURNED and orientation != 1) or size[0] == size[1]:
        there = Frame(*size, 32, orientation)
    box = there.boxes(np.array([[left, top, right, bottom]], np.float32))[0]
    full, some = np.nonzero(red > 200), np.nonzero(red > 25)
    assert box[0] <= full[1].min() + 0.01 and box[1] <= full[0].min() + 0.01
    assert box[2] >= full[1].max() + 0.99 and box[3] >= full[0].max() + 0.99
    assert box[0] >= some[1].min() - 1 and box[3] <= some[0].max() + 2
    mask = np.zeros(size[::-1], np.uint8)
    mask[top:bottom, left:right] = 7
    moved = there.mask(mask)
    assert set(np.unique(moved)) == {0, 7}
    assert (moved[red > 200] == 7).all() and (moved[red < 5] == 0).all()
    corner = there.points(np.array([[left, top]], np.float32))[0]
    assert min(abs(corner[0] - box[0]), abs(corner[0] - box[2])) < 1e-4


def test_annotations_of_the_upright_picture(tmp_path: Path) -> None:
    """Most tools show a picture as EXIF turns it, so width and height are those."""
    draw(tmp_path / "a.png", (60, 40), [("brick", (0, 0, 30, 40))])
    with Image.open(tmp_path / "a.png") as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "a.png", exif=exif)
    there = frame(tmp_path / "a.png", 32, (40, 60))
    assert (there.width, there.height, there.orientation) == (40, 60, 1)
    with pytest.raises(ValueError, match="60 x 40 pixels, its annotations are for 50 x 50"):
        frame(tmp_path / "a.png", 32, (50, 50))


def test_coco_in_every_form(tmp_path: Path) -> None:
    """Polygons, run lengths and compressed ones say the same; keypoints keep their names."""
    source = coco_world(tmp_path / "coco", {"train": 6, "val": 4, "test": 4})
    folder = ingested(tmp_path / "project", source, 32)
    told = json.loads((folder / "annotations.json").read_text())
    assert told["categories"] == ["brick", "leaf"]
    assert told["keypoints"] == {"brick": POINTS, "leaf": POINTS}
    assert told["segmentation"] == ["background", "brick", "leaf"]
    items, masks = np.load(folder / "items.npy"), np.load(folder / "segmentation.npy")
    assert np.load(folder / "segmentation_rows.npy").tolist() == list(range(14))
    brick = items[..., 0].astype(int) > 200
    assert np.array_equal(masks == 1, brick & (items[..., 1] < 100))
    assert np.array_equal(masks == 2, items[..., 1] > 200)
    for row in rows(folder):
        value = told["segmentation"].index(row["category"])
        left, top, right, bottom = (int(row[k]) for k in ("left", "top", "right", "bottom"))
        assert (masks[row["row"], top:bottom, left:right] == value).all()
        assert row["area"] == (right - left) * (bottom - top)
        points = np.reshape(row["keypoints"], (-1, 3))
        assert points[0].tolist() == [left + 0.5, top + 0.5, 2]
        assert points[2, 2] == 1


def test_places_outside_of_the_centre_are_cut_off(tmp_path: Path) -> None:
    """Of a wide picture the centre is kept: objects are clipped, hidden points have no label."""
    boxes = [(0, 0, 10, 10), (0, 0, 40, 20), (70, 5, 90, 25)]
    draw(tmp_path / "images/a.png", (96, 32), [("brick", box) for box in boxes])
    notes = [coco_note("brick", b, at, 1, "polygon", 96) for at, b in enumerate(boxes, 1)]
    for note in notes:
        left, top, width, height = note["bbox"]
        right, bottom = left + width, top + height
        note["segmentation"] = [[left, top, right, top, right, bottom, left, bottom]]
    kinds = [{"id": 3, "name": "brick", "keypoints": POINTS}]
    images = [{"id": 1, "file_name": "a.png", "width": 96, "height": 32}]
    write(tmp_path, "train", images, notes, kinds)
    folder = ingested(tmp_path / "p", tmp_path, 16)
    (row,) = rows(folder)
    assert [row[k] for k in ("left", "top", "right", "bottom")] == [0, 0, 4, 10]
    assert row["area"] == pytest.approx(40 * 20 / 4 * 8 / 40)  # the share that is left
    assert np.reshape(row["keypoints"], (-1, 3))[:, 2].tolist() == [0, 2, 0]
    assert np.load(folder / "segmentation.npy")[0, :10, :4].all()


def test_one_object_in_two_files_is_one(tmp_path: Path) -> None:
    """COCO's instances and person_keypoints hold the same objects under the same ids."""
    draw(tmp_path / "train2017/a.png", (32, 32), [("brick", (2, 2, 20, 20))])
    note = coco_note("brick", (2, 2, 20, 20), 9, 1, "polygon", 32)
    bare = {k: v for k, v in note.items() if "keypoints" not in k}
    images = [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}]
    kinds = [{"id": 3, "name": "brick", "keypoints": POINTS}]
    write(tmp_path, "instances_train2017", images, [bare], [{"id": 3, "name": "brick"}])
    write(tmp_path, "person_keypoints_train2017", images, [note], kinds)
    (item,) = find(tmp_path)
    kept = {k: v for k, v in note.items() if k not in ("image_id", "category_id")}
    assert item.extra["annotations"] == [{**kept, "category": "brick"}]
    assert item.extra["keypoints"] == {"brick": POINTS}


def test_a_crowd_and_two_classes_at_one_place_are_ignored(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png", (32, 32), [("brick", (0, 0, 16, 16))])
    notes = [coco_note("brick", (0, 0, 16, 16), 1, 1, "polygon", 32),
             coco_note("leaf", (8, 8, 24, 24), 2, 1, "counts", 32),
             {**coco_note("leaf", (28, 28, 32, 32), 3, 1, "counts", 32), "iscrowd": 1}]  # fmt: skip
    images = [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}]
    kinds = [
        {"id": at + 3, "name": n, "keypoints": POINTS} for at, n in enumerate(("brick", "leaf"))
    ]
    write(tmp_path, "train", images, notes, kinds)
    folder = ingested(tmp_path / "p", tmp_path, 32)
    mask = np.load(folder / "segmentation.npy")[0]
    assert (mask[8:16, 8:16] == 255).all() and (mask[28:, 28:] == 255).all()
    assert mask[0, 0] == 1 and mask[20, 20] == 2 and mask[0, 31] == 0
    assert [row["crowd"] for row in rows(folder)] == [False, False, True]


BAD = {
    "bbox": ([1, 2, 3], "bbox: expected 4 numbers"),
    "bbox ": ([1, 2, -3, 4], "bbox: expected left, top, width, height"),
    "bbox  ": ([1, 2, "3", 4], "bbox: expected 4 numbers"),
    "keypoints": ([1, 2, 2], "keypoints: expected 9 numbers"),
    "keypoints ": ([1, 2, 2, 1, 2, 5, 0, 0, 0], "keypoints: visibility is 0, 1 or 2"),
    "segmentation": ([[1, 2, 3, 4]], "segmentation: expected polygons"),
    "segmentation ": (
        {"size": [9, 9], "counts": [81]},
        "size \\[9, 9\\] is not that of the picture",
    ),
    "segmentation  ": ({"size": [32, 32], "counts": [5, 5]}, "counts do not add up to 32 x 32"),
    "segmentation   ": ("here", "segmentation: expected polygons or run lengths"),
}


@pytest.mark.parametrize("key", BAD)
def test_bad_annotations_are_named(tmp_path: Path, key: str) -> None:
    """The picture, the annotation, the field, what was found."""
    value, message = BAD[key]
    draw(tmp_path / "images/a.png", (32, 32), [("brick", (2, 2, 20, 20))])
    note = {**coco_note("brick", (2, 2, 20, 20), 77, 1, "polygon", 32), key.strip(): value}
    images = [{"id": 1, "file_name": "a.png", "width": 32, "height": 32}]
    write(tmp_path, "train", images, [note], [{"id": 3, "name": "brick", "keypoints": POINTS}])
    with pytest.raises(UserError, match=rf"images/a\.png: annotation 77 \(brick\): .*{message}"):
        ingested(tmp_path / "p", tmp_path, 16)
    assert not (tmp_path / "p/data/image").exists()


def test_annotations_for_another_picture_are_named(tmp_path: Path) -> None:
    draw(tmp_path / "images/a.png", (32, 32), [("brick", (2, 2, 20, 20))])
    note = coco_note("brick", (2, 2, 20, 20), 1, 1, "polygon", 32)
    images = [{"id": 1, "file_name": "a.png", "width": 64, "height": 32}]
    write(tmp_path, "train", images, [note], [{"id": 3, "name": "brick", "keypoints": POINTS}])
    with pytest.raises(UserError, match=r"a\.png: the picture has 32 x 32 .* are for 64 x 32"):
        ingested(tmp_path / "p", tmp_path, 16)


def test_edited_annotations_decode_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = coco_world(tmp_path / "coco", {"train": 4, "val": 3, "test": 3})
    monkeypatch.setattr("tasks.items.cache.SETTLED", 0)  # the pictures are seconds old
    before = rows(ingested(tmp_path / "p", source, 32))
    path = source / "annotations/instances_train2017.json"
    data = json.loads(path.read_text())
    data["annotations"][0]["bbox"] = [1, 1, 30, 30]
    path.write_text(json.dumps(data))

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a picture is decoded again")

    monkeypatch.setattr("tasks.items.reading.Reading._decode", never)
    after = rows(ingested(tmp_path / "p", source, 32))
    changed = [b for a, b in zip(before, after, strict=True) if a != b]
    assert [[row[k] for k in ("left", "top", "right", "bottom")] for row in changed] == [
        [1, 1, 31, 31]
    ]


def test_voc_as_on_disk(tmp_path: Path) -> None:
    """Boxes from 1, both ends in; difficult ones; palettes with 255; the safer of two lists."""
    source = voc_world(
        tmp_path / "VOC2012",
        {"2008_000001": ("train", [("person", (4, 4, 20, 28), False)]),
         "2008_000002": ("val", [("dog", (0, 0, 32, 16), False), ("person", (2, 20, 9, 30), True)]),
         "2008_000003": ("test", [("dog", (8, 8, 24, 24), False)])}, (32, 32),
    )  # fmt: skip
    (source / "ImageSets/Main/trainval.txt").write_text("2008_000001\n2008_000002\n")
    items = find(source)
    assert [(i.label, i.split) for i in items] == [
        ("person", "train"), ("dog", "val"), ("dog", "test")
    ]  # fmt: skip
    folder = ingested(tmp_path / "p", source, 16)
    found = {(r["row"], r["category"]): r for r in rows(folder)}
    first = found[0, "person"]
    assert [first[k] for k in ("left", "top", "right", "bottom")] == [2, 2, 10, 14]
    assert found[1, "person"]["crowd"] and not found[1, "dog"]["crowd"]
    told = json.loads((folder / "annotations.json").read_text())
    assert (told["segmentation"][15], told["segmentation"][12]) == ("person", "dog")
    mask = np.load(folder / "segmentation.npy")[0]
    assert mask[8, 6] == 15 and mask[0, 0] == 0 and set(np.unique(mask)) <= {0, 15, 255}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmax>20</xmax>", "<xmax>many</xmax>", r"bndbox/xmax: expected a number, found 'many'"),
        ("<xmax>20</xmax>", "<xmax>200</xmax>", r"is no box in a picture of 32 x 32"),
        ("<xmax>20</xmax>", "<xmax>2</xmax>", r"is no box"),
        ("<name>person</name>", "", r"an object without a name"),
        ("</annotation>", "", r"not valid XML"),
    ],
)
def test_bad_voc_annotations_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    source = voc_world(tmp_path, {"a": ("train", [("person", (4, 4, 20, 28), False)])}, (32, 32))
    path = source / "Annotations/a.xml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=rf"Annotations/a\.xml: .*{message}"):
        find(source)


def test_a_voc_mask_of_another_size_is_named(tmp_path: Path) -> None:
    source = voc_world(tmp_path, {"a": ("train", [("person", (4, 4, 20, 28), False)])}, (32, 32))
    Image.new("P", (8, 8)).save(source / "SegmentationClass/a.png")
    with pytest.raises(UserError, match=r"SegmentationClass/a\.png: 8 x 8 pixels, not 32 x 32"):
        ingested(tmp_path / "p", source, 16)


def test_a_listed_picture_that_is_missing_is_quarantined(tmp_path: Path) -> None:
    source = voc_world(
        tmp_path / "v", {"a": ("train", [("person", (4, 4, 20, 28), False)])}, (32, 32)
    )
    with (source / "ImageSets/Main/train.txt").open("a") as file:
        file.write("gone\n")
    folder = ingested(tmp_path / "p", source, 16)
    assert "JPEGImages/gone.jpg,cannot be opened" in (folder / "quarantine.csv").read_text()


def test_without_annotations_nothing_is_left(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/b.png"):
        draw(tmp_path / name, (20, 20), [("brick", (2, 2, 10, 10))], len(name))
    folder = ingested(tmp_path / "p", tmp_path, 16)
    assert not (folder / "annotations.json").exists()


def test_polygons_with_several_parts() -> None:
    parts = [[0.0, 0, 4, 0, 4, 4, 0, 4], [6.0, 6, 8, 6, 8, 8, 6, 8]]
    mask = decode(parts, (10, 12))
    assert mask.shape == (10, 12) and mask.sum() == 16 + 4
