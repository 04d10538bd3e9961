"""The report: whatever is on disk, one whole page, one table for programs, one digest for DVC."""

import json
import re
import shutil
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import report_world as world

from tasks.channel import Channel
from tasks.report import report
from tasks.settings.params import Params

VOID = {"meta", "img", "link", "br"}


class Page(HTMLParser):
    """A page's text, attributes and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source, self.open, self.texts = text, [], []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts))


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(params: Params, *, of_now: bool = True) -> tuple[Page, dict[str, Any], dict[str, Any]]:
    """The page, of a checkout whose results are all of now unless told otherwise."""
    if of_now:
        world.recorded(params)
    report(params, Channel("report"))
    page = (Path("report/index.html")).read_text("utf-8")
    assert not re.search(r"\bnan\b|\bundefined\b|\bNone\b(?! of these)", Page(page).text)
    assert len(page) < 3_000_000
    assert not list(Path("report").glob(".*")), "no half-written file is left"
    read = [
        json.loads(Path("report", name).read_text()) for name in ("summary.json", "inputs.json")
    ]
    return Page(page), read[0], read[1]


ROW = {"modality": str, "run": str, "objective": (str, type(None)), "task": str, "learner": str,
       "protocol": str, "budget": (int, str), "metric": str, "higher_is_better": bool,
       "draws": int, "mean": float, "low": (float, type(None)),
       "high": (float, type(None))}  # fmt: skip


def check_summary(summary: dict[str, Any]) -> None:
    assert set(summary) == {
        "version", "rows", "stages", "quarantine", "demonstration", "stale", "starts"
    }  # fmt: skip
    for entry in summary["stale"]:
        assert set(entry) == {"stage", "reasons", "renew"} and entry["reasons"]
    assert summary["version"] == 1
    for row in summary["rows"]:
        assert set(row) == set(ROW)
        assert all(isinstance(row[key], kind) for key, kind in ROW.items())
    for stage in summary["stages"]:
        assert set(stage) == {"stage", "state", "seconds", "peak_mb"}
        assert stage["state"] in ("ran", "restored")
        assert (stage["seconds"] is None) == (stage["state"] == "restored")
    for entry in summary["quarantine"]:
        assert set(entry) == {"modality", "count", "reasons"}
        assert sum(entry["reasons"].values()) == entry["count"]


def test_the_whole_page(folder: Path) -> None:
    page, summary, _ = draw(world.whole(folder))
    check_summary(summary)
    assert len(summary["rows"]) == 2 * 3 * 5 + 5 * 5 + 5
    assert summary["quarantine"][0] == {
        "modality": "image", "count": 3, "reasons": {"truncated": 2, "empty file": 1},
    }  # fmt: skip
    states = {stage["stage"]: stage["state"] for stage in summary["stages"]}
    assert states["pretrain-image@moco_v2"] == "ran"
    assert states["ingest-image"] == "restored", "it has no cost: it came from the cache"
    assert states["report"] == "ran"
    assert "moco_v2 (linear probe) reaches 61.0 %" in page.text.replace("\xa0", " ")
    for name in (*world.CLASSES, "rotation", "majority", "healthy", "t-SNE", "torch"):
        assert name in page.text
    assert "could not be drawn" not in page.text


def test_nothing_is_asked_of_the_network(folder: Path) -> None:
    page, _, _ = draw(world.whole(folder))
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "poster", "data", "action"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:", "#")), f"<{tag} {name}={value}>"
    assert "script" not in {tag for tag, _ in page.tags}
    assert not re.search(r"url\(|@import|https?://", page.source)


def test_it_can_be_read_without_eyes(folder: Path) -> None:
    page, _, _ = draw(world.whole(folder))
    for tag, attrs in page.tags:
        if tag == "img":
            assert attrs.get("alt")
        if tag == "svg":
            assert attrs.get("aria-label")
            assert attrs.get("role") == "img"
        if tag == "th":
            assert attrs.get("scope")
    heads = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert heads[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(heads)), "no level is skipped"


def test_names_are_escaped(folder: Path) -> None:
    classes = ['<script>alert("1")</script>', "a & b", "Ünïcode 日本語", 'long "' + "x" * 200]
    world.data(folder, classes, refused=[("<img src=x>.png", "<i>bad</i>")])
    world.model(folder, "rotation")
    made = world.params(["rotation"]).model_dump(mode="json")
    made["report"]["title"] = "<b>Title</b> & more"
    page, summary, _ = draw(Params.model_validate(made))
    for name in classes:
        assert name in page.text
    assert "<b>Title</b> & more" in page.text
    assert "<img src=x>.png" in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert summary["quarantine"][0]["reasons"] == {"<i>bad</i>": 1}


def test_the_digest_follows_the_inputs_and_nothing_else(folder: Path) -> None:
    params = world.whole(folder)
    _, _, first = draw(params)
    assert "results/image-scratch/classification/metrics.json" in first["files"]
    assert "models/moco_v2/encoder.safetensors" in first["files"]
    world.cost(folder, "pretrain-image@moco_v2", 1.0, 1.0)
    world.model(folder, "forgotten")
    before = Path("report/inputs.json").read_bytes()
    draw(params)
    assert Path("report/inputs.json").read_bytes() == before
    world.result(folder, "rotation", budgets=[5])
    _, _, changed = draw(params)
    assert {k for k in first["files"] if first["files"][k] != changed["files"][k]} == {
        "results/rotation/classification/metrics.json"
    }
    made = params.model_dump(mode="json")
    made["report"]["title"] = "Another"
    _, _, titled = draw(Params.model_validate(made))
    assert titled["params"] != changed["params"]


def test_the_parameters_on_the_page_are_the_parameters(folder: Path) -> None:
    from ruamel.yaml import YAML

    params = world.params(["rotation"])
    page, _, _ = draw(params)
    written = page.source.split('<pre class="params"><code>')[1].split("</code>")[0]
    assert Params.model_validate(YAML(typ="safe").load(unescape(written))) == params


def test_orphans_are_left_out(folder: Path) -> None:
    world.whole(folder)
    page, summary, inputs = draw(world.params(["rotation"], controls=["scratch"]))
    assert {row["run"] for row in summary["rows"]} == {"rotation", "scratch"}
    assert not [path for path in inputs["files"] if "moco_v2" in path]
    assert not [s for s in summary["stages"] if "moco_v2" in s["stage"]]
    assert "moco_v2" not in page.source


def test_without_labels(folder: Path) -> None:
    world.data(folder, [], unlabelled=50)
    world.model(folder, "rotation")
    page, summary, _ = draw(world.params(["rotation"], controls=[]))
    assert summary["rows"] == []
    assert "1 encoder was pretrained on 50 items without any label" in page.text
    assert "With some labels this page would show what it is worth." in page.text
    assert "None of these items has a label" in page.text


def test_without_runs(folder: Path) -> None:
    world.data(folder)
    world.result(folder, "scratch")
    page, summary, _ = draw(world.params([]))
    check_summary(summary)
    assert "only the controls were measured" in page.text
    assert "No encoder was pretrained." in page.text


def test_with_nothing_at_all(folder: Path) -> None:
    page, summary, _ = draw(world.params())
    assert [stage["stage"] for stage in summary["stages"]] == ["report"]
    assert "nothing was trained or measured" in page.text
    assert "in params.yaml but have left no encoder yet: rotation, moco_v2" in page.text


def test_everything_quarantined(folder: Path) -> None:
    world.data(folder, [], unlabelled=0, refused=[(f"{i}.png", "empty file") for i in range(250)])
    page, summary, _ = draw(world.params([]))
    assert summary["quarantine"] == [
        {"modality": "image", "count": 250, "reasons": {"empty file": 250}}
    ]
    assert "and 50 more in data/image/quarantine.csv" in page.text


def test_one_run_and_no_costs(folder: Path) -> None:
    params = world.whole(folder)
    shutil.rmtree(folder / ".gleaner")
    page, summary, _ = draw(params)
    states = {stage["state"] for stage in summary["stages"][:-1]}
    assert states == {"restored"}
    page, _, _ = draw(world.params(["rotation"]))
    assert 'class="star" aria-label="chosen' in page.source
    short = page.source.split('class="results full"')[0]
    assert 'class="best"' not in short, "one run has no rival"


def test_two_hundred_classes(folder: Path) -> None:
    world.data(folder, [f"species {i:03}" for i in range(200)], labelled=3)
    world.model(folder, "rotation")
    page, _, _ = draw(world.params(["rotation"]))
    assert "176 more classes" in page.text
    assert "species 199" in page.text


def test_skipped_budgets_and_single_draws(folder: Path) -> None:
    world.data(folder)
    reason = "the smallest class (arch) has 12 labels"
    world.result(folder, "rotation", budgets=[1, 5], skipped=[{"budget": 50, "reason": reason}])
    world.result(folder, "scratch", budgets=[1, 5], skipped=[{"budget": 50, "reason": reason}])
    page, _, _ = draw(world.params(["rotation"]))
    assert page.text.count(f"50 per class was skipped: {reason}") == 1
    entry = world.row("rotation", 5, 0.4, half=None)
    path = folder / "results/rotation/classification/metrics.json"
    world.write_json(path, {"rows": [entry, entry | {"budget": 1, "mean": float("nan")}]})
    page, summary, _ = draw(world.params(["rotation"]))
    assert [row["mean"] for row in summary["rows"] if row["run"] == "rotation"] == [0.4]
    assert "one draw" in page.text


def test_a_broken_encoder_costs_its_pictures_only(folder: Path) -> None:
    params = world.whole(folder)
    (folder / "models/rotation/encoder.safetensors").write_bytes(b"torn")
    page, summary, _ = draw(params)
    assert page.text.count("Its features could not be drawn") == 1
    assert len(summary["rows"]) == 60


def test_collapse_is_called_by_name(folder: Path) -> None:
    world.data(folder)
    world.model(folder, "rotation", feature_spread=0.001, effective_rank=1.1)
    page, _, _ = draw(world.params(["rotation"]))
    assert "collapsed" in page.text
    assert 'class="health healthy"' not in page.source
    assert "What it is worth has not been measured." in page.text


def test_a_failure_leaves_the_old_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = world.whole(folder)
    draw(params)
    before = {path.name: path.read_bytes() for path in Path("report").iterdir()}

    def fail(*_: Any) -> str:
        raise RuntimeError("out of ink")

    monkeypatch.setattr("tasks.report.page.render", fail)
    with pytest.raises(RuntimeError, match="out of ink"):
        report(params, Channel("report"))
    assert {path.name: path.read_bytes() for path in Path("report").iterdir()} == before


def test_the_stage_starts_in_a_blink() -> None:
    import subprocess
    import sys

    code = (
        "import sys, tasks.report; print(sorted({'torch', 'sklearn', 'jinja2'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
