"""The measurements themselves: that each gives a number, not which one."""

import json
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import pages, parts
from benchmarks.__main__ import PARTS, main, there
from benchmarks.speed import masking, objectives, shapes, sound
from tasks.settings.params import load


def test_masking_has_a_table() -> None:
    table = masking.main(1, (16,), width=32, depth=1, heads=2)
    assert len(table.splitlines()) == 4
    assert "16 px, bf16" in table


def test_the_encoder_side_of_masking_has_a_table() -> None:
    table = objectives.masked(1, (16,), width=32, depth=1, heads=2)
    assert "16 px, bf16" in table and len(table.splitlines()) == 4
    assert set(objectives.names()) >= {"rotation", "mae", "simclr"}


PAGE = "# Title\n\nWords.\n\n## One\n\nfirst\n\n## Two\n\nsecond\n"


def test_a_section_takes_its_place() -> None:
    assert pages.put(PAGE, "\n## Two\n\nnew\n") == PAGE.replace("second", "new")
    assert pages.put(PAGE, "## Three\n\nthird") == PAGE + "\n## Three\n\nthird\n"
    new = "# Title\n\nOther words.\n\n## One\n\nagain\n"
    assert pages.keep(PAGE, new) == new + "\n## Two\n\nsecond\n"
    assert pages.keep(PAGE, PAGE) == PAGE


def test_shapes_have_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = {"fast": {"voxels": 2000, "depth": 3}}
    monkeypatch.setattr(shapes, "SETTINGS", fast)
    page = shapes.main(2, 1, width=8, dim=16)
    assert "| fast |" in page
    assert "times as fast as one" in page and "clouds/s" in page
    assert page.count("\n| ") >= 4


def test_labels_of_sounds_have_rates() -> None:
    rows = [line.split("|")[2] for line in sound.labels(1, 3).splitlines()[2:]]
    assert len(rows) == 3 and all(float(rate) > 0 for rate in rows)


@pytest.mark.slow
def test_the_loop_on_sounds_has_a_share() -> None:
    assert 0 < float(sound.training(0.1).rsplit("**", 2)[1]) < 10


def test_parts_are_pages_and_others_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = []
    for name in PARTS:
        module = import_module(f"benchmarks.speed.{name}")
        monkeypatch.setattr(
            module, "page", lambda name=name, **_: made.append(name) or f"## {name}\n"
        )
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    main()
    assert made == there()
    made.clear()
    monkeypatch.setattr(sys, "argv", ["benchmarks", *PARTS, "--quick"])
    main()
    assert made == list(PARTS)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "sounds"])
    with pytest.raises(SystemExit):
        main()
    assert "no part 'sounds'" in capsys.readouterr().err


def fill(home: Path, categories: Sequence[str]) -> None:
    """What stages of `benchmarks.parts` leave behind, with two seeds of pretraining."""
    reached = {"convex_0": 0.9, "convex_1": 0.92, "chunks_0": 0.85, "chunks_1": 0.85,
               "crumbs_0": 0.87, "crumbs_1": 0.88, "shape-scratch": 0.86}  # fmt: skip
    for at, category in enumerate(categories):
        places = [("results", start, value) for start, value in reached.items()]
        places += [("frozen/results", start, value - 0.2) for start, value in reached.items()]
        for where, start, value in places:
            folder = home / category / where / start / "parts"
            folder.mkdir(parents=True)
            draws = [value - 0.1 * at + 0.002 * draw for draw in range(4)]
            rows = [
                {"metric": metric, "budget": budget, "values": [one / budget for one in draws]}
                for metric in ("miou_category", "miou_instance") for budget in parts.BUDGETS
            ]  # fmt: skip
            (folder / "metrics.json").write_text(json.dumps({"rows": rows}), "utf-8")
        for labels, purity in (("convex", 0.9), ("chunks", 0.7), ("crumbs", 0.8)):
            folder = home / category / "labels" / labels
            folder.mkdir(parents=True)
            metrics = {"pieces a shape": 9.5 + at, "purity": purity}
            (folder / "metrics.json").write_text(json.dumps(metrics), "utf-8")


