"""docs/RESULTS.md: what `glean profile lecture` gave, run as a whole.

    python -m benchmarks.lecture [FOLDER]

FOLDER is a checkout in which the profile has been run. Without one it is run in a fresh checkout in
a temporary folder first: two hours on two cores.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import pages, world
from benchmarks.grids import page
from benchmarks.grids.cells import Rows
from benchmarks.grids.sections import dense_orderings, orderings
from benchmarks.results import apart, cell
from tasks.report.verdict import Row, choose
from tasks.results import expected_results
from tasks.settings.params import load
from tasks.stage import read_json

SECTION = """
## The lecture's profile, run as a whole

Written by `python -m benchmarks.lecture`: `glean profile lecture`, then `glean run` in a fresh
checkout on two cores; {stages} stages took {wall} ({each}). Each method is pretrained for four
to five times as long as in the tables of short runs. In per cent; mean and 95 % interval over label
draws; of its protocols each run has the one that validation prefers.

### Pictures

Accuracy by labels per class; detection (AP) and segmentation (mIoU) from 50 pictures per class
whose boxes or masks are told. Training from scratch has three times the steps; what that means for
the weak starts is in "Weak starts, fine-tuned as long as random weights are trained". *supervised*
is pretrained with all labels, so it has seen more than its columns say.

{pictures}

{figure}

Against training from scratch with the same encoder, where the two intervals have nothing in common:

{verdicts}

Luck: what each of three pretraining seeds reaches, the mean over the same label draws:

{luck}

The lecture's orderings (classification at 50 labels per class, then detection and segmentation):

{claims}

Reasons for those that do not hold, as far as found: "Every method of the lecture, in short runs".
`mae` has a vision transformer, for which there is no training from scratch here.

### Sounds

{sounds}

### Parts of chairs

mIoU of the parts of a shape, by labelled shapes:

