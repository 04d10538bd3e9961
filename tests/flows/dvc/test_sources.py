"""Odd things in a source folder: no door of ours hangs or dies, all that is good is ingested, the
odd one is named; a changed file is seen by both doors.
"""

import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from PIL import Image

from flows.dvc import folders as dvc_folders
from flows.dvc import graph
from flows.screen import edit
from modalities.common.reading import folders
from modalities.image.reading.layouts import find
from modalities.items import UserError
from modalities.shape.reading import partnet
from tests.dvc_project import ROOT, Project

LIMIT = 300  # seconds after which something hangs
INGEST = "ingest-image"

DVC_YAML = """\
stages:
  ingest-image:
    cmd: python -m tasks ingest image
    deps:
    - ${image.source}
    - ${image.labels}
    params:
    - image.source
    outs:
    - data/image
"""


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's path is short
        made.bind(path.name)
        os.chdir(here)


def latin(path: Path) -> None:
    shutil.copy(path.parent / "0.png", os.fsencode(path.parent) + b"/caf\xe9.png")


def link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


ODD: dict[str, tuple[str, Callable[[Path], None], str | None]] = {
    # what: its name, how it is made, its reason in quarantine.csv (None: it is not named)
    "a pipe": ("pipe.png", os.mkfifo, "a pipe, not a file"),
    "a pipe that is no picture": ("notes.txt", os.mkfifo, None),
    "a hidden pipe": (".pipe", os.mkfifo, None),
    "a socket": ("s.png", bind, "a socket, not a file"),
    "an endless device": ("zero.png", link("/dev/zero"), "a device, not a file"),
    "standard input": ("in.png", link("/dev/stdin"), None),
    "a dangling link": ("gone.png", link("nothing"), "No such file or directory"),
    "a link to itself": ("round.png", link("round.png"), "Too many levels of symbolic links"),
    "a lock of emacs": (".#notes.txt", link("me@host.1234:1700000000"), None),
    "a link to the folder above": ("up", link(".."), None),
    "an ignore file": (".dvcignore", lambda path: path.write_text("*.png\n"), None),
    "a pipe as ignore file": (".dvcignore", os.mkfifo, None),
    "a pipe as stages": ("dvc.yaml", os.mkfifo, None),
    "broken stages": ("x.dvc", lambda path: path.write_text("outs: [\n"), None),
    "a repository": (".git", lambda path: path.mkdir(), None),
    "a repository of dvc": (".dvc", lambda path: path.mkdir(), None),
}  # fmt: skip


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(LIMIT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    graph.reset()


def _too_long(number: int, frame: FrameType | None) -> None:
    raise TimeoutError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Pictures in two classes, inside of the project."""
    made = Project(tmp_path / "project")
    (made.root / "dvc.yaml").write_text(DVC_YAML)
    point(made, made.root / "pictures")
    draw(made.root / "pictures")
    return made


def draw(source: Path) -> None:
    for shade, name in enumerate(("cat", "dog")):
        (source / name).mkdir(parents=True)
        for i in range(3):
            picture(source / name / f"{i}.png", 100 * shade + 10 * i)


def picture(path: Path, shade: int) -> None:
    Image.new("RGB", (8, 8), (shade, 90, 200)).save(path)


def point(project: Project, source: Path) -> None:
    text = (ROOT / "profiles/default.yaml").read_text("utf-8")
    where = os.path.relpath(source, project.root) if project.root in source.parents else source
    (project.root / "params.yaml").write_text(text.replace("raw/playroom/image", str(where)))


def run(project: Project) -> str:
    """As `glean run`: the stage, by its real command."""
    lines: list[str] = []
    try:
        graph.run_stage(project.root, INGEST, lines.append, timeout=LIMIT / 2)
    except graph.StageFailed as failed:
        raise AssertionError(failed.tail) from None
    return "\n".join(lines)


def clean(project: Project) -> bool:
    return all(stage.clean for stage in graph.plan(project.root))


def quarantined(project: Project) -> dict[str, str]:
    with (project.root / "data/image/quarantine.csv").open(newline="") as file:
        return {row["file"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("what", ODD)
def test_something_odd_in_a_source(project: Project, what: str) -> None:
    name, make, reason = ODD[what]
    run(project)
    make(project.root / "pictures/cat" / name)
    graph.plan(project.root)
    run(project)
    assert clean(project)
    if reason is not None:
        assert quarantined(project) == {f"cat/{name}": f"cannot be opened: {reason}"}
    picture(project.root / "pictures/cat/0.png", 250)
    assert not clean(project), "a changed file beside it is seen"


def test_all_of_them_from_the_command_line(project: Project) -> None:
    for name, make, _ in ODD.values():
        if not os.path.lexists(project.root / "pictures/cat" / name):
            make(project.root / "pictures/cat" / name)
    latin(project.root / "pictures/dog/x")

    def glean(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows", *arguments], cwd=project.root, capture_output=True,
            text=True, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    told = glean("data", "image", "pictures")
    assert "13 items, 13 labelled, 2 classes" in told
    assert "cat/.pipe (a pipe, not a file)" in told and "plain `dvc` stops" in told
    assert "never ran" in glean("status")
    assert "6 of 13 items quarantined" in run(project)
    assert "Everything is up to date" in glean("status")
    assert quarantined(project).keys() >= {"cat/pipe.png", "cat/s.png", "cat/zero.png"}


def test_names_that_are_not_utf_8(project: Project) -> None:
    cat = project.root / "pictures/cat"
    latin(cat / "x")
    (project.root / "pictures" / os.fsdecode(b"\xe9cole")).mkdir()
    shutil.copy(cat / "1.png", os.fsencode(project.root / "pictures") + b"/\xe9cole/1.png")
    run(project)
    assert clean(project) and quarantined(project) == {}
    file = cat / os.fsdecode(b"caf\xe9.png")
    picture(file, 7)
    assert not clean(project), "its content counts"
    run(project)
    file.rename(cat / os.fsdecode(b"caf\xe8.png"))
    assert not clean(project), "its name counts"


def test_a_folder_of_files_has_the_hash_that_plain_dvc_gives_it(tmp_path: Path) -> None:
    """And links to files, hidden files, line ends in names: in the project and elsewhere."""
    for name, source in (("in", tmp_path / "in/pictures"), ("out", tmp_path / "pictures")):
        project = Project(tmp_path / name)
        (project.root / "dvc.yaml").write_text(DVC_YAML)
        (project.root / ".dvcignore").write_text("*~\n__pycache__\n")
        point(project, source)
        draw(source)
        (source / "cat/.DS_Store").write_bytes(b"Bud1")
        (source / "cat/a\nb.png").write_bytes((source / "cat/0.png").read_bytes())
        (source / "dog/link.png").symlink_to(source / "cat/1.png")
        (source / ".hidden/below").mkdir(parents=True)
        (source / ".hidden/below/1.png").write_bytes(b"1")
        (source / "empty").mkdir()
        (source / "cat/0.png~").write_bytes(b"old")
        run(project)
        lock = project.lock()
        (project.root / "dvc.lock").unlink()
        project.dvc("repro", "--force")
        assert project.lock() == lock
        assert clean(project)
        picture(source / "dog/1.png", 250)
        assert not clean(project)
        assert "modified" in project.dvc("status"), "a changed file is seen by both doors"
        project.dvc("repro")
        assert clean(project)


def test_what_lies_behind_a_link_to_a_folder(project: Project, tmp_path: Path) -> None:
    draw(tmp_path / "store")
    for name in ("owl", ".old"):
        (project.root / "pictures" / name).symlink_to(tmp_path / "store/cat")
    (project.root / "pictures/cat/up").symlink_to(project.root / "pictures")
    run(project)
    assert clean(project)
    picture(tmp_path / "store/cat/0.png", 250)
    assert not clean(project), "ingest reads there"


def test_a_nested_repository_hides_nothing(project: Project) -> None:
    (project.root / "pictures/.dvc").mkdir()
    run(project)
    picture(project.root / "pictures/dog/0.png", 250)
    assert not clean(project)


def test_a_file_that_goes_or_refuses_while_it_is_hashed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc_data.hashfile import build

    original = build.hash_file

    def hash_file(path: str, *args: object, **options: object) -> object:
        if path.endswith("cat/0.png"):
            raise FileNotFoundError(2, "No such file or directory", path)
        if path.endswith("cat/1.png"):
            raise PermissionError(13, "Permission denied", path)
        return original(path, *args, **options)

    monkeypatch.setattr(build, "hash_file", hash_file)
    (stage,) = graph.plan(project.root)
    assert not stage.clean
    (listed,) = [
        one
        for one in dvc_folders._walk(str(project.root / "pictures"), None)
        if one.key == ("cat",)
    ]
    found, odd = dvc_folders._hashes(listed, _local(), "md5", None, None)
    assert found.keys() == {"2.png"} and odd == {"1.png": "Permission denied"}


def _local() -> object:
    from dvc_objects.fs import localfs

    return localfs


def test_a_source_is_listed_once_a_look(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though `source` and `labels` are both it, and DVC asks again and again."""
    listed: list[str] = []
    scandir = os.scandir

    def counted(path: str | int = ".") -> object:
        listed.append(str(path).rpartition(os.sep)[2])
        return scandir(path)

    run(project)
    picture(project.root / "pictures/dog/3.png", 250)
    monkeypatch.setattr(os, "scandir", counted)
    graph.plan(project.root)
    assert listed.count("pictures") == 1
    run(project)
    assert listed.count("pictures") == 3, "before and after the command"
    graph.plan(project.root)
    assert listed.count("pictures") == listed.count("dog") == 4
    assert clean(project)


def test_a_change_while_the_stage_runs_is_still_seen(project: Project) -> None:
    """What is known of the source is forgotten when the command has run."""
    path = project.root / "pictures/dog/0.png"
    (project.root / "dvc.yaml").write_text(
        DVC_YAML.replace("cmd: ", f"cmd: cp {path.parent / '1.png'} {path} && ")
    )
    assert "pictures changed while ingest-image ran" in run(project)
    assert not clean(project)


@pytest.mark.parametrize("make", [os.mkfifo, bind, link("/dev/zero")])
def test_a_dependency_that_is_no_file(project: Project, make: Callable[[Path], None]) -> None:
    make(project.root / "labels.csv")
    text = (project.root / "params.yaml").read_text()
    (project.root / "params.yaml").write_text(
        text.replace("labels: pictures", "labels: labels.csv", 1)
    )
    with pytest.raises(UserError, match=r"labels.csv: a \w+, not a file; expected a file"):
        graph.run_stage(project.root, INGEST, lambda _: None)


def test_annotations_that_are_a_pipe(tmp_path: Path) -> None:
    draw(tmp_path / "source")
    (tmp_path / "source/annotations").mkdir()
    os.mkfifo(tmp_path / "source/annotations/instances_train.json")
    with pytest.raises(UserError, match=r"instances_train\.json: a pipe, not a file"):
        find(tmp_path / "source")
    (tmp_path / "chair").mkdir()
    os.mkfifo(tmp_path / "chair/train-0.h5")
    (item,) = partnet.items(tmp_path, ["chair/train-0.h5"])
    assert item.source == "chair/train-0.h5"


def test_what_is_no_file_has_a_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nothing")
    (tmp_path / "file").write_text("x")
    said = {name: folders.no_file(tmp_path / name) for name in ("pipe", "loop", "gone", "file")}
    assert said == {
        "pipe": "a pipe, not a file", "loop": "Too many levels of symbolic links",
        "gone": "a link to nothing", "file": None,
    }  # fmt: skip
    assert folders.no_file(tmp_path) == "a folder, not a file"


def test_a_source_whose_own_name_is_not_utf_8(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / os.fsdecode(b"\xe9cole")
    draw(source)
    monkeypatch.chdir(project.root)
    with pytest.raises(UserError, match=r"\\xe9cole: its name is not UTF-8"):
        edit.data(project.root, "image", str(source), None)
