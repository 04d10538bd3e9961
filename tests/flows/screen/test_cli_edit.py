"""Editing params.yaml: comments and layout survive, a bad change never lands."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from flows.screen import edit
from modalities.items import UserError
from tasks.settings.params import load

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = (ROOT / "profiles/default.yaml").read_text("utf-8")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(folder / "pictures" / name / "1.png")
    (folder / "params.yaml").write_text(DEFAULT, "utf-8")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    monkeypatch.chdir(folder)
    return folder


def text(root: Path) -> str:
    return (root / "params.yaml").read_text("utf-8")


def test_a_rewrite_without_a_change_changes_nothing() -> None:
    assert edit._changed(DEFAULT, lambda _: None) == DEFAULT


def test_to_a_folder_and_back_again(root: Path) -> None:
    change, found = edit.data(root, "image", str(root / "pictures"), None)
    assert "+  source: pictures" in change and "-  source: raw/playroom/image" in change
    assert found == "2 items, 2 labelled, 2 classes"
    params = load()
    assert (params.image.source, params.image.labels) == ("pictures", "pictures")
    assert "image" not in params.playroom.make
    assert text(root).count("#") == DEFAULT.count("#"), "comments survive"
    changed = {x for x in change if x[:1] in "+-" and x[:3] not in ("+++", "---")}
    assert len(changed) == 6, "three lines, nothing else"

    edit.data(root, "image", "playroom", None)
    assert load() == load(root / "profiles/default.yaml")


def test_a_folder_elsewhere_is_stored_absolute(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "pictures", tmp_path / "elsewhere")
    edit.data(root, "image", str(tmp_path / "elsewhere"), None)
    assert load().image.source == str(tmp_path / "elsewhere")


def test_labels_from_a_csv(root: Path) -> None:
    (root / "labels.csv").write_text("file,label\ncat/1.png,dog\n")
    _, found = edit.data(root, "image", str(root / "pictures"), root / "labels.csv")
    assert load().image.labels == "labels.csv"
    assert "1 labelled" in found


def test_without_labels_it_says_so(root: Path) -> None:
    for name in ("cat", "dog"):
        (root / "pictures" / name / "1.png").rename(root / f"pictures/{name}.png")
    _, found = edit.data(root, "image", str(root / "pictures"), None)
    assert "without labels" in found


@pytest.mark.parametrize(
    ("source", "labels", "expected"),
    [
        ("nowhere", None, "nowhere: does not exist"),
        ("params.yaml", None, "is a file, expected a folder"),
        ("empty", None, "empty"),
        ("pictures", "none.csv", "none.csv: expected a csv file"),
        ("pictures", "wrong.csv", "found name, class"),
        ("playroom", "wrong.csv", "leave --labels out"),
    ],
)
def test_what_is_not_there_is_refused(
    root: Path, source: str, labels: str | None, expected: str
) -> None:
    (root / "empty").mkdir()
    (root / "wrong.csv").write_text("name,class\n")
    where = source if source == "playroom" else str(root / source)
    with pytest.raises(UserError, match=expected):
        edit.data(root, "image", where, root / labels if labels else None)
    assert text(root) == DEFAULT


def test_a_profile_keeps_the_users_file(root: Path) -> None:
    mine = DEFAULT.replace("  size: 32", "  size: 48")
    (root / "params.yaml").write_text(mine, "utf-8")
    change = edit.profile(root, "default")
    assert "+  size: 32" in change
    assert text(root) == DEFAULT
    assert (root / edit.BACKUP).read_text("utf-8") == mine
    assert edit.profile(root, "default") == []


def test_an_unknown_profile_is_named(root: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'default'"):
        edit.profile(root, "defualt")


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_profile_is_valid(path: Path) -> None:
    load(path)
