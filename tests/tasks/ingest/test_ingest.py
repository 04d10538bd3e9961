"""The stage ingest, through its real entry point: quarantine, cache, determinism, clear errors."""

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import modalities.image.reading
from modalities.items import Arrays, UserError, item
from tasks.channel import Channel
from tasks.data import dataset
from tasks.ingest import counts, ingest
from tasks.ingest.table import split_contents
from tasks.items import reading as item_reading
from tasks.settings.params import Params

ROOT = Path(__file__).resolve().parents[3]


class Heard(Channel):
    """A channel that keeps what was told."""

    def __init__(self) -> None:
        super().__init__("test")
        self.lines: list[str] = []
        self.tables: dict[str, list[dict[str, Any]]] = {}
        self.pictures: dict[str, Path] = {}
        self.fractions: list[float] = []

    def log(self, text: str) -> None:
        self.lines.append(text)

    def warn(self, text: str) -> None:
        self.lines.append(f"warning: {text}")

    def progress(self, fraction: float, text: str = "") -> None:
        self.fractions.append(fraction)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        self.tables[name] = rows

    def picture(self, name: str, path: Path) -> None:
        self.pictures[name] = path

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def params(**changes: Any) -> Params:
    machine = {key: changes.pop(key) for key in ("jobs", "dask") if key in changes}
    image = {"source": "src", "labels": "src", "size": 16, **changes}
    return Params.model_validate({"image": image, "machine": {"jobs": 1, **machine}})


def picture(path: Path, seed: int, size: int = 20) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def age(folder: Path) -> None:
    """Make files look an hour old: what has just changed is never trusted."""
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - 3600,) * 2)


def digests(folder: Path = Path("data/image")) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def table() -> dict[str, dict[str, Any]]:
    rows = pq.read_table("data/image/items.parquet").to_pylist()
    return {row["source"]: row for row in rows}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three classes of ten pictures."""
    monkeypatch.chdir(tmp_path)
    for number in range(30):
        picture(tmp_path / "src" / "abc"[number % 3] / f"{number}.png", number)
    age(tmp_path / "src")
    return tmp_path / "src"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were read."""
    names: list[str] = []
    chunk = item_reading.Reading._one

    def one(self: Any, name: str) -> Any:
        names.append(name)
        return chunk(self, name)

    monkeypatch.setattr(item_reading.Reading, "_one", one)
    return names


def test_what_ingest_leaves(source: Path) -> None:
    tell = Heard()
    ingest(params(), tell, modality="image")
    rows = table()
    items = np.load("data/image/items.npy")
    assert items.shape == (30, 16, 16, 3)
    assert items.dtype == np.uint8
    for name, row in rows.items():
        content = (source / name).read_bytes()
        assert row["sha256"] == hashlib.sha256(content).hexdigest()
        assert row["id"] == row["sha256"][:16]
        assert (row["label"], row["status"], row["reason"]) == (name[0], "ok", None)
        assert (items[row["row"]] == modalities.image.reading.read(source / name, size=16)).all()
    assert sorted(row["row"] for row in rows.values()) == list(range(30))
    meta = json.loads(Path("data/image/meta.json").read_text())
    assert meta["classes"] == ["a", "b", "c"]
    labelled = {split: n["labelled"] for split, n in meta["counts"].items()}
    assert labelled == {"train": 21, "val": 3, "test": 6}
    assert tell.tables["items"][0] == {"class": "a", "train": 7, "val": 1, "test": 2}
    assert tell.pictures["contact sheet"].is_file()
    assert tell.fractions == sorted(tell.fractions)
    assert tell.fractions[-1] == 1
    assert "folder per class" in tell.text
    metrics = json.loads(Path("data/image/metrics.json").read_text())
    assert metrics == {
        "items": 30,
        "ok": 30,
        "quarantined": 0,
        "labelled": 30,
        "classes": 3,
        "reasons": {},
    }