def test_parts_of_single_categories_become_a_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(tmp_path, ["chair", "lamp"])
    monkeypatch.setattr(parts, "HOME", tmp_path)
    page = parts.section(["chair", "lamp"], 1)
    assert "`python -m benchmarks.parts chair lamp`" in page
    assert "| 1 | scratch | 86.3 ± 0.4 | 76.3 ± 0.4 | 81.3 ± 0.4 |" in page
    assert "| 10 | scratch | 8.6 ± 0.0 | 7.6 ± 0.0 | 8.1 ± 0.0 |" in page
    assert "At 1 shape convexity is 4.0 ± 0.0 points from scratch" in page
    assert "At 10 shapes convexity is 0.5 ± 0.0 points from k-means, 8 pieces" in page
    assert "At 10 shapes convexity is 0.3 ± 0.0 points from k-means, 20 pieces" in page
    assert page.count("| 1 | scratch | 86.3 ± 0.4 | 76.3 ± 0.4 | 81.3 ± 0.4 |") == 2
    assert "| 1 | convexity | 70.3 ± 0.4 | 60.3 ± 0.4 | 65.3 ± 0.4 |" in page
    assert "At 1 shape convexity is -16.0 ± 0.0 points from scratch" in page
    assert page.count("intervals apart") == 12
    text = " ".join(page.split())
    assert "V-HACD (voxels 50,000, depth 10, merge 0.01): 9.5 to 10.5 a shape" in text
    assert "purity 0.90 to 0.90" in text
    assert "8 a shape (purity 0.70 to 0.70) and 20 (0.80 to 0.80)" in text
    assert "seeds" not in page


def test_seeds_of_pretraining_are_averaged_in_each_draw(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fill(tmp_path, parts.CATEGORIES)
    monkeypatch.setattr(parts, "HOME", tmp_path)
    page = parts.section(parts.CATEGORIES, 2)
    assert "`python -m benchmarks.parts --seeds 2`" in page
    text = " ".join(page.split())
    assert "2 seeds of pretraining (of convexity the mean, in each" in text
    assert "| 1 | convexity | 91.3 ± 0.4 | 81.3 ± 0.4 |" in page
    assert "convexity: 65.3, 67.3 at 1; 6.5, 6.7 at 10" in page
    assert "| 1 | k-means, 20 pieces | 87.3 ± 0.4 | 77.3 ± 0.4 |" in page  # it has one seed


def test_categories_of_parts_are_projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps(parts.params("lamp", 2)), "utf-8")
    monkeypatch.chdir(tmp_path)
    found = load()
    assert found.run("chunks_0").labels == "chunks"
    assert [found.run(name).seed for name in ("convex_0", "convex_1")] == [0, 1]


FROZEN_STAGE = "frozen transfer convex_0 parts"  # the folder it runs in, and the stage


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("PIECES", ["label convex", "pretrain convex_0", "transfer convex_0 parts", FROZEN_STAGE]),
        ("RUN", ["pretrain convex_0", "transfer convex_0 parts", FROZEN_STAGE]),
        ("TASK", ["transfer convex_0 parts", FROZEN_STAGE, "control shape scratch parts"]),
    ],
)
def test_stages_of_parts_are_kept_by_what_decides_them(
    changed: str, again: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(parts, "HOME", tmp_path)

    def run_stage(folder: Path, *words: str) -> None:
        ran.append(" ".join([*(["frozen"] if folder.name == "frozen" else []), *words]))

    monkeypatch.setattr(parts, "run_stage", run_stage)
    stages = (*parts.WORLD, "pretrain convex_0", "transfer convex_0 parts",
              "frozen convex_0 parts", "control shape scratch parts")  # fmt: skip
    (tmp_path / "vase").mkdir()
    for _ in range(2):
        parts.keep("vase", *stages)
    assert ran == [s.replace("frozen", "frozen transfer") for s in stages]
    ran.clear()
    monkeypatch.setattr(parts, changed, getattr(parts, changed) | {"epochs": 7})
    parts.keep("vase", *stages)
    assert ran == again
