"""The grids of experiments: their cells are possible and kept, and tables say what is so."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_world import make

from benchmarks.grids import cells, page, plans, sections, worlds
from benchmarks.grids.cells import Cell
from benchmarks.grids.plans import Line
from tasks.pretrain import construct
from tasks.settings.playroom import PlayroomImage
from tasks.transfer.measures import interval

TINY = {
    "objective": "rotation", "epochs": 1, "batch_size": 16, "encoder_options": {"widths": [4, 8]},
}  # fmt: skip
TASK: Any = (("classification", {"budgets": [1], "draws": 2, "protocols": ["knn"]}),)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny world in place of the Playroom: noise, of which half is labelled at random."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(worlds, "HOME", tmp_path)
    folder = tmp_path / "worlds" / "plain"
    make(folder, items=72)
    data = folder / "data" / "image"
    table = pq.read_table(data / "items.parquet")
    split = ["train"] * 48 + ["val"] * 12 + ["test"] * 12
    label = [["a", "b"][i % 2] for i in range(72)]
    for i, name in ((1, split), (2, label)):
        table = table.set_column(i, table.column_names[i], pa.array(name, pa.string()))
    pq.write_table(table, data / "items.parquet")
    (data / "meta.json").write_text(json.dumps({"modality": "image", "classes": ["a", "b"]}))
    return tmp_path


def test_a_cell_is_computed_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(TINY)
    first = cells.measured(cell, TASK)
    assert {row["protocol"] for row in first} == {"knn"}
    assert all(len(row["values"]) == 2 for row in first)
    info = cells.pretrained(cell)
    assert info["cpu_seconds"] > 0 and np.isfinite(info["last"]["loss"])
    assert not list((home / "checkpoints").glob("*")), "they are removed at the end"
    monkeypatch.setattr(cells, "_train", None)
    monkeypatch.setattr(cells, "_measure", None)
    assert cells.measured(cell, TASK) == first
    with pytest.raises(TypeError):
        cells.measured(Cell(TINY, seed=1), TASK)


def test_part_of_a_world(home: Path) -> None:
    cells.pretrained(Cell(TINY, items=20))
    assert Cell(TINY, items=20).key() != Cell(TINY).key()


def test_an_encoder_trained_with_all_labels(home: Path) -> None:
    cell = Cell({"objective": "supervised", "epochs": 1, "batch_size": 16})
    assert 0 <= cells.pretrained(cell)["last"]["validation"] <= 1
    assert cells.maker(cell)().dim == 256


@pytest.mark.parametrize("name", plans.GRIDS)
def test_every_cell_is_possible(name: str) -> None:
    lines = plans.GRIDS[name]()
    assert len({line.name for line in lines}) == len(lines)
    for line in lines:
        assert line.world in worlds.WORLDS
        for cell in line.cells:
            if not cell.control and cell.run["objective"] != "supervised":
                construct(cells.params_of(cell), "cell")
        for task, options in line.tasks:
            from tasks.transfer import kind

            kind("image", task)(**options)
    assert set(plans.GRIDS) == set(sections.SECTIONS)


def test_what_the_issue_asks_of_the_transfer_table() -> None:
    lines = {line.name: line for line in plans.transfer()}
    methods = {"rotation", "jigsaw", "context", "colorization", "inpainting", "moco_v1", "moco_v2",
               "simclr", "byol", "mae", "supervised", "scratch"}  # fmt: skip
    assert methods <= set(lines)
    assert all(o["draws"] >= 3 for line in lines.values() for _, o in line.tasks)
    assert len([line for line in lines.values() if len(line.cells) == 3]) == 2


def test_worlds_are_valid() -> None:
    for options in worlds.WORLDS.values():
        PlayroomImage.model_validate(options)


def test_families() -> None:
    from modalities.base import Labelled
    from modalities.items import Arrays

    split = Labelled(
        Arrays(np.zeros(4)), np.array([0, 1, 2, -1]), list("abcd"), ["car", "mug", "plane"]
    )
    found = cells.families(split)
    assert found.classes == ["animals", "furniture", "vehicles", "vessels"]
    assert found.labels.tolist() == [2, 3, 2, -1]


def rows(values: list[float], val: float = 0.5, protocol: str = "linear") -> cells.Rows:
    return [{"protocol": protocol, "budget": 5, "values": values, "chosen": {"val": val}}]


def test_intervals_are_over_draws_or_over_seeds() -> None:
    one = page.values([rows([0.1, 0.2, 0.6])], "linear", 5)
    mean, low, _ = interval([0.1, 0.2, 0.6])
    assert page.number(one) == f"{100 * mean:.1f} ± {100 * (mean - low):.1f}"
    three = page.values([rows([0.1, 0.3]), rows([0.4, 0.6]), rows([0.2, 0.2])], "linear", 5)
    mean, low, _ = interval([0.2, 0.5, 0.2])
    assert page.number(three) == f"{100 * mean:.1f} ± {100 * (mean - low):.1f}"
    assert page.mean(three) == pytest.approx(0.3)
    assert page.number([]) == ""


def test_validation_chooses_the_protocol() -> None:
    both = [rows([0.9, 0.9], val=0.3) + rows([0.2, 0.4], val=0.6, protocol="knn")]
    assert page.best(both, 5) == ("knn", [[0.2, 0.4]])


def test_claims_say_whether_they_hold() -> None:
    found = page.claims({"a": 0.5, "b": 0.25}, [("a first", "a", "b"), ("b first", "b", "a")])
    assert found == (
        "- a first: **holds** (50.0 against 25.0).\n"
        "- b first: **does not hold** (25.0 against 50.0)."
    )


def test_a_section_with_its_figure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "FIGURES", page.ROOT / "docs" / "figures")
    monkeypatch.setattr(page, "save", lambda figure, name: f"![{name}](figures/{name}.png)")
    monkeypatch.setattr(Line, "rows", lambda self: [rows([0.2, 0.4]) + [
        {"protocol": p, "budget": b, "values": [0.5, 0.7], "chosen": {"val": 0.1}}
        for p, b in (("linear", 50), ("knn", 5), ("knn", 50))]])  # fmt: skip
    monkeypatch.setattr(page, "cost", lambda line: "12")
    text = sections.SECTIONS["negatives"](plans.negatives())
    assert text.startswith("\n## Three sources of negatives\n")
    cell = page.number([[0.2, 0.4]])
    other = page.number([[0.5, 0.7]])
    assert f"| queue | {cell} | {other} | {other} | {other} | 12 |" in text
    assert "![negatives](figures/negatives.png)" in text
