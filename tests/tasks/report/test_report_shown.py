"""The report with what stages drew, with free labels, and with several modalities."""

import hashlib
import io
import shutil
import sys
from base64 import b64decode, b64encode
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report_world as world
from PIL import Image
from test_report import Page, check_summary, draw

from modalities import named
from modalities.common.pretraining.sheet import Cell, sheets
from modalities.image import network, reading
from tasks.report import words
from tasks.settings.params import Params
from tasks.settings.sections import TaughtSection
from tasks.stage import cost_file

CAPTION = "Four turns of a picture, & what the run believes."


class Many(Params):
    """Parameters of several modalities, whichever the checkout has by now."""

    audio: TaughtSection
    shape: TaughtSection


def many(image: Params, **labelers: Any) -> Many:
    """`shape` has free labels and a run that learns from them; `audio` has nothing but a run."""
    taught = {"objective": "clusters", "labels": "parts"}
    shape = {
        "source": "raw/playroom/shape", "labels": "raw/playroom/shape", "runs": {"pieces": taught},
        "labelers": labelers or {"parts": {"labeler": "convex", "options": {"most": 12}}},
        "controls": ["scratch"], "tasks": {"parts": {}},
    }  # fmt: skip
    audio = {"source": "raw/playroom/audio", "labels": "raw/playroom/audio",
             "runs": {"heard": {"objective": "byol", "labels": "none"}},
             "tasks": {"classification": {}}}  # fmt: skip
    kept = image.model_dump(mode="json", include={"playroom", "image", "report"})
    return Many.model_validate({**kept, "shape": shape, "audio": audio})


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty checkout of three modalities, two of which look like pictures."""
    monkeypatch.chdir(tmp_path)
    for module in ("tasks.report.facts", "tasks.report.summary", "tasks.results"):
        monkeypatch.setattr(f"{module}.MODALITIES", ("shape", "audio", "image"))
    for name in ("shape", "audio"):
        for half in (network, reading):
            own = half.__name__.replace("image", name)
            monkeypatch.setitem(sys.modules, own, half)
    return tmp_path


def shapes(root: Path) -> None:
    """Data, free labels, a run and results of `shape`."""
    shutil.copytree(root / "data/image", root / "data/shape")
    world.model(root, "pieces")
    for run, reached in {"pieces": 0.5, "shape-scratch": 0.3}.items():
        rows = [
            world.row(run, 5, reached + more, metric=metric)
            for metric, more in {"instance_mIoU": 0.0, "AP50": 0.1}.items()
        ]
        world.write_json(root / "results" / run / "parts/metrics.json", {"rows": rows})
    left = root / "labels/parts"
    world.write_json(left / "metrics.json", {"items": 1500, "purity": 0.8125, "fingerprint": "f0"})
    Image.new("RGB", (1920, 600), (200, 40, 40)).save(left / "largest_parts.png")
    sound = '<audio controls src="data:audio/wav;base64,AAAA"></audio>'
    (left / "more.html").write_text(f"<p>A <b>turning</b> shape</p>{sound}", "utf-8")


def sheet(folder: Path, rows: int = 5) -> None:
    rng = np.random.default_rng(0)
    cells = [[Cell(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), "a")] * 4] * rows
    sheets(folder, ["seen"], cells, CAPTION)


def images(page: Page, alt: str) -> list[Image.Image]:
    sources = [attrs["src"] or "" for tag, attrs in page.tags
               if tag == "img" and attrs.get("alt") == alt]  # fmt: skip
    return [Image.open(io.BytesIO(b64decode(source.split(",")[1]))) for source in sources]


def test_a_run_shows_its_task(folder: Path) -> None:
    params = world.whole(folder)
    sheet(folder / "models/rotation/pictures")
    (folder / "models/rotation/pictures/turn.html").write_text("<p>Turn it <i>yourself</i></p>")
    config = folder / "models/rotation/config.json"
    config.write_text(config.read_text().replace("{", '{"about": "Which way is <up>?", ', 1))
    page, _, inputs = draw(many(params))
    assert page.text.count(CAPTION) == 1, "once for both sheets"
    assert "Which way is <up>?" in page.text
    assert "Turn it yourself" in page.text
    one, two = images(page, CAPTION)
    assert one.size == (4 * 144 - 16, 36 + 4 * 160 + 3 * 16)
    assert two.size[1] < one.size[1]
    assert np.asarray(one.convert("RGBA"))[0, -1, 3] == 0, "the page's own paper is seen"
    widths = [attrs["width"] for tag, attrs in page.tags if attrs.get("alt") == CAPTION]
    assert widths == [str(one.width // 2)] * 2
    assert "models/rotation/pictures/1.png" in inputs["files"]


def test_a_torn_picture_costs_itself_only(folder: Path) -> None:
    params = world.whole(folder)
    sheet(folder / "models/rotation/pictures")
    (folder / "models/rotation/pictures/1.png").write_bytes(b"\x89PNG")
    page, _, _ = draw(many(params))
    assert len(images(page, CAPTION)) == 1
    assert "Could not be shown: models/rotation/pictures/1.png: UnidentifiedImage" in page.text


def test_free_labels_have_a_section(folder: Path) -> None:
    params = many(world.whole(folder))
    page, _, _ = draw(params)
    assert "Free labels" not in page.text, "there are none"
    shapes(folder)
    page, summary, inputs = draw(params)
    check_summary(summary)
    assert page.text.count("Free labels") == 2, "the link and the heading"
    for said in ("parts convex", "most 12", "items 1,500", "purity 0.8125", "Largest parts",
                 "Learnt from by pieces", "A turning shape"):  # fmt: skip
        assert said in page.text
    assert "f0" not in page.text and "seconds a shape" not in page.text, "it ran elsewhere"
    (picture,) = images(page, "Largest parts")
    assert picture.size == (960, 300)
    assert "media-src data:" in page.source
    known = {
        "labels/parts/metrics.json",
        "labels/parts/largest_parts.png",
        "labels/parts/more.html",
    }
    assert known <= set(inputs["files"])
    cost = {"stage": "label-shape@parts", "seconds": 330.0, "peak_mb": 80.0}
    world.write_json(folder / cost_file("label-shape@parts"), cost)
    page, _, again = draw(params)
    assert "seconds a shape 0.22" in page.text
    assert again["files"] == inputs["files"], "what it cost is no input"


def test_results_may_be_drawn(folder: Path) -> None:
    params = world.whole(folder)
    sheet(folder / "results/rotation/classification", rows=1)
    sheet(folder / "results/image-scratch/classification", rows=40)
    Image.new("RGB", (9, 9)).save(folder / "results/moco_v2/classification/accuracy.png")
    page, _, inputs = draw(many(params))
    assert "What rotation finds" in page.text
    assert "What scratch finds" in page.text
    assert "What moco_v2 finds" not in page.text
    assert len(images(page, CAPTION)) == 1 + 4
    assert "and 6 more in results/image-scratch/classification" in page.text
    assert "results/rotation/classification/1.png" in inputs["files"]


def test_what_runs_find_stands_below_the_truth_in_one_figure(folder: Path) -> None:
    params = world.whole(folder)
    page, _, _ = draw(many(params))
    assert "the truth, and what each run and control finds" not in page.text
    for name, shade in {"rotation": 80, "image-scratch": 160}.items():
        left = folder / "results" / name / "classification"
        Image.new("RGB", (90, 9), (9, 9, 9)).save(left / "answer.png")
        Image.new("RGB", (90, 9), (shade, shade, shade)).save(left / "found.png")
    Image.new("RGB", (30, 9)).save(folder / "results/rotation/classification/more.png")
    (folder / "results/image-scratch/classification/found.png").write_bytes(b"\x89PNG")
    page, _, inputs = draw(many(params))
    text = page.text
    assert text.count("the truth, and what each run and control finds") == 1
    assert len(images(page, "truth")) == 1, "once for all"
    (found,) = images(page, "rotation")
    assert found.size == (90, 9) and abs(found.convert("RGB").getpixel((40, 4))[0] - 80) < 4  # type: ignore[index]
    assert not images(page, "scratch")
    assert "Could not be shown: results/image-scratch/classification/found.png" in text
    assert "What rotation finds" in text and len(images(page, "More")) == 1
    assert "What scratch finds" not in text, "nothing but what is compared"
    assert not images(page, "Found") and not images(page, "Answer")
    assert "results/rotation/classification/answer.png" in inputs["files"]


def test_modalities_come_in_order_and_metrics_have_their_names(folder: Path) -> None:
    params = many(world.whole(folder))
    shapes(folder)
    page, summary, _ = draw(params)
    text = page.text.replace("\xa0", " ")
    first, second = text.index("Images: classification"), text.index("Shapes: parts")
    assert first < second
    assert {row["metric"] for row in summary["rows"] if row["modality"] == "shape"} == {
        "instance_mIoU", "AP50",
    }  # fmt: skip
    body = page.source[page.source.index("Shapes: parts") : page.source.index('id="data"')]
    assert "instance mIoU in\xa0%, by labels per class" in body
    assert "Parts by AP50" in body
    assert "accuracy" not in body
    assert "Shapes, parts With 5 labels per class, pieces (linear probe) reaches 50.0 %" in text
    assert text.index("items read in 2 modalities") > 0
    learnt = text[text.index("What each run learnt") :]
    assert learnt.index("Images") < learnt.index("moco_v2") < learnt.index("Shapes")
    assert "A shape and its nearest neighbours among training shapes" in learnt
    assert "A picture and its nearest neighbours among training pictures" in learnt
    assert "Some training shapes of each class" in text
    assert "left no encoder yet" not in text, "`heard` is of a modality that has no data"
    assert "Sounds" not in text
    heads = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert all(b - a <= 1 for a, b in pairwise(heads)), "no level is skipped"


def test_a_modality_without_data_is_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `glean run --only image`: the page is the one of a checkout with images alone."""
    params = world.whole(folder)
    page, summary, _ = draw(many(params))
    for module in ("tasks.report.facts", "tasks.report.summary", "tasks.results"):
        monkeypatch.setattr(f"{module}.MODALITIES", ("image",))
    alone, same, _ = draw(params)
    assert summary["rows"] == same["rows"]
    shown = [
        found.source[found.source.index('id="results"') : found.source.index('id="learnt"')]
        for found in (page, alone)
    ]
    assert shown[0] == shown[1]
    for said in ("Shapes", "Sounds", "pieces", "heard"):
        assert said not in page.text.split("Parameters")[0]