def test_the_dataset_opens_as_splits(source: Path) -> None:
    for number in range(5):
        picture(source / "unlabelled" / f"u{number}.png", 100 + number)
    (source / "a" / "broken.png").write_bytes(b"no")
    ingest(params(), Heard(), modality="image")
    splits = dataset.load(Path("data/image"))
    assert {name: len(s.ids) for name, s in splits.items()} == {"train": 26, "val": 3, "test": 6}
    train = splits["train"]
    assert (train.labels[:21] >= 0).all()
    assert (train.labels[21:] == -1).all()
    pool = dataset.pool(Path("data/image"))
    assert pool.ids == train.ids
    assert isinstance(pool.items, Arrays) and isinstance(pool.items.array, np.memmap)
    ids = {row["id"]: (name, row) for name, row in table().items()}
    for split in splits.values():
        assert len(split.items) == len(split.ids)
        for at, (label, name) in enumerate(zip(split.labels, split.ids, strict=True)):
            path, row = ids[name]
            assert (
                item(split.items, at) == modalities.image.reading.read(source / path, size=16)
            ).all()
            assert (row["label"] or "-") == (split.classes[label] if label >= 0 else "-")
    assert dataset.table(Path("data/image")).num_rows == 36


def test_an_unknown_dataset_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"meta\.json: not found; run `python -m tasks ingest image`"
    ):
        dataset.load(tmp_path / "image")


