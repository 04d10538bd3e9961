"""The Playroom's pictures through the real stage: layout, truth, determinism, options."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modalities.items import UserError
from tasks.channel import Channel
from tasks.playroom import playroom
from tasks.settings.params import Params, load
from tasks.settings.playroom import PlayroomImage

ROOT = Path(__file__).resolve().parents[3]
FILES = {"train", "val", "test", "unlabelled"}
FOLDER = Path("raw/playroom/image")
TINY: dict[str, Any] = {"labelled": 2, "unlabelled": 2, "val": 1, "test": 1, "size": 32}


def make(folder: Path, jobs: int = 1, seed: int = 0, **image: Any) -> Path:
    """Run the stage in `folder`; the output's path."""
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir(parents=True, exist_ok=True)
        patch.chdir(folder)
        params = Params.model_validate({
            "playroom": {"make": ["image"], "seed": seed, "image": {**TINY, **image}},
            "machine": {"jobs": jobs},
            "image": {"source": str(FOLDER), "labels": str(FOLDER)},
        })  # fmt: skip
        playroom(params, Channel("test"), modality="image")
    return folder / FOLDER


def coco(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"annotations/{name}.json").read_text("utf-8"))
    return found


def truth(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "truth.json").read_text("utf-8"))
    return rows


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def mask_of(note: dict[str, Any]) -> np.ndarray[Any, Any]:
    """An independent decoding of COCO's run lengths."""
    height, width = note["segmentation"]["size"]
    lengths = note["segmentation"]["counts"]
    flat = np.repeat(np.arange(len(lengths)) % 2, lengths)
    return flat.reshape(width, height).T.astype(bool)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("world"), jobs=2)


def test_layout_is_coco(world: Path) -> None:
    assert {p.stem for p in (world / "annotations").iterdir()} == FILES
    names = set()
    for name in sorted(FILES):
        data = coco(world, name)
        assert [c["id"] for c in data["categories"]] == list(range(1, 13))
        assert len({i["id"] for i in data["images"]}) == len(data["images"])
        for image in data["images"]:
            with Image.open(world / "images" / image["file_name"]) as picture:
                assert (picture.size, picture.mode) == ((32, 32), "RGB")
            assert (image["width"], image["height"]) == (32, 32)
            names.add(image["file_name"])
        if name != "unlabelled":
            assert [n["image_id"] for n in data["annotations"]] == [i["id"] for i in data["images"]]
    assert names == {p.name for p in (world / "images").iterdir()}
    assert len(names) == 12 * 6
    metrics = json.loads((world / "metrics.json").read_text("utf-8"))
    assert metrics["pictures"] == {"train": 24, "unlabelled": 24, "val": 12, "test": 12}


def test_every_category_has_its_share(world: Path) -> None:
    for name, count in (("train", 2), ("val", 1), ("test", 1)):
        ids = [note["category_id"] for note in coco(world, name)["annotations"]]
        assert np.bincount(ids, minlength=13).tolist() == [0] + [count] * 12


def test_boxes_and_areas_follow_the_masks(world: Path) -> None:
    for note in coco(world, "train")["annotations"]:
        mask = mask_of(note)
        rows, columns = np.nonzero(mask)
        x, y, width, height = note["bbox"]
        assert (x, y) == (columns.min(), rows.min())
        assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
        assert note["area"] == mask.sum()
        assert max(width, height) >= 0.6 * 32  # toys are large in the picture


def test_keypoints_match_their_category(world: Path) -> None:
    data = coco(world, "train")
    kinds = {c["id"]: c for c in data["categories"]}
    visible = 0
    for note in data["annotations"]:
        kind, points = kinds[note["category_id"]], np.reshape(note["keypoints"], (-1, 3))
        assert len(points) == len(kind["keypoints"])
        assert note["num_keypoints"] == (points[:, 2] > 0).sum()
        assert all(0 < end <= len(points) for bone in kind["skeleton"] for end in bone)
        mask = np.pad(mask_of(note), 2)
        for x, y, seen in points:
            if seen == 2:  # within a pixel or two of the toy's own mask
                visible += 1
                assert mask[int(y) : int(y) + 5, int(x) : int(x) + 5].any()
    assert visible > len(data["annotations"])


def test_labels_of_the_unlabelled_are_in_the_truth_only(world: Path) -> None:
    data = coco(world, "unlabelled")
    assert data["annotations"] == []
    assert all(set(image) == {"id", "file_name", "width", "height"} for image in data["images"])
    rows = {row["file"]: row for row in truth(world)}
    assert len(rows) == 12 * 6
    hidden = [rows[f"images/{image['file_name']}"]["category"] for image in data["images"]]
    assert sorted(set(hidden)) == sorted(c["name"] for c in data["categories"])
    assert hidden != sorted(hidden)  # nor does the order tell


def test_truth_agrees_with_the_labels(world: Path) -> None:
    rows = {row["file"]: row["category"] for row in truth(world)}
    data = coco(world, "train")
    names = {c["id"]: c["name"] for c in data["categories"]}
    files = {i["id"]: i["file_name"] for i in data["images"]}
    for note in data["annotations"]:
        assert rows[f"images/{files[note['image_id']]}"] == names[note["category_id"]]


def test_same_bytes_however_many_processes(world: Path, tmp_path: Path) -> None:
    assert digest(world) == digest(make(tmp_path / "again", jobs=1))