{shapes}
"""
SEEDS = {name: [name, f"{name}_1", f"{name}_2"] for name in ("rotation", "moco_v2")}
Column = tuple[str, str, Any]  # task, metric, budget
ACCURACY: list[Column] = [("classification", "accuracy", b) for b in (1, 5, 10, 50, "all")]
DENSE: list[Column] = [("detection", "AP", 50), ("segmentation", "mIoU", 50)]
SOUNDS: list[Column] = [("classification", "accuracy", b) for b in (1, 5, 10, "all")]
PARTS: list[Column] = [("parts", "miou_instance", b) for b in (1, 10)]


@dataclass(frozen=True)
class Start:
    """What a run or a control has reached in every task: rows as metrics.json has them."""

    name: str
    learnt: bool  # pretrained: not a control
    other: bool  # its encoder is not the controls'
    reached: Mapping[str, Rows]  # by task

    def rows(self) -> list[Rows]:
        """For a bar: what the table shows of classification."""
        return [[row for column in ACCURACY if (row := self.best(column))]]

    def best(self, column: Column) -> Row | None:
        """The row of the protocol that validation prefers; None: not measured."""
        task, *wanted = column
        return choose(
            row for row in self.reached.get(task, []) if [row["metric"], row["budget"]] == wanted
        )

    def cell(self, column: Column) -> str:
        row = self.best(column)
        return cell(row, protocol=row is not None and row["protocol"] != self.name)


def starts(checkout: Path, modality: str) -> list[Start]:
    """All that was measured of a modality: runs and then controls, in the order of params.yaml."""
    found: dict[str, Start] = {}
    for place in expected_results(load(checkout / "params.yaml")):
        told = read_json(checkout / place.folder / "metrics.json")
        if told and place.modality == modality:
            other = bool(told.get("other_encoder"))
            start = found.setdefault(place.run, Start(place.run, not place.control, other, {}))
            found[place.run] = replace(start, reached={**start.reached, place.task: told["rows"]})
    return sorted(found.values(), key=lambda start: not start.learnt)


def head(column: Column) -> str:
    task, _, budget = column
    return task if column in DENSE else str(budget)


def table(found: Sequence[Start], columns: Sequence[Column]) -> str:
    body = [[each.name, *map(each.cell, columns)] for each in found]
    return page.table(["", *map(head, columns)], body)


def verdicts(found: Sequence[Start], columns: Sequence[Column]) -> str:
    """For each column the runs that are above scratch beyond doubt, and those below."""
    scratch = next(each for each in found if each.name == "scratch")
    alike = [each for each in found if each.learnt and not each.other]
    lines = []
    for column in columns:
        base = scratch.best(column)
        assert base is not None
        pairs = [(each.name, row) for each in alike if (row := each.best(column))]
        gains = {name: 100 * (row["mean"] - base["mean"])
                 for name, row in pairs if apart(row, base) == "apart"}  # fmt: skip
        above = ", ".join(f"{name} (+{gain:.1f})" for name, gain in gains.items() if gain > 0)
        below = ", ".join(f"{name} ({gain:.1f})" for name, gain in gains.items() if gain < 0)
        said = "; ".join(
            f"{w} {names}" for w, names in (("above", above), ("below", below)) if names
        )
        where = "all labels" if column[2] == "all" else f"{column[2]} per class"
        lines.append(f"- {column[0] if column in DENSE else where}: {said or 'none'}.")
    return "\n".join(lines)


def means(found: Sequence[Start], column: Column) -> dict[str, float]:
    """By name, of those that were measured."""
    return {each.name: row["mean"] for each in found if (row := each.best(column))}


def luck(found: Sequence[Start], columns: Sequence[Column]) -> str:
    """Of each method with several seeds of pretraining the mean of every seed."""
    reached = [means(found, column) for column in columns]
    body = [
        [method, *(", ".join(f"{100 * of[name]:.1f}" for name in names) for of in reached)]
        for method, names in SEEDS.items()
    ]
    return page.table(["", *map(head, columns)], body)


def claims(found: Sequence[Start]) -> str:
    """Which of the lecture's orderings hold."""
    methods = [each.name for each in found if each.learnt]
    dense = {column[1]: means(found, column) for column in DENSE}
    return "\n".join([orderings(means(found, ACCURACY[3]), methods), dense_orderings(dense)])


def spent(checkout: Path) -> dict[str, str]:
    """From the first stage's start to the last one's end, and what stages took one by one: of one
    run, if no stage was run anew since."""
    costs = [json.loads(path.read_text("utf-8"))
             for path in (checkout / ".gleaner/costs").glob("*.json")]  # fmt: skip
    wall = max(c["ended"] for c in costs) - min(c["ended"] - c["seconds"] for c in costs)
    each = sum(c["seconds"] for c in costs)
    return {
        "stages": str(len(costs)),
        "wall": f"{wall / 60:.0f} minutes",
        "each": f"{each / 60:.0f} one after the other",
    }


def section(checkout: Path) -> str:
    """The section on a checkout whose lecture profile has been run."""
    pictures = starts(checkout, "image")
    seeds = {name for names in SEEDS.values() for name in names[1:]}
    shown = [each for each in pictures if each.name not in seeds]
    columns = [*ACCURACY, *DENSE]
    return SECTION.format(
        **spent(checkout),
        pictures=table(shown, columns),
        figure=page.bars("lecture", shown),
        verdicts=verdicts(shown, columns),
        luck=luck(pictures, [ACCURACY[1], ACCURACY[3], *DENSE]),
        claims=claims(shown),
        sounds=table(starts(checkout, "audio"), SOUNDS),
        shapes=table(starts(checkout, "shape"), PARTS),
    )


def main() -> None:
    if len(sys.argv) > 1:
        text = section(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="gleaner-lecture-") as name:
            checkout = world.checkout(Path(name) / "lecture")
            world.glean(checkout, "profile", "lecture")
            world.glean(checkout, "run", timeout=6 * 3600)
            text = section(checkout)
            world.glean(checkout, "ui", "--stop")
    pages.write(page.TARGET, text)


if __name__ == "__main__":
    main()
