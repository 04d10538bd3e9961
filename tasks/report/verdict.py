"""What the numbers say, in a sentence: who was chosen (on validation), by how much, how surely."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tasks.report import words

Row = dict[str, Any]
Part = tuple[str, str]  # text, and how it is set: "", "number" or "base"
HEADLINE = 5  # labels per class
FEATURELESS = ("random", "majority", "histogram", "pixels")
PREFERRED = ("linear", "finetune", "knn")  # where no validation score was kept


@dataclass(frozen=True)
class Verdict:
    """One sentence in pieces; `tone` says how it went."""

    parts: tuple[Part, ...]
    tone: Literal["better", "even", "worse", "none"]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "".join(part for part, _ in self.parts)


def validation(row: Row) -> float | None:
    """The validation score behind what was chosen; the mean where it is kept per draw."""
    score = row["chosen"].get("val")
    if isinstance(score, list):
        known = [s for s in score if isinstance(s, int | float)]
        return sum(known) / len(known) if known else None
    return float(score) if isinstance(score, int | float) else None


def choose(rows: Iterable[Row]) -> Row | None:
    """The row with the best validation score; never the one with the best test score."""

    def order(row: Row) -> tuple[float, int]:
        score = validation(row)
        sign = 1 if row["higher_is_better"] else -1
        name = row["protocol"]
        taste = PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)
        return (-math.inf if score is None else sign * score, -taste)

    return max(rows, key=order, default=None)


def budgets(rows: Iterable[Row]) -> list[int | str]:
    """Numbers in order, `all` last."""
    return sorted({row["budget"] for row in rows}, key=lambda b: math.inf if b == "all" else b)


def headline_budget(sizes: list[int | str]) -> int | str:
    """Five labels per class, or the nearest to it."""
    numbers = [size for size in sizes if not isinstance(size, str)]
    return min(numbers, key=lambda b: abs(math.log(b / HEADLINE))) if numbers else sizes[0]


def lead(run: Row, other: Row) -> float:
    """By how much a run is better: positive is better, whichever way the metric points."""
    difference: float = run["mean"] - other["mean"]
    return difference if run["higher_is_better"] else -difference


def apart(one: Row, other: Row) -> bool:
    """Whether both intervals are known and share no point."""
    if not (words.half_width(one) and words.half_width(other)):
        return False
    return bool(one["low"] > other["high"] or other["low"] > one["high"])


def verdict(rows: list[Row], runs: int, items: int, *, labelled: bool = True) -> Verdict:
    """The page's first sentence, from the rows of one task and metric; `items`: to train on."""
    trained = [row for row in rows if row["objective"] is not None]
    if not trained:
        return _without(rows, runs, items, labelled)
    others = {row["run"]: row["other_encoder"] for row in trained if row.get("other_encoder")}
    alike = [row for row in trained if row["run"] not in others]
    apart_from = others if alike else {"scratch"}  # what is not compared with the rest
    rows = [row for row in rows if row["run"] not in apart_from]
    trained = alike or trained
    scratch = [row for row in rows if row["run"] == "scratch"]
    shared = set(budgets(trained)) & set(budgets(scratch))
    size = headline_budget([b for b in budgets(trained) if not shared or b in shared])
    run = choose(row for row in trained if row["budget"] == size)
    base = choose(row for row in scratch if row["budget"] == size)
    assert run is not None
    notes = (*_notes(rows, run, size), *_elsewhere(others))
    if base is None:
        like = " with this encoder" if others else ""
        text = f". There is no run from scratch{like} to compare with."
        alone = (*_reaches(run, size), (text, ""))
        return Verdict(alone, "none", notes)
    return _compare(run, base, size, notes)


def _without(rows: list[Row], runs: int, items: int, labelled: bool) -> Verdict:
    encoders = words.count(runs, "encoder") + (" was" if runs == 1 else " were")
    if rows:
        text = "No run was pretrained: only the controls were measured."
    elif runs:
        text = f"{encoders} pretrained on {words.count(items, 'item')} without any label. "
        them = "it is" if runs == 1 else "they are"
        if labelled:
            text += f"What {them} worth has not been measured."
        else:
            text += f"With some labels this page would show what {them} worth."
    else:
        text = f"{words.count(items, 'item')} to train on; nothing was trained or measured."
    return Verdict(((text, ""),), "none")


def _named(row: Row) -> str:
    protocol = words.protocol(row)
    return f"{row['run']} ({protocol})" if protocol else row["run"]


def _reaches(run: Row, size: int | str) -> list[Part]:
    start = f"With {words.budget(size)}, {_named(run)} reaches "
    return [(start, ""), (words.value(run), "number")]


def _compare(run: Row, base: Row, size: int | str, notes: tuple[str, ...]) -> Verdict:
    ahead = lead(run, base)
    difference = words.gain(run["mean"] - base["mean"], run["metric"])
    parts: list[Part] = _reaches(run, size)
    parts += [(" where training from scratch reaches ", ""), (words.value(base), "base")]
    if apart(run, base):
        if ahead > 0:
            return Verdict((*parts, (": ", ""), (difference, "number"), (".", "")), "better", notes)
        first = ("Pretraining did not help here. ", "")
        return Verdict((first, *parts, (f": {difference}.", "")), "worse", notes)
    if words.half_width(run) and words.half_width(base):
        doubt = f"the intervals overlap, so {run['draws']} draws cannot tell them apart."
    else:
        doubt = "one draw cannot say whether that is more than luck."
    return Verdict((*parts, (f": {difference}, but {doubt}", "")), "even", notes)


def _elsewhere(others: dict[str, str]) -> list[str]:
    """Runs that the controls say nothing about, because these have another encoder."""
    return [
        f"{run} has another encoder ({name}) than the controls." for run, name in others.items()
    ]


def _notes(rows: list[Row], run: Row, size: int | str) -> tuple[str, ...]:
    """What keeps the headline honest: cheap controls that do as well, and the lead elsewhere."""
    notes = []
    cheap = [choose(r for r in rows if (r["run"], r["budget"]) == (n, size)) for n in FEATURELESS]
    rivals = [row for row in cheap if row and (lead(run, row) <= 0 or not apart(run, row))]
    if rivals:
        strongest = min(rivals, key=lambda row: lead(run, row))
        notes.append(
            f"Beware: {words.value(strongest)} at the same budget needs only "
            f"{words.CONTROLS.get(strongest['run'], strongest['run'])}, so the score alone does "
            "not show that something was learnt."
        )
    for other in budgets(rows)[-1:]:
        one = choose(r for r in rows if r["objective"] is not None and r["budget"] == other)
        base = choose(r for r in rows if r["run"] == "scratch" and r["budget"] == other)
        if other != size and one and base:
            difference = words.gain(one["mean"] - base["mean"], one["metric"])
            sure = "" if apart(one, base) else " (intervals overlap)"
            start = words.value(base)
            notes.append(
                f"With {words.budget(other)} it is {_named(one)} at {words.value(one)} "
                f"against {start} from scratch: {difference}{sure}."
            )
    return tuple(notes)