def test_the_seed_decides(world: Path, tmp_path: Path) -> None:
    other = digest(make(tmp_path / "other", seed=1))
    same = [k for k, v in digest(world).items() if k.startswith("images/") and other[k] == v]
    assert same == []


def test_more_pictures_keep_the_ones_there(world: Path, tmp_path: Path) -> None:
    """A picture is a function of (seed, split, category, number), not of how many there are."""
    more = make(tmp_path / "more", labelled=3)
    found = {p.read_bytes() for p in (more / "images").glob("train_*")}
    assert {p.read_bytes() for p in (world / "images").glob("train_*")} < found


def test_long_tail_thins_training_only(tmp_path: Path) -> None:
    folder = make(tmp_path, labelled=8, unlabelled=4, long_tail=8.0)
    sizes = np.bincount([n["category_id"] for n in coco(folder, "train")["annotations"]])[1:]
    assert (sizes.max(), sizes.min()) == (8, 1)
    tests = np.bincount([n["category_id"] for n in coco(folder, "test")["annotations"]])[1:]
    assert set(tests) == {1}
    assert len(coco(folder, "unlabelled")["images"]) < 48


def test_novel_categories_are_unlabelled_only(tmp_path: Path) -> None:
    folder = make(tmp_path, novel=2)
    known = {c["name"] for c in coco(folder, "train")["categories"]}
    strange = [row for row in truth(folder) if row["category"] not in known]
    assert len({row["category"] for row in strange}) == 2
    assert all(row["file"].startswith("images/unlabelled_") for row in strange)
    assert len(strange) == 4
    assert json.loads((folder / "metrics.json").read_text("utf-8"))["novel"] == 4


def test_too_many_novel_categories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"playroom\.image\.novel: found 9"):
        make(tmp_path, novel=9)
    assert not (tmp_path / FOLDER).exists()


def test_several_objects(tmp_path: Path) -> None:
    folder = make(tmp_path, objects=[2, 3], size=64)
    data = coco(folder, "train")
    per_image = np.bincount([n["image_id"] for n in data["annotations"]])[1:]
    assert per_image.max() == 3
    assert np.mean(per_image >= 2) > 0.8  # now and then one hides another
    masks: dict[int, Any] = {}
    for note in data["annotations"]:
        before = masks.setdefault(note["image_id"], np.zeros((64, 64), bool))
        assert not (before & mask_of(note)).any()  # a pixel shows one toy
        before |= mask_of(note)


@pytest.mark.parametrize(
    "shift",
    [
        {"resolution": 0.25},
        {"pose": "tumbled"},
        *({"corruption": c, "severity": 4} for c in ("noise", "blur", "contrast", "jpeg")),
    ],
    ids=str,
)
def test_shifts_change_the_named_splits_only(
    world: Path, tmp_path: Path, shift: dict[str, Any]
) -> None:
    folder = make(tmp_path, shift={"splits": ["test"], **shift})
    before, after = digest(world), digest(folder)
    changed = {k.split("_")[0] for k in before if k.endswith(".png") and before[k] != after[k]}
    assert changed == {"images/test"}
    shifted = [k for k in before if k.startswith("images/test") and before[k] != after[k]]
    assert len(shifted) == 12
    assert {row["file"] for row in truth(folder) if row["shifted"]} == set(shifted)
    if "pose" not in shift:  # the picture suffers, the scene stays
        assert before["annotations/test.json"] == after["annotations/test.json"]


def sharpness(folder: Path) -> float:
    pictures = [np.asarray(Image.open(p), float) for p in (folder / "images").glob("test_*")]
    return float(np.mean([np.abs(np.diff(p, axis=1)).mean() for p in pictures]))


def test_severity_and_resolution_are_felt(world: Path, tmp_path: Path) -> None:
    def shifted(**shift: Any) -> float:
        name = "-".join(map(str, shift.values()))
        return sharpness(make(tmp_path / name, shift={"splits": ["test"], **shift}))

    clear = sharpness(world)
    assert clear > shifted(resolution=0.5) > shifted(resolution=0.2)
    assert clear > shifted(corruption="blur", severity=1) > shifted(corruption="blur", severity=5)
    assert clear < shifted(corruption="noise", severity=1) < shifted(corruption="noise", severity=5)


def test_unknown_modality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'image'"):
        playroom(params_of(tmp_path, ""), Channel("test"), modality="imag")


def params_of(folder: Path, options: str) -> Params:
    path = folder / "params.yaml"
    image = f"image: {{source: {FOLDER}, labels: {FOLDER}}}\n"
    path.write_text(f"playroom: {{make: [image], image: {{{options}}}}}\n{image}", "utf-8")
    return load(path)


def test_options_are_checked(tmp_path: Path) -> None:
    for options in ("objects: [3, 1]", "objects: [1]", "long_tail: 0.5", "shift: {severity: 6}"):
        with pytest.raises(UserError, match=options.split(":", maxsplit=1)[0]):
            params_of(tmp_path, options)
    assert params_of(tmp_path, "objects: [1, 3]").playroom.image.objects == [1, 3]


def test_the_command(tmp_path: Path) -> None:
    params_of(tmp_path, "labelled: 1, unlabelled: 0, val: 1, test: 1, size: 16")
    command = [sys.executable, "-m", "tasks", "playroom", "image"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert coco(tmp_path / FOLDER, "unlabelled")["images"] == []
    assert (tmp_path / ".gleaner/costs/playroom@image.json").exists()


def test_defaults_are_those_of_params_yaml() -> None:
    assert load(ROOT / "params.yaml").playroom.image == PlayroomImage()
