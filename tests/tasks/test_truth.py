"""Only what is true now: results of other data, parameters or code never pass for those of now."""

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import report_world as world
from rich.console import Console

from benchmarks.world import checkout
from flows.dvc import graph, reported
from flows.dvc.choice import Choice, chosen
from flows.dvc.graph import Stage
from flows.screen import launch
from modalities.items import UserError
from tasks import provenance
from tasks.provenance import Now, digest, recorded
from tasks.report.drawing import features
from tasks.settings.params import Params, load
from tasks.settings.playroom import Playroom
from tasks.stage import read_json
from tasks.wiring import wired
from tests.tasks.report.test_report import Page, check_summary, draw

OLD = ("61.0", "44.0", "43.0", "80.0")  # what the world's results say
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout in which all was measured on what was there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "look", lambda *_: {})  # maps of features take seconds
    world.recorded(world.whole(tmp_path))
    return tmp_path


def terminal(params: Params) -> str:
    out = Console(file=io.StringIO(), width=200, force_terminal=False)
    launch.show_results(Path.cwd(), params, out)
    return out.file.getvalue()  # type: ignore[attr-defined]


def shown(params: Params) -> tuple[Page, dict[str, Any], str]:
    """Page, summary and terminal, which must say the same."""
    page, summary, _ = draw(params, of_now=False)
    check_summary(summary)
    assert reported.of_now(Path.cwd(), params)
    said = terminal(params)
    for entry in summary["stale"]:
        assert entry["renew"] == f"glean run {entry['stage']}"
    assert ("Left out" in page.text) == ("left out" in said) == bool(summary["stale"])
    return page, summary, said


def own(**image: Any) -> Params:
    """The user's pictures in place of the Playroom's."""
    Path("mine").mkdir(exist_ok=True)
    Path("mine/a.png").write_bytes(b"1")
    made = world.params(source="mine", labels="mine", **image)
    return made.model_copy(update={"playroom": Playroom(make=[])})


def test_all_is_of_now(folder: Path) -> None:
    page, summary, said = shown(world.params())
    assert summary["stale"] == [] and summary["demonstration"] == []
    assert "Demonstration" not in page.text and "demonstration" not in said
    assert "61.0" in page.text and "61.0" in said


def nothing_old(page: Page, summary: dict[str, Any], said: str) -> None:
    assert summary["rows"] == []
    for number in OLD:
        assert number not in page.text and number not in said
    assert "reaches" not in page.text


def test_other_data_before_and_after_it_was_read(folder: Path) -> None:
    params = own()
    page, summary, said = shown(params)
    nothing_old(page, summary, said)
    assert "arch" not in page.text, "the old data's classes are not the user's"
    assert [s["stage"] for s in summary["stages"]] == ["report"], "nor is what the old data cost"
    for text in (page.text, said):
        assert "params.yaml: image.source is mine, was raw/playroom/image" in text
        assert "glean run --only image" in text
    shutil.rmtree("data/image")
    world.data(folder, ["mine", "yours"], labelled=20)
    with recorded(params, "ingest-image"):
        pass
    page, summary, said = shown(params)
    nothing_old(page, summary, said)
    assert "yours" in page.text
    assert "data/image has changed since" in page.text and "data/image has changed since" in said


def test_edited_parameters_cost_their_results_only(folder: Path) -> None:
    params = world.params()
    made = params.model_dump(mode="json", exclude_unset=True)
    made["image"]["runs"]["moco_v2"]["epochs"] = 99
    page, summary, said = shown(Params.model_validate(made))
    assert {row["run"] for row in summary["rows"]} & {"moco_v2", "rotation"} == {"rotation"}
    assert [entry["stage"] for entry in summary["stale"]] == [
        "pretrain-image@moco_v2", "transfer-image@moco_v2-classification",
    ]  # fmt: skip
    assert "rotation (linear probe) reaches 44.0" in page.text.replace("\xa0", " ")
    assert "61.0" not in page.text and "61.0" not in said
    for text in (page.text, said):
        assert "image.runs.moco_v2.epochs is 99, was not set" in text
    assert [run for run in page.text.split() if run == "moco_v2"], "it is named, apart"


def test_a_failed_branch_leaves_no_old_figure(folder: Path) -> None:
    shutil.rmtree("models/moco_v2")  # as DVC does before it runs a stage, which then failed
    page, summary, said = shown(world.params())
    assert "61.0" not in page.text and "61.0" not in said
    (entry,) = summary["stale"]
    assert entry["reasons"] == ["models/moco_v2 is not there any more"]
    assert "Renew: glean run transfer-image@moco_v2-classification" in said


