"""The stage `label`: what a labeler says of each item, kept by content, with its reasons."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Picture
from ruamel.yaml import YAML

from benchmarks import world as world_of
from modalities.common.training.monitor import Silence
from modalities.items import UserError
from tasks.data import free_labels
from tasks.ingest import ingest
from tasks.label import label
from tasks.settings.params import Params, load
from tasks.settings.runs import LabelerChoice, TaughtRun
from tasks.settings.sections import Image, TaughtSection

LABELER = '''
from pathlib import Path
import numpy as np
from modalities.labels import LabelerInput, Labeler, Labels

class Brightness(Labeler):
    """Is a picture brighter than most?"""

    chunk = 2

    def __init__(self, *, too_bright: int = 250) -> None:
        self.too_bright = too_bright

    def label(self, path, item):
        with Path("calls").open("a") as calls:
            calls.write(path.name + "\\n")
        mean = float(item.mean())
        if mean > self.too_bright:
            raise ValueError("too bright")
        return np.array([mean], np.float32)

    def beside(self, path):
        note = path.with_suffix(".note")
        return note if note.exists() else None

    def gather(self, found: LabelerInput) -> Labels:
        bright = found.values[:, 0] > np.median(found.values[found.ok, 0])
        values = np.where(found.ok, bright.astype(np.int64), -1)
        (found.folder / "page.html").write_text("<p>bright</p>")
        return Labels(values, found.ok.astype(np.float32), ["mean"] * len(values), {"k": 2.0})
'''


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    name = "modalities.image.labelers.brightness"
    (tmp_path / "brightness.py").write_text(LABELER)
    spec = importlib.util.spec_from_file_location(name, tmp_path / "brightness.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    # It lies outside of the project, whose code a label's key is of.
    monkeypatch.setattr("tasks.label._code", lambda *_: LABELER)
    for i in range(8):
        folder = tmp_path / "pictures" / ("train" if i < 6 else "test") / "all"
        folder.mkdir(parents=True, exist_ok=True)
        Picture.new("RGB", (16, 16), (30 * i + 10,) * 3).save(folder / f"{i}.png")
    yield tmp_path


class Pictures(Image, TaughtSection):
    """Pictures with labelers."""

    runs: dict[str, TaughtRun] = {}  # noqa: RUF012


class World(Params):
    """A project whose pictures have labelers."""

    image: Pictures


def params(**options: int) -> Params:
    chosen = {"labeler": "brightness", "options": options}
    image = {"source": "pictures", "labels": "pictures", "size": 16, "labelers": {"light": chosen}}
    return World.model_validate({"machine": {"jobs": 1}, "image": image})


def calls(world: Path) -> list[str]:
    path = world / "calls"
    found = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def make(chosen: Params) -> None:
    ingest(chosen, Silence(), "image")  # type: ignore[arg-type]
    label(chosen, Silence(), "light")  # type: ignore[arg-type]


def test_labels_the_training_split_and_no_other(world: Path) -> None:
    make(params())
    folder = world / "labels/light"
    values = np.load(folder / "labels.npy")
    items = np.load(world / "data/image/items.npy")[: len(values)]
    brightness = items.mean(axis=(1, 2, 3))
    trained = {f"{i}.png" for i in range(6)}
    assert set(calls(world)) <= trained
    np.testing.assert_array_equal(values, brightness > np.median(brightness))
    told = json.loads((folder / "metrics.json").read_text())
    assert told["items"] == len(values) and told["refused"] == 0 and told["k"] == 2
    ids = pq.read_table(world / "data/image/items.parquet")["id"].to_pylist()
    assert pq.read_table(folder / "provenance.parquet")["id"].to_pylist() == ids[: len(values)]
    assert (folder / "page.html").exists()


def test_one_more_item_labels_one_item(world: Path) -> None:
    make(params())
    calls(world)
    Picture.new("RGB", (16, 16), "red").save(world / "pictures/train/all/new.png")
    make(params())
    assert calls(world) == ["new.png"]
    shutil.rmtree(world / "labels")
    make(params())
    assert calls(world) == []
    make(params(too_bright=251))  # another option, so another cache
    assert len(calls(world)) == 7 - 1  # one picture of the seven is for validation


def test_a_changed_file_beside_an_item_labels_it_anew(world: Path) -> None:
    make(params())
    first = calls(world)[0]
    note = world / "pictures/train/all" / first.replace("png", "note")
    for text, wanted in (("one", [first]), ("one", []), ("two", [first])):
        note.write_text(text)
        label(params(), Silence(), "light")  # type: ignore[arg-type]
        assert calls(world) == wanted


def test_what_a_labeler_refuses_has_no_label_and_a_reason(world: Path) -> None:
    make(params(too_bright=100))
    folder = world / "labels/light"
    values = np.load(folder / "labels.npy")
    refused = json.loads((folder / "refused.json").read_text())
    assert refused and set(refused.values()) == {"too bright"}
    assert (values == -1).sum() == len(refused)
    assert (np.load(folder / "confidence.npy")[values == -1] == 0).all()


def test_all_refused_is_an_error_that_names_the_first(world: Path) -> None:
    with pytest.raises(UserError, match=r"no item could be labelled; .*\.png: too bright"):
        make(params(too_bright=0))
    assert not (world / "labels/light").exists()


def test_columns_of_a_run(world: Path) -> None:
    run = TaughtRun(objective="any", labels="light")
    with pytest.raises(UserError, match=r"run `python -m tasks label light` first"):
        free_labels.columns(run, 1)
    make(params())
    count = len(np.load(world / "labels/light/labels.npy"))
    found = free_labels.columns(run, count)
    assert set(found) == {"free_label", "free_confidence"}
    with pytest.raises(UserError, match=f"of {count} items, expected {count + 1}"):
        free_labels.columns(run, count + 1)
    assert free_labels.columns(TaughtRun(objective="any", labels="none"), 3) == {}
    before = free_labels.fingerprint(run)
    make(params(too_bright=100))
    assert free_labels.fingerprint(run) != before


def test_the_name_of_a_choice_is_typed() -> None:
    with pytest.raises(ValueError, match="labeler"):
        LabelerChoice.model_validate({"labeller": "x"})


NAMED = "expected a labeler's name"
LABELS = ("image/objectives", ("Objective", "free_label"), ("light", "lihgt"), "labels")
RUNS = ("audio/labelers", ("Labeler", "run"), ("first", "frist"), "run")


@pytest.mark.parametrize(
    ("place", "needs", "alone", "kind"),
    [
        (
            LABELS,
            f"needs free labels; {NAMED}",
            "learns from no labels",
            "labeler",
        ),
        (RUNS, "needs a run's features; expected its name", "looks at no run", "run"),
    ],
    ids=["labels of a run", "run of a labeler"],
)
def test_a_source_is_named_just_when_the_method_reads_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Any, needs: str, alone: str, kind: str
) -> None:
    from tasks.settings import methods, options
    from tasks.settings.mistakes import Mistakes

    home, (base, reads), (there, typo), field = place
    (tmp_path / home).mkdir(parents=True)
    (tmp_path / home / "taught.py").write_text(f"class A({base}):\n    needs = ({reads!r},)\n")
    (tmp_path / home / "alone.py").write_text(f"class A({base}):\n    x = 1\n")
    monkeypatch.setattr(options, "ROOT", tmp_path)
    check = methods.check_labels if field == "labels" else methods.check_run_of
    wrong = f"unknown {kind} {typo!r}; did you mean {there!r}?; allowed: none, {there}"
    cases = {
        ("taught", there): "",
        ("alone", "none"): "",
        ("taught", "none"): f"taught {needs}",
        ("alone", there): f"found {there!r}; alone {alone}; expected none",
        ("taught", typo): wrong,
    }
    modality, folder = home.split("/")
    for (method, chosen), text in cases.items():
        mistakes = Mistakes(Path("params.yaml"), {})
        told = {folder.rstrip("s"): method, field: chosen}
        check(modality, told, (modality, "x", "a"), {there: {}}, mistakes)
        expected = [f"params.yaml: {modality}.x.a.{field}: {text}"] if text else []
        assert mistakes.found == expected


def test_a_second_round_follows_from_the_first_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HuBERT's two rounds are four stages in a row."""
    from flows.dvc import graph

    root = tmp_path / "project"
    world_of.checkout(root)
    params = YAML().load(root / "params.yaml")
    run = {"objective": "masked_units", "encoder": "vit"}
    params["audio"] |= {
        "labelers": {
            "units1": {"labeler": "mfcc_units", "run": "none"},
            "units2": {"labeler": "run_units", "run": "hubert1"},
        },
        "runs": {
            "hubert1": {**run, "start": "none", "labels": "units1"},
            "hubert2": {**run, "start": "none", "labels": "units2"},
        },
    }
    YAML().dump(params, root / "params.yaml")
    load(root / "params.yaml")
    stages = graph.plan(root, ["pretrain-audio@hubert2"])
    names = [stage.name for stage in stages]
    rounds = [n for n in names if n.startswith(("label", "pretrain"))]
    assert rounds == [
        "label-audio@units1", "pretrain-audio@hubert1", "label-audio@units2",
        "pretrain-audio@hubert2",
    ]  # fmt: skip
    monkeypatch.chdir(root)
    params["audio"]["labelers"]["units2"] = {"labeler": "run_units", "run": "hubert2"}
    YAML().dump(params, root / "params.yaml")
    with pytest.raises(UserError, match="hubert2"):
        graph.plan(root, ["pretrain-audio@hubert2"])


def test_two_modalities_cannot_share_the_name_of_a_run() -> None:
    from tasks.settings import methods
    from tasks.settings.mistakes import Mistakes

    mistakes = Mistakes(Path("params.yaml"), {})
    methods.check_names(
        {"image": {"runs": {"byol": {}}}, "audio": {"runs": {"byol": {}}}}, mistakes
    )
    text = "audio.runs.byol: the name is taken by image.runs.byol; expected another"
    assert mistakes.found == [f"params.yaml: {text}"]


def test_a_checkpoint_cannot_have_the_name_of_another_modality_s_run() -> None:
    from tasks.settings import methods
    from tasks.settings.mistakes import Mistakes

    mistakes = Mistakes(Path("params.yaml"), {})
    sections = {"image": {"checkpoints": {"heard": {}}}, "audio": {"runs": {"heard": {}}}}
    methods.check_names(sections, mistakes)
    text = "image.checkpoints.heard: the name is taken by audio.runs.heard; expected another"
    assert mistakes.found == [f"params.yaml: {text}"]
