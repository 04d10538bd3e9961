"""The verdict's words: what it says when pretraining wins, loses, or cannot be told apart."""

from itertools import pairwise

import pytest
import report_world as world

from tasks.report import words
from tasks.report.drawing.svg import spread, ticks
from tasks.report.verdict import apart, choose, headline_budget, verdict


def said(rows: list[dict], runs: int = 1) -> str:
    return verdict(rows, runs, 100).text.replace("\xa0", " ")


def test_it_wins() -> None:
    rows = [
        world.row("moco_v2", 5, 0.612),
        world.row("scratch", 5, 0.43, protocol="finetune"),
    ]
    assert said(rows) == (
        "With 5 labels per class, moco_v2 (linear probe) reaches 61.2 % where training from "
        "scratch reaches 43.0 %: +18.2 points."
    )
    assert verdict(rows, 1, 1).tone == "better"


def test_it_loses() -> None:
    rows = [world.row("moco_v2", 5, 0.4), world.row("scratch", 5, 0.5)]
    assert said(rows).startswith("Pretraining did not help here. With 5 labels per class")
    assert "\u221210.0 points" in said(rows)
    assert verdict(rows, 1, 1).tone == "worse"


@pytest.mark.parametrize(("ours", "sign"), [(0.51, "+1.0"), (0.49, "\u22121.0")])
def test_intervals_overlap(ours: float, sign: str) -> None:
    rows = [world.row("moco_v2", 5, ours), world.row("scratch", 5, 0.5)]
    assert f"{sign} points, but the intervals overlap, so 5 draws cannot" in said(rows)
    assert verdict(rows, 1, 1).tone == "even"


def test_a_run_with_another_encoder_is_not_held_against_scratch() -> None:
    rows = [
        world.row("mae", 5, 0.9) | {"objective": "mae", "other_encoder": "vit"},
        world.row("moco_v2", 5, 0.6),
        world.row("scratch", 5, 0.4),
    ]
    assert "moco_v2 (linear probe) reaches 60.0 %" in said(rows)
    assert verdict(rows, 1, 1).notes == ("mae has another encoder (vit) than the controls.",)
    alone = [rows[0], rows[2]]
    assert said(alone).endswith("There is no run from scratch with this encoder to compare with.")
    assert verdict(alone, 1, 1).tone == "none"


def test_one_draw_is_no_proof() -> None:
    rows = [world.row("moco_v2", 5, 0.9, half=None), world.row("scratch", 5, 0.5)]
    assert "one draw cannot say" in said(rows)
    assert not apart(*rows)


def test_a_cheap_control_that_does_as_well_is_named() -> None:
    rows = [
        world.row("moco_v2", 5, 0.6),
        world.row("scratch", 5, 0.4),
        world.row("histogram", 5, 0.7),
        world.row("pixels", 5, 0.2),
    ]
    notes = " ".join(verdict(rows, 1, 1).notes)
    assert "70.0\u00a0% at the same budget needs only a colour histogram" in notes
    assert "pixels" not in notes


def test_the_lead_with_all_labels_is_told_too() -> None:
    rows = [
        world.row(run, size, mean)
        for run, means in {"moco_v2": (0.6, 0.8), "scratch": (0.4, 0.81)}.items()
        for size, mean in zip((5, "all"), means, strict=True)
    ]
    (note,) = verdict(rows, 1, 1).notes
    assert note.startswith("With all labels it is moco_v2 (linear probe) at 80.0")
    assert note.endswith("\u22121.0\u00a0points (intervals overlap).")


def test_selection_is_on_validation_only() -> None:
    lucky = world.row("rotation", 5, 0.9, chosen={"val": 0.5})
    sound = world.row("moco_v2", 5, 0.6, chosen={"val": 0.7})
    assert choose([lucky, sound]) is sound
    per_draw = world.row("moco_v2", 5, 0.6, chosen={"val": [0.4, 0.5]})
    assert choose([per_draw, lucky]) is lucky
    unknown = [world.row("rotation", 5, 0.9, chosen={}, protocol="knn")]
    unknown.append(world.row("rotation", 5, 0.5, chosen={}))
    assert choose(unknown) is unknown[1], "linear by default, not what tests best"


def test_a_metric_that_should_be_low() -> None:
    loss = {"metric": "perplexity", "higher_is_better": False}
    ours = world.row("moco_v2", 5, 20.0, half=1.0) | loss | {"low": 19.0, "high": 21.0}
    base = world.row("scratch", 5, 30.0, half=1.0) | loss | {"low": 29.0, "high": 31.0}
    assert said([ours, base]).endswith(
        "reaches 20 where training from scratch reaches 30: \u221210."
    )
    assert verdict([ours, base], 1, 1).tone == "better"


def test_without_a_run_from_scratch() -> None:
    assert said([world.row("moco_v2", 10, 0.5)]).endswith("no run from scratch to compare with.")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([1, 5, 10, "all"], 5), ([1, 10], 10), ([1, 2, "all"], 2), (["all"], "all"), ([50], 50)],
)
def test_headline_budget(sizes: list[int | str], expected: int | str) -> None:
    assert headline_budget(sizes) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert words.seconds(value).replace("\xa0", " ") == text


def test_ticks_are_round_and_span() -> None:
    assert ticks(0, 0.83) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(3, 3)[0] <= 3 <= ticks(3, 3)[-1]


def test_labels_keep_their_distance_and_order() -> None:
    placed = spread([50, 51, 52, 10, 99], 10, 0, 100)
    order = sorted(range(5), key=lambda i: placed[i])
    assert order == [3, 0, 1, 2, 4]
    heights = sorted(placed)
    assert all(b - a >= 9.99 for a, b in pairwise(heights))
    assert heights[0] >= 0
    assert heights[-1] <= 100
    assert len(spread([5.0] * 50, 10, 0, 100)) == 50