def test_a_modality_whose_items_cannot_be_drawn_has_its_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = many(world.whole(folder))
    shapes(folder)
    real = named.import_module

    def missing(name: str) -> Any:
        if name.startswith("modalities.shape."):
            raise ModuleNotFoundError("No module named 'renderer'")
        return real(name)

    monkeypatch.setattr(named, "import_module", missing)
    page, _, _ = draw(params)
    assert "They could not be drawn: ModuleNotFoundError: No module named 'renderer'" in page.text
    assert "Shapes: parts" in page.text


@pytest.mark.parametrize(
    ("metric", "name", "fraction"),
    [
        ("accuracy", "accuracy", True), ("mIoU", "mIoU", True), ("miou", "mIoU", True),
        ("class_miou", "class mIoU", True), ("AP", "AP", True), ("ap50", "AP50", True),
        ("box_map", "box mAP", True), ("keypoint_AP", "keypoint AP", True), ("j&f", "J&F", True),
        ("recall@1", "recall@1", True), ("perplexity", "perplexity", False),
        ("chamfer_distance", "chamfer distance", False), ("maps", "maps", False),
    ],
)  # fmt: skip
def test_metrics_are_written_as_papers_do(metric: str, name: str, fraction: bool) -> None:
    assert words.metric(metric) == name
    assert words.number(0.5, metric) == ("50.0" if fraction else "0.5")
    assert words.unit(metric) == ("\xa0%" if fraction else "")


def test_only_scripts_of_fragments_may_run(folder: Path) -> None:
    """Their hashes stand in the page's policy; what is in a name stays text."""
    params = many(world.whole(folder))
    shapes(folder)
    script = "document.title = 'turned';"
    (folder / "labels/parts/turn.html").write_text(f"<script>{script}</script>", "utf-8")
    page = draw(params)[0].source
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline'; script-src" in page and page.count("<script>") == 1