def test_broken_items_are_quarantined_and_the_rest_survives(source: Path) -> None:
    whole = (source / "a/0.png").read_bytes()
    (source / "a/half.png").write_bytes(whole[: len(whole) // 2])
    (source / "b/empty.jpg").write_bytes(b"")
    (source / "b/empty2.jpg").write_bytes(b"")
    (source / "c/text.gif").write_text("dear diary")
    (source / "c/gone.png").symlink_to(source / "nowhere")
    os.mkfifo(source / "c/pipe.png")
    tell = Heard()
    ingest(params(), tell, modality="image")
    rows = table()
    assert sum(row["status"] == "ok" for row in rows.values()) == 30
    bad = {name: row for name, row in rows.items() if row["status"] == "quarantined"}
    assert set(bad) == {
        "a/half.png",
        "b/empty.jpg",
        "b/empty2.jpg",
        "c/text.gif",
        "c/gone.png",
        "c/pipe.png",
    }
    assert all(row["row"] == -1 and row["split"] is None for row in bad.values())
    with Path("data/image/quarantine.csv").open(newline="") as file:
        listed = {row["file"]: row["reason"] for row in csv.DictReader(file)}
    assert listed == {name: row["reason"] for name, row in bad.items()}
    assert listed["c/text.gif"] == "not an image: it is text"
    assert listed["c/pipe.png"] == "cannot be opened: a pipe, not a file"
    reasons = json.loads(Path("data/image/metrics.json").read_text())["reasons"]
    assert reasons == {
        "empty file": 2,
        "cannot be opened": 2,
        "truncated or damaged": 1,
        "not an image": 1,
    }
    assert "6 of 36 items quarantined: 2 cannot be opened (c/gone.png, c/pipe.png)" in tell.text
    assert len({row["id"] for row in rows.values()}) == 36


def test_all_broken_is_an_error_and_leaves_nothing(tmp_path: Path, source: Path) -> None:
    shutil.rmtree(source)
    for name in ("1.png", "2.png"):
        (source / "a").mkdir(parents=True, exist_ok=True)
        (source / "a" / name).write_bytes(b"")
    (source / "a" / "3.png").write_text("text")
    with pytest.raises(
        UserError, match=r"src: all 3 items are broken: 2 empty file \(a/1.png, a/2"
    ):
        ingest(params(), Heard(), modality="image")
    assert not Path("data/image").exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_bytes_do_not_depend_on_order_jobs_or_cache(
    source: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (source / "a/bad.png").write_bytes(b"?")
    shutil.copy(source / "a/0.png", source / "a/copy.png")
    monkeypatch.setattr(item_reading, "CHUNK_ITEMS", 4)
    ingest(params(jobs=jobs), Heard(), modality="image")
    first = digests()
    ingest(params(jobs=jobs), Heard(), modality="image")  # from the cache
    assert digests() == first
    shutil.rmtree(".gleaner")
    find = modalities.image.reading.find
    monkeypatch.setattr(modalities.image.reading, "find", lambda *a: find(*a)[::-1])
    monkeypatch.setattr(item_reading, "CHUNK_ITEMS", 7)
    ingest(params(jobs=3 - jobs), Heard(), modality="image")
    assert digests() == first


def test_names_change_no_array_split_or_fingerprint(source: Path) -> None:
    ingest(params(), Heard(), modality="image")
    before = digests()
    split = {row["sha256"]: row["split"] for row in table().values()}
    for path in list(source.rglob("*.png")):
        path.rename(path.with_name(f"z{hash(path.name) % 1000}-{path.name}"))
    ingest(params(), Heard(), modality="image")
    assert digests()["items.npy"] == before["items.npy"]
    assert digests()["meta.json"] == before["meta.json"]
    assert {row["sha256"]: row["split"] for row in table().values()} == split
    picture(source / "a/new.png", 999)
    ingest(params(), Heard(), modality="image")
    assert digests()["meta.json"] != before["meta.json"]


def test_unchanged_files_are_not_opened(source: Path, opened: list[str]) -> None:
    ingest(params(), Heard(), modality="image")
    opened.clear()
    ingest(params(), Heard(), modality="image")
    assert opened == []
    os.utime(picture(source / "a/new.png", 999), (1, 1))
    ingest(params(), Heard(), modality="image")
    assert opened == ["a/new.png"]
    opened.clear()
    picture(source / "b/1.png", 4242)  # other content in the same place
    ingest(params(), Heard(), modality="image")
    assert opened == ["b/1.png"]
    opened.clear()
    ingest(params(size=8), Heard(), modality="image")  # other options, other items
    assert len(opened) == 31
    opened.clear()
    ingest(params(), Heard(), modality="image")  # what has just changed is not trusted
    assert opened == ["b/1.png"]


def test_a_change_that_keeps_size_and_time_is_noticed(source: Path, opened: list[str]) -> None:
    path = source / "a/0.png"
    ingest(params(), Heard(), modality="image")
    before, status = digests(), path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    opened.clear()
    ingest(params(), Heard(), modality="image")
    assert opened == ["a/0.png"]
    assert digests()["items.parquet"] != before["items.parquet"]


def test_a_damaged_cache_is_recognised(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_reading, "CHUNK_ITEMS", 6)
    ingest(params(), Heard(), modality="image")
    first = digests()
    shards = sorted(Path(".gleaner/items/image").rglob("*.npz"))
    assert len(shards) == 5
    content = bytearray(shards[0].read_bytes())
    content[len(content) // 2] ^= 0xFF
    shards[0].write_bytes(bytes(content))
    shards[1].write_bytes(shards[1].read_bytes()[:1000])
    shards[2].write_bytes(b"")
    shards[3].unlink()
    tell = Heard()
    ingest(params(), tell, modality="image")
    assert digests() == first
    assert "24 to read, 6 read before" in tell.text
    assert "3 damaged parts" in tell.text
    index = Path(".gleaner/items/image/files")
    index.write_bytes(index.read_bytes()[:-40] + b"garbage\n\xff")
    ingest(params(), Heard(), modality="image")
    assert digests() == first


def test_the_cache_stays_bounded(source: Path) -> None:
    for generation in range(6):
        for number, path in enumerate(sorted(source.rglob("*.png"))):
            picture(path, 1000 * generation + number)
        ingest(params(), Heard(), modality="image")
    kept = sum(p.stat().st_size for p in Path(".gleaner/items").rglob("*.npz"))
    assert kept < 3.5 * 30 * 16 * 16 * 3
    for size in range(8, 14):
        ingest(params(size=size), Heard(), modality="image")
    assert sum(p.is_dir() for p in Path(".gleaner/items/image").iterdir()) == 3


def test_compacted_shards_keep_what_lives(source: Path, opened: list[str]) -> None:
    ingest(params(), Heard(), modality="image")
    for path in sorted(source.rglob("*.png"))[:20]:
        path.unlink()
    ingest(params(), Heard(), modality="image")
    opened.clear()
    tell = Heard()
    ingest(params(), tell, modality="image")
    assert opened == []
    assert "10 items found; 0 to read" in tell.text
    items = np.load("data/image/items.npy")
    for name, row in table().items():
        assert (items[row["row"]] == modalities.image.reading.read(source / name, size=16)).all()


def test_copies_share_a_split_and_get_their_own_id(source: Path) -> None:
    for copy in range(2):
        for name in ("a/0.png", "a/3.png", "b/1.png", "c/2.png"):
            shutil.copy(source / name, source / name[0] / f"copy{copy}-{name[2:]}")
    shutil.copy(source / "a/6.png", source / "b/other-label.png")
    tell = Heard()
    ingest(params(), tell, modality="image")
    rows = table()
    for name in ("a/0.png", "a/3.png", "b/1.png", "c/2.png"):
        copies = [row for row in rows.values() if row["sha256"] == rows[name]["sha256"]]
        assert len(copies) == 3
        assert len({row["split"] for row in copies}) == 1
        base = rows[name]["sha256"][:16]
        assert {row["id"] for row in copies} == {base, f"{base}-2", f"{base}-3"}
    assert rows["b/other-label.png"]["split"] == rows["a/6.png"]["split"]
    assert "1 items stand under two labels" in tell.text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([("1", "a", None)], {"1": "train"}),
        ([("1", "a", None), ("2", "a", None)], {"1": "train", "2": "train"}),
        ([(s, "a", None) for s in "231"], {"1": "test", "2": "val", "3": "train"}),
        ([(s, None, None) for s in "123"], dict.fromkeys("123", "train")),
        # the source's own splits hold
        (
            [("1", "a", "train"), ("2", "a", "val"), ("3", "a", "test")],
            {"1": "train", "2": "val", "3": "test"},
        ),
        # a missing one is cut from what is trained on
        (
            [("9", "a", "test"), *((s, "a", "train") for s in "123")],
            {"9": "test", "1": "val", "2": "train", "3": "train"},
        ),
        # a content in two splits is never trained on, nor is an unlabelled copy of a test item
        (
            [("1", "a", "train"), ("1", "a", "test"), ("2", "a", "val"), ("1", None, None)],
            {"1": "test", "2": "val"},
        ),
    ],
)
def test_splits(found: list[Any], expected: dict[str, str]) -> None:
    assert split_contents(found) == expected


NAMES = st.text("0123456789abcdef", min_size=4, max_size=4)
SPLIT = st.sampled_from([None, None, "train", "val", "test"])
FOUND = st.lists(st.tuples(NAMES, st.sampled_from([None, "a", "b"]), SPLIT), max_size=60)


@given(FOUND, st.randoms())
def test_splits_in_general(found: list[Any], random: Any) -> None:
    splits = split_contents(found)
    assert set(splits) == {sha for sha, _, _ in found}
    assert set(splits.values()) <= {"train", "val", "test"}
    shuffled = list(found)
    random.shuffle(shuffled)
    assert split_contents(shuffled) == splits
    for sha, _, split in found:  # what the source calls test or validation is never trained on
        if split in ("val", "test"):
            assert splits[sha] != "train"


@given(st.sets(NAMES, min_size=3, max_size=80))
def test_every_class_is_in_every_split(contents: set[str]) -> None:
    splits = split_contents([(sha, "a", None) for sha in contents])
    sizes = {name: list(splits.values()).count(name) for name in ("train", "val", "test")}
    assert min(sizes.values()) >= 1
    assert abs(sizes["test"] - 0.2 * len(contents)) <= 1
    assert abs(sizes["val"] - 0.1 * len(contents)) <= 1


def test_labels_from_a_csv_and_none_at_all(source: Path) -> None:
    Path("labels.csv").write_text("file,label\n" + "".join(f"a/{n}.png,even\n" for n in (0, 6, 12)))
    ingest(params(labels="labels.csv"), Heard(), modality="image")
    labels = {name: row["label"] for name, row in table().items()}
    assert sum(label == "even" for label in labels.values()) == 3
    assert sum(label is None for label in labels.values()) == 27
    flat = Path("flat/pictures")
    flat.mkdir(parents=True)
    for path in source.rglob("*.png"):
        shutil.copy(path, flat)
    tell = Heard()
    ingest(params(source="flat", labels="flat"), tell, modality="image")
    assert json.loads(Path("data/image/meta.json").read_text())["classes"] == []
    assert set(dataset.load(Path("data/image"))) == {"train"}
    assert tell.tables["items"] == [{"class": "(unlabelled)", "train": 30, "val": 0, "test": 0}]


def test_names_that_are_no_text(source: Path) -> None:
    picture(source / "a" / os.fsdecode(b"\xff.png"), 77)
    for _ in range(2):
        ingest(params(), Heard(), modality="image")
        assert table()["a/\\xff.png"]["status"] == "ok"


def test_a_file_that_may_not_be_opened_is_tried_again(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def refuse(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "0.png":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    ingest(params(), Heard(), modality="image")
    assert table()["a/0.png"]["reason"] == "cannot be opened: Permission denied"
    monkeypatch.undo()
    os.chdir(source.parent)
    ingest(params(), Heard(), modality="image")
    assert table()["a/0.png"]["status"] == "ok"


def test_dask_without_its_package_is_a_clear_error(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"machine\.dask: 'tcp://x:1' needs the package `distrib"):
        ingest(params(dask="tcp://x:1"), Heard(), modality="image")


def kill_on(path: Path, **options: Any) -> Any:
    """A reader that dies of some files, as a decoder written in C may."""
    if path.stem == "17":
        os.kill(os.getpid(), signal.SIGKILL)
    return modalities.image.reading.read(path, **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_file_that_kills_its_reader_is_named(source: Path) -> None:
    names = sorted(p.relative_to(source).as_posix() for p in source.rglob("*.png"))
    reading = item_reading.Reading(kill_on, source, {"size": 8})
    todo = item_reading.chunks([(name, 4_000_000) for name in names])
    assert len(todo) == 8
    done = [o for outcomes, _ in item_reading.read_all(reading, todo, 2) for o in outcomes]
    assert sorted(o.source for o in done) == names
    failed = {o.source: o.reason for o in done if o.reason}
    assert failed == {"c/17.png": "kills its reader (or memory ran out)"}


def test_the_table_of_counts_stays_short() -> None:
    from modalities.items import Item
    from tasks.ingest.table import build

    items = [Item(f"{c}/{n}", f"{c:02}") for c in range(40) for n in range(3)]
    outcomes = {
        i.source: item_reading.Outcome(
            i.source, (0, 0, 0), hashlib.sha256(i.source.encode()).hexdigest(), None
        )
        for i in items
    }
    told = counts(build(items, outcomes))
    assert len(told) == 25
    assert told[-1] == {"class": "16 more", "train": 16, "val": 16, "test": 16}


def command(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tasks", "ingest", "image"],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_command(source: Path) -> None:
    (source / "c/text.png").write_text("dear diary")
    Path("params.yaml").write_text("image: {source: src, labels: src, size: 16}\n")
    run = command(source.parent)
    _, heard = run.communicate(timeout=60)
    assert run.returncode == 0, heard
    assert "1 of 31 items quarantined: 1 not an image (c/text.png)" in heard
    assert "ingest-image: done in" in heard
    shutil.rmtree(source)
    run = command(source.parent)
    _, heard = run.communicate(timeout=60)
    assert run.returncode == 1
    assert heard.startswith("error: src: not found")
    assert "Traceback" not in heard


def test_a_killed_ingest_goes_on_where_it_was(tmp_path: Path) -> None:
    for number in range(600):
        picture(tmp_path / "src" / str(number % 2) / f"{number}.png", number, 90)
    age(tmp_path / "src")
    (tmp_path / "params.yaml").write_text(
        "image: {source: src, labels: src, size: 16}\nmachine: {jobs: 1}\n"
    )
    run = command(tmp_path)
    deadline = time.monotonic() + 60
    index = tmp_path / ".gleaner/items/image/files"  # has a line after each chunk
    while not (index.exists() and index.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    kept = len(list((tmp_path / ".gleaner").rglob("*.npz")))
    assert kept >= 1
    again = command(tmp_path)
    _, heard = again.communicate(timeout=60)
    assert again.returncode == 0, heard
    assert "600 items found; 600 to read" not in heard
    killed = digests(tmp_path / "data/image")
    shutil.rmtree(tmp_path / ".gleaner")
    fresh = command(tmp_path)
    fresh.communicate(timeout=60)
    assert digests(tmp_path / "data/image") == killed