def test_a_run_trained_anew(folder: Path) -> None:
    shutil.rmtree("models/moco_v2")
    world.model(folder, "moco_v2", seed=7)
    with recorded(world.params(), "pretrain-image@moco_v2"):
        pass
    _, summary, _ = shown(world.params())
    (entry,) = summary["stale"]
    assert entry["reasons"] == ["models/moco_v2 has changed since"]


def test_labels_that_were_edited(folder: Path) -> None:
    table = Path("labels.csv")
    table.write_text("file,label\na.png,cat\n")
    params = world.params(source="mine", labels="labels.csv")
    world.recorded(params)
    assert shown(params)[1]["stale"] == []
    table.write_text("file,label\na.png,dog\n")
    assert not reported.of_now(folder, params), "the page must be made anew"
    page, summary, said = shown(params)
    nothing_old(page, summary, said)
    assert "labels.csv has changed since" in page.text


def test_a_file_more_in_the_folder_and_a_folder_that_is_away(folder: Path) -> None:
    params = own()
    world.recorded(params)
    Path("mine/b.png").write_bytes(b"2")
    assert not Now(params).current("ingest-image")
    shutil.rmtree("mine")
    assert Now(params).current("ingest-image"), "what was read from it is still there"


def test_other_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = provenance.code_of

    def edited(stage: Any) -> dict[str, str | None]:
        path = "modalities/image/objectives/moco_v2.py"
        return {key: "other" if key == path else value for key, value in code(stage).items()}

    monkeypatch.setattr(provenance, "code_of", edited)
    _, summary, said = shown(world.params())
    assert [e["stage"] for e in summary["stale"]][:1] == ["pretrain-image@moco_v2"]
    assert "other code: modalities/image/objectives/moco_v2.py" in said
    with recorded(world.params(), "pretrain-image@moco_v2"):
        pass  # the same encoder came out: DVC runs nothing after it, and nothing is stale
    assert shown(world.params())[1]["stale"] == []


def test_what_has_no_record_is_no_result(folder: Path) -> None:
    Path("results/moco_v2/classification.json").unlink()
    _, summary, said = shown(world.params())
    assert "61.0" not in said
    (entry,) = summary["stale"]
    assert entry["reasons"] == ["nothing says what results/moco_v2/classification was made of"]


def several() -> Params:
    """The user's pictures; clips, measured on them, and sounds are the Playroom's."""
    made = own().model_dump(mode="json", exclude_unset=True)
    tasks = {"classification": {}}
    made["video"] = {"runs": {"ambient": {"objective": "ambient_sound", "labels": "none"}},
                     "tasks": tasks, "labelers": {}}  # fmt: skip
    made["audio"] = {"runs": {"heard": {"objective": "byol", "labels": "none"}},
                     "controls": ["scratch"], "tasks": tasks, "labelers": {}}  # fmt: skip
    return Params.model_validate(made)


def put(run: str, mean: float, name: str = "") -> None:
    objective = None if run == "scratch" else run
    rows = [world.row(run, 5, mean) | {"objective": objective}]
    world.write_json(Path("results", name or run, "classification/metrics.json"), {"rows": rows})


def test_the_playroom_beside_own_data_is_a_demonstration(folder: Path) -> None:
    put("heard", 0.954)
    put("scratch", 0.111, "audio-scratch")
    put("ambient", 0.962)
    params = several()
    world.recorded(params)
    page, summary, said = shown(params)
    assert summary["demonstration"] == ["audio", "shape", "video"]
    assert [row["run"] for row in summary["rows"]][-3:] == ["ambient", "heard", "scratch"]
    before, _, after = page.text.partition("Demonstration Not your data")
    assert "95.4" not in before and "96.2" not in before
    assert "95.4" in after and "96.2" in after and "61.0" not in after
    assert "moco_v2 (linear probe) reaches 61.0" in before.replace("\xa0", " ")
    above, _, below = said.partition("demonstration, not your data: ")
    assert "95.4" not in above and "96.2" not in above and "95.4" in below and "96.2" in below
    assert "from scratch reaches 43.0" in before.replace("\xa0", " ") and "11.1" not in before
    # without a result of the user's own the first line is nobody else's
    shutil.rmtree("results/moco_v2")
    shutil.rmtree("results/rotation")
    for control in params.image.controls:
        shutil.rmtree(f"results/image-{control}")
    page, _, _ = shown(params)
    assert "reaches" not in page.text.partition("Demonstration Not your data")[0]


def test_what_a_run_on_clips_was_measured_on(folder: Path) -> None:
    params = several()
    put("ambient", 0.962)
    world.recorded(params)
    shutil.rmtree("data/image")
    world.data(folder, ["mine", "yours"], labelled=20)
    with recorded(params, "ingest-image"):
        pass
    page, summary, said = shown(params)
    assert "96.2" not in page.text and "96.2" not in said
    reasons = {entry["stage"]: entry["reasons"] for entry in summary["stale"]}
    assert reasons["transfer-video@ambient-classification"] == ["data/image has changed since"]


