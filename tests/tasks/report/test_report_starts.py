"""What going on from other weights was worth: in words, on the page, in the terminal, the card."""

import io
from pathlib import Path
from typing import Any

import pytest
import report_world as world
from rich.console import Console
from test_report import draw

from flows.export import card
from flows.screen import launch
from tasks.report.drawing import features
from tasks.report.page import starts
from tasks.settings.params import Params
from tasks.transfer.measures import interval


def params(start: str = "moco_v2", **image: Any) -> Params:
    runs = {"rotation": {"objective": "rotation", "start": start},
            "moco_v2": {"objective": "moco_v2"}}  # fmt: skip
    return world.params(runs=runs, **image)


def measured(run: str, values: list[float], budget: int | str = 5, **more: Any) -> dict[str, Any]:
    mean = sum(values) / len(values)
    draws = {"draws": len(values), "values": values}
    return world.row(run, budget, mean, **{"demonstration": False, **draws, **more})


MINE, THEIRS = [0.61, 0.66, 0.70, 0.63], [0.58, 0.64, 0.66, 0.60]


def test_draws_are_paired() -> None:
    rows = [measured("rotation", MINE), measured("moco_v2", THEIRS)]
    (entry,) = starts.worth(params(), rows)
    mean, low, high = interval([a - b for a, b in zip(MINE, THEIRS, strict=True)])
    assert entry["worth"] == pytest.approx(mean)
    assert entry["half"] == pytest.approx(mean - low) == pytest.approx(high - mean)
    assert starts.said(entry).replace("\xa0", " ") == (
        "Going on from moco_v2 was worth +3.0 points ± 1.3: with 5 labels per class, rotation "
        "reaches 65.0 % where moco_v2 as it is reaches 62.0 %."
    )
    _, low, high = interval(MINE)
    assert high - low > 4 * entry["half"], "apart each of them is far less sure"


def test_what_cannot_be_told_apart_is_said() -> None:
    rows = [measured("rotation", [0.5, 0.7]), measured("moco_v2", [0.6, 0.58])]
    assert "The interval includes 0, so 2 draws" in starts.said(starts.worth(params(), rows)[0])
    rows = [measured("rotation", [0.5, 0.7]), measured("moco_v2", [0.6, 0.58, 0.59])]
    (entry,) = starts.worth(params(), rows)
    assert entry["half"] is None and "±" not in starts.said(entry)
    assert "say nothing of how sure" in starts.said(entry)
    rows = [measured("rotation", [0.7] * 2, "all"), measured("moco_v2", [0.6] * 2, "all")]
    assert starts.worth(params(), rows)[0]["half"] is None, "all labels are drawn in one way"


def test_a_smaller_error_is_worth_more() -> None:
    less: dict[str, Any] = {"metric": "error_pixels", "higher_is_better": False}
    rows = [measured("rotation", [3.0, 4.0], **less), measured("moco_v2", [5.0, 7.0], **less)]
    assert starts.worth(params(), rows)[0]["worth"] == 2.5


def test_nothing_is_said_where_the_start_was_not_measured() -> None:
    mine = measured("rotation", MINE)
    assert starts.worth(params(), [mine]) == []
    assert starts.worth(params(), [mine, measured("moco_v2", THEIRS, 1)]) == [], "no shared budget"
    other = measured("moco_v2", THEIRS, task="detection")
    assert starts.worth(params(), [mine, other]) == []
    assert starts.worth(params("none"), [mine, measured("moco_v2", THEIRS)]) == []


def test_published_weights_are_a_start_like_any_other() -> None:
    theirs = {"theirs": {"encoder": "small", "file": "w.safetensors"}}
    rows = [measured("rotation", MINE), measured("theirs", THEIRS)]
    (entry,) = starts.worth(params("theirs", checkpoints=theirs), rows)
    assert entry["start"] == "theirs"


def test_page_terminal_and_summary_say_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(features, "look", lambda *_: {})
    world.whole(tmp_path)
    chosen = params()
    for run, values in (("rotation", MINE), ("moco_v2", THEIRS)):
        rows = [measured(run, values)]
        path = tmp_path / "results" / run / "classification/metrics.json"
        world.write_json(path, {"modality": "image", "run": run, "rows": rows})
    page, summary, _ = draw(chosen)
    (entry,) = summary["starts"]
    sentence = starts.said(entry)
    assert "+3.0\xa0points ± 1.3" in sentence
    assert page.text.replace("\xa0", " ").count(sentence.replace("\xa0", " ")) == 1
    out = io.StringIO()
    launch.show_results(tmp_path, chosen, Console(file=out, width=300, force_terminal=False))
    assert sentence in out.getvalue()
    _, summary, _ = draw(params("none"))
    assert summary["starts"] == []


def test_the_card_says_where_training_began() -> None:
    theirs = {"theirs": {"encoder": "small", "file": "weights/w.safetensors"}}
    runs = {"one": {"objective": "rotation", "start": "theirs"},
            "two": {"objective": "rotation", "start": "one"}}  # fmt: skip
    chosen = world.params(runs=runs, checkpoints=theirs)
    config = {"start": "one", "start_digest": "0123456789abcdef0123"}
    assert card._start(chosen, config) == (
        "the run `one`, which starts from published weights, `w.safetensors` "
        "(sha256 0123456789abcdef)"
    )
    assert card._start(chosen, {"start": "none", "start_digest": None}) == "random weights"
