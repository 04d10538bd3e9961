"""What is found in a source folder, and what its layout says."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from modalities.image.reading import count, describe, find
from modalities.items import Item, UserError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def facts(items: list[Item]) -> dict[str, tuple[str | None, str | None]]:
    return {item.source: (item.label, item.split) for item in items}


def test_folder_per_class(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "cat/1.png",
        "cat/deep/er/2.JPG",
        "dog/1.png",
        "dog/notes.txt",
        "readme.md",
        ".hidden/3.png",
        "cat/.4.png",
        "cat/Thumbs.db",
        ".DS_Store",
        "unlabelled/5.webp",
    )
    assert facts(find(tmp_path, tmp_path)) == {
        "cat/1.png": ("cat", None),
        "cat/deep/er/2.JPG": ("cat", None),
        "dog/1.png": ("dog", None),
        "unlabelled/5.webp": (None, None),
    }
    assert count(tmp_path, tmp_path) == 4
    assert describe(tmp_path) == "folder per class"


def test_split_folders(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Train/cat/1.png",
        "Train/dog/x/2.png",
        "validation/cat/3.png",
        "test/4.png",
        "unlabeled/any/5.png",
    )
    assert facts(find(tmp_path)) == {
        "Train/cat/1.png": ("cat", "train"),
        "Train/dog/x/2.png": ("dog", "train"),
        "validation/cat/3.png": ("cat", "val"),
        "test/4.png": (None, "test"),
        "unlabeled/any/5.png": (None, None),
    }


@pytest.mark.parametrize(
    "names", [("1.png", "2.png"), ("one/1.png", "one/2.png"), ("top.png", "cat/1.png", "dog/1.png")]
)
def test_without_labels(names: tuple[str, ...], tmp_path: Path) -> None:
    found = facts(find(touch(tmp_path, *names), tmp_path))
    assert found == dict.fromkeys(names, (None, None))
    assert describe(tmp_path) == "no labels"


def test_nothing_found_names_folder_and_extensions(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt")
    with pytest.raises(UserError, match=re.escape(str(tmp_path)) + r".*\.jpeg .*\.png"):
        find(tmp_path, tmp_path)
    with pytest.raises(UserError, match="not found"):
        find(tmp_path / "missing", None)
    with pytest.raises(UserError, match="is not a folder"):
        find(tmp_path / "a.txt", None)


def test_unicode_links_and_loops(tmp_path: Path) -> None:
    touch(tmp_path / "src", "köln/日本.png", "b/1.png")
    touch(tmp_path / "other", "2.png")
    (tmp_path / "src/b/up").symlink_to(tmp_path / "src", target_is_directory=True)
    (tmp_path / "src/b/self").symlink_to(tmp_path / "src/b", target_is_directory=True)
    (tmp_path / "src/b/elsewhere").symlink_to(tmp_path / "other", target_is_directory=True)
    (tmp_path / "src/b/link.png").symlink_to(tmp_path / "other/2.png")
    (tmp_path / "src/b/broken.png").symlink_to(tmp_path / "gone.png")
    found = facts(find(tmp_path / "src"))
    assert set(found) == {
        "köln/日本.png",
        "b/1.png",
        "b/elsewhere/2.png",
        "b/link.png",
        "b/broken.png",
    }
    assert found["köln/日本.png"] == ("köln", None)


def test_class_names_in_any_spelling_and_encoding(tmp_path: Path) -> None:
    touch(tmp_path, "cafe\u0301/1.png", "dog/1.png")
    strange = os.fsdecode(b"\xff\xfe")
    touch(tmp_path, f"{strange}/1.png")
    assert {i.label for i in find(tmp_path)} == {"caf\u00e9", "dog", "\\xff\\xfe"}


def test_a_folder_that_may_not_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "cat/1.png", "dog/1.png", "locked/1.png")
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert set(facts(find(tmp_path))) == {"cat/1.png", "dog/1.png", "locked/"}


def labels(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_labels_from_a_csv(tmp_path: Path) -> None:
    source = touch(tmp_path / "src", "a/1.png", "a/2.png", "b/3.png", "4.png", "é.png", "odd.bin")
    text = (
        'label,file,author\ncat, a/1.png ,me\n"big, dog",b\\3.png,\n,4.png,\n\nfox,e\u0301.png,\n'
    )
    path = labels(tmp_path, text + "bin,./odd.bin,x\n", "utf-8-sig")
    items = find(source, path)
    assert facts(items) == {
        "a/1.png": ("cat", None),
        "a/2.png": (None, None),
        "b/3.png": ("big, dog", None),
        "4.png": (None, None),
        "é.png": ("fox", None),
        "odd.bin": ("bin", None),
    }
    assert items[1].extra == {"author": "me"}
    assert count(source, path) == 6


def test_splits_from_a_csv(tmp_path: Path) -> None:
    source = touch(tmp_path / "src", "1.png", "2.png")
    path = labels(tmp_path, "file,label,split\n1.png,cat,test\n2.png,dog,\n")
    assert facts(find(source, path)) == {"1.png": ("cat", "test"), "2.png": ("dog", None)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels.csv:1: expected a header with file,label; found nothing"),
        ("name,label\n1.png,cat\n", r"labels.csv:1: .*found name,label"),
        ("file;label\n1.png;cat\n", r"labels.csv:1: .*found file;label"),
        ("file,label,x,x\n", r"twice"),
        ("file,label\n1.png,cat\n2.png,dog\n", r"line 3: '2.png'"),
        ("file,label\n/etc/passwd,cat\n", r"line 2: '/etc/passwd'"),
        ("file,label\n1.png\n", r"labels.csv:2: 1 values for 2 columns"),
        ("file,label\n1.png,cat\n1.png,dog\n", r"labels.csv:3: '1.png' stands in line 2 already"),
        ("file,label,split\n1.png,cat,dev\n", r"labels.csv:2: split 'dev'"),
        ('file,label\n"1.png,cat\n', r"not a readable csv"),
    ],
)
def test_mistakes_in_a_csv_are_named(text: str, message: str, tmp_path: Path) -> None:
    source = touch(tmp_path / "src", "1.png")
    with pytest.raises(UserError, match=message):
        find(source, labels(tmp_path, text))


def test_labels_that_are_no_csv(tmp_path: Path) -> None:
    source = touch(tmp_path / "src", "1.png")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "no.csv", "not found"),
        (labels(tmp_path, "file,label\n1.png,é\n", "latin-1"), "UTF-8"),
    ]:
        with pytest.raises(UserError, match=message):
            find(source, path)


def coco(root: Path, name: str, images: list[str], notes: list[tuple[int, int, float]]) -> None:
    data = {
        "images": [
            {"id": i, "file_name": f, "width": 9, "height": 8} for i, f in enumerate(images)
        ],
        "annotations": [
            {
                "id": 100 + k,
                "image_id": i,
                "category_id": c,
                "area": area,
                "bbox": [0, 0, 3, 3],
                "segmentation": [[0, 0, 1, 1, 0, 1]],
                "iscrowd": 0,
            }
            for k, (i, c, area) in enumerate(notes)
        ],
        "categories": [{"id": 7, "name": "cup"}, {"id": 3, "name": "ball"}],
    }
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / f"{name}.json").write_text(json.dumps(data))


def test_coco(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "images/a.png",
        "images/b.png",
        "images/v.png",
        "images/u.png",
        "images/x.png",
        "elsewhere/y.png",
    )
    coco(tmp_path, "train", ["a.png", "b.png", "gone.png"], [(0, 7, 5.0), (0, 3, 9.5)])
    coco(tmp_path, "val", ["v.png"], [(0, 7, 1.0)])
    coco(tmp_path, "unlabelled", ["u.png"], [(0, 7, 1.0)])
    items = find(tmp_path, tmp_path)
    assert facts(items) == {
        "images/a.png": ("ball", "train"),
        "images/b.png": (None, "train"),
        "images/gone.png": (None, "train"),
        "images/u.png": (None, None),
        "images/v.png": ("cup", "val"),
        "images/x.png": (None, None),
    }
    notes = items[0].extra["annotations"]
    assert [n["category"] for n in notes] == ["cup", "ball"]
    assert notes[1]["segmentation"] == [[0, 0, 1, 1, 0, 1]]
    assert (items[0].extra["width"], items[0].extra["height"]) == (9, 8)
    assert describe(tmp_path) == "COCO"


def test_coco_as_published(tmp_path: Path) -> None:
    """Folders by split, several files on the same pictures, one picture in two splits."""
    touch(tmp_path, "train2017/1.jpg", "train2017/2.jpg", "val2017/3.jpg", "unlabeled2017/4.jpg")
    coco(tmp_path, "instances_train2017", ["1.jpg", "2.jpg"], [(0, 7, 5.0), (1, 7, 2.0)])
    coco(tmp_path, "instances_val2017", ["3.jpg", "train2017/2.jpg"], [(0, 3, 5.0)])
    captions = {
        "images": [{"id": 0, "file_name": "1.jpg"}],
        "annotations": [{"id": 1, "image_id": 0, "caption": "a cup"}],
    }
    (tmp_path / "annotations/captions_train2017.json").write_text(json.dumps(captions))
    items = find(tmp_path)
    assert facts(items) == {
        "train2017/1.jpg": ("cup", "train"),
        "train2017/2.jpg": ("cup", "val"),
        "val2017/3.jpg": ("ball", "val"),
        "unlabeled2017/4.jpg": (None, None),
    }
    kept = {i.source: i.extra.get("annotations", []) for i in items}["train2017/1.jpg"]
    assert {"id": 1, "caption": "a cup"} in kept


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"images": 3}',
        '{"images": [{"id": 1}]}',
        '{"images": [], "annotations": [{"category_id": 1}]}',
    ],
)
def test_mistakes_in_coco_are_named(text: str, tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "annotations/x")
    (tmp_path / "annotations/train.json").write_text(text)
    with pytest.raises(UserError, match=r"annotations/train\.json: not (valid JSON|in COCO)"):
        find(tmp_path)