def test_a_stage_that_fails_leaves_no_record(folder: Path) -> None:
    path = Path("models/rotation.json")
    with pytest.raises(RuntimeError), recorded(world.params(), "pretrain-image@rotation"):
        assert not path.exists()
        raise RuntimeError
    assert not path.exists()
    with recorded(world.params(), "pretrain-image@rotation"):
        Path("data/image/meta.json").write_text("{}")  # too late to be what it was made of
    assert read_json(path)["inputs"]["data/image"] != digest(Path("data/image"))


def test_large_files_are_told_apart_by_blocks(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(provenance, "WHOLE", 1 << 10)
    path = tmp_path / "items.npy"
    content = bytearray(1 << 17)
    path.write_bytes(content)
    before = digest(tmp_path)
    content[-1] = 1
    path.write_bytes(content)
    assert digest(tmp_path) != before


def test_the_wiring_is_dvc_s(tmp_path: Path) -> None:
    root = checkout(tmp_path / "checkout")
    told = {s.name: s for s in graph.plan(root)}
    found = wired(load(root / "params.yaml").model_dump(mode="json"))
    assert found.keys() == told.keys()
    assert [n for n, s in found.items() if provenance.record_file(s) is None] == ["report"]
    assert not Now(load(root / "params.yaml")).current("transfer-image@nobody-classification")
    for name, stage in found.items():
        assert set(stage.deps) == set(told[name].deps) - {"params.yaml"}
        assert set(stage.outs) == set(told[name].outs)


def stages() -> list[Stage]:
    def stage(name: str, *upstream: str, **more: Any) -> Stage:
        why = ("never ran", *(f"upstream {up} would run" for up in upstream))
        return Stage(name, "true", upstream, False, why, outs=(f"out/{name}",), **more)

    return [
        stage("playroom@audio"), stage("ingest-image"), stage("ingest-audio", "playroom@audio"),
        stage("ingest-video"), stage("control-image@scratch-t", "ingest-image"),
        stage("pretrain-image@a", "ingest-image"), stage("pretrain-audio@b", "ingest-audio"),
        stage("transfer-video@c-t", "ingest-image", "ingest-video"),
        replace(
            stage("report", "pretrain-image@a", "pretrain-audio@b"),
            why=("upstream pretrain-image@a would run", "upstream pretrain-audio@b would run"),
            meta={"partial": True}, deps=("results",),
        ),
    ]  # fmt: skip


def names(monkeypatch: pytest.MonkeyPatch, choice: Choice, params: Params) -> list[str]:
    monkeypatch.setattr(graph, "plan", lambda *_, **__: stages())
    return [stage.name for stage in chosen(Path.cwd(), choice, params)]


def test_a_plain_run_is_about_the_user_s_own(folder: Path, monkeypatch: Any) -> None:
    mine = ["ingest-image", "control-image@scratch-t", "pretrain-image@a", "report"]
    assert names(monkeypatch, Choice(), own()) == mine
    everything = [stage.name for stage in stages()]
    assert names(monkeypatch, Choice(everything=True), own()) == everything
    assert names(monkeypatch, Choice(), world.params()) == everything, "all is the Playroom's"
    assert names(monkeypatch, Choice(only="audio"), own()) == [
        "playroom@audio", "ingest-audio", "pretrain-audio@b", "report"
    ]  # fmt: skip
    text = Choice().told(several())
    assert "Left out: video, audio, still on the Playroom" in text and "--all" in text
    assert Choice(only="image").told(several()) == Choice().told(world.params()) == ""
    with pytest.raises(UserError, match="--all is everything"):
        Choice(only="image", everything=True)


def test_own_clips_are_held_against_controls_on_the_playroom(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = world.params().model_dump(mode="json", exclude_unset=True)
    made["video"] = {"source": "mine", "labels": "mine"}
    found = names(monkeypatch, Choice(), Params.model_validate(made))
    assert found == [
        "ingest-image", "ingest-video", "control-image@scratch-t", "transfer-video@c-t", "report",
    ]  # fmt: skip


def test_a_targeted_run_renews_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choice = Choice(targets=("pretrain-audio@b",))
    found = names(monkeypatch, choice, world.params())
    assert found == ["playroom@audio", "ingest-audio", "pretrain-audio@b", "report"]
    (report,) = chosen(folder, choice, world.params())[-1:]
    assert report.why == ("upstream pretrain-audio@b would run",), "it waits for this run only"
    shutil.rmtree("results")
    assert "report" not in names(monkeypatch, choice, world.params()), "it could not be made"
