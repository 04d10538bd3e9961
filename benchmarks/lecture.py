"""docs/RESULTS.md: what `glean profile lecture` gave, run as a whole.

    python -m benchmarks.lecture [FOLDER]

FOLDER is a checkout in which the profile has been run. Without one it is run in a fresh checkout in
a temporary folder first: two hours on two cores.
"""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import pages, world
from benchmarks.grids import page
from benchmarks.grids.cells import Rows
from benchmarks.grids.sections import dense_orderings, orderings
from benchmarks.results import apart

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
HEADS = {"detection": "detection", "segmentation": "segmentation"}


@dataclass(frozen=True)
class Start:
    """What a run or a control has reached: its rows, by task."""

    name: str
    learnt: bool  # pretrained: not a control
    tasks: Mapping[str, Rows]
    other: bool = False  # its encoder is not the controls'

    def rows(self) -> list[Rows]:
        return [self.tasks["classification"]]

    def best(self, column: Column) -> tuple[str, list[float]] | None:
        """The protocol that validation prefers, and its draws; None: not measured."""
        task, metric, budget = column
        rows = [row for row in self.tasks.get(task, []) if row["metric"] == metric]
        if all(row["budget"] != budget for row in rows):
            return None
        name, (values,) = page.best([rows], budget)
        return name, values

    def cell(self, column: Column) -> str:
        found = self.best(column)
        if found is None:
            return ""
        protocol = "" if found[0] == self.name else f" {found[0]}"
        return f"{page.number([found[1]])}{protocol}"


def starts(checkout: Path, modality: str) -> list[Start]:
    """All that was measured of a modality: runs and then controls, in the order of params.yaml."""
    from ruamel.yaml import YAML

    params = YAML(typ="safe").load((checkout / "params.yaml").read_text("utf-8"))
    sections = [part for part in params.values() if isinstance(part, dict) and "runs" in part]
    ranks = [name for part in sections for name in part["runs"]]
    ranks += [name for part in sections for name in part["controls"]]
    tasks: dict[str, dict[str, Rows]] = {}
    learnt: dict[str, bool] = {}
    other: dict[str, bool] = {}
    for path in (checkout / "results").glob("*/*/metrics.json"):
        told = json.loads(path.read_text("utf-8"))
        if told["modality"] == modality:
            tasks.setdefault(told["run"], {})[told["task"]] = told["rows"]
            learnt[told["run"]] = told["objective"] is not None
            other[told["run"]] = bool(told.get("other_encoder"))
    names = sorted(tasks, key=ranks.index)
    return [Start(name, learnt[name], tasks[name], other[name]) for name in names]


def table(found: Sequence[Start], columns: Sequence[Column]) -> str:
    head = ["", *(HEADS.get(task, budget) for task, _, budget in columns)]
    return page.table(head, [[each.name, *map(each.cell, columns)] for each in found])


def verdicts(found: Sequence[Start], columns: Sequence[Column]) -> str:
    """For each column the runs that are above scratch beyond doubt, and those below."""
    scratch = next(each for each in found if each.name == "scratch")
    lines = []
    for column in columns:
        base = scratch.best(column)
        if base is None:
            continue
        alike = [each for each in found if each.learnt and not each.other]
        gains = [(each.name, *gain(each.best(column), base[1])) for each in alike]
        said = [
            f"{word} {', '.join(names)}"
            for word, names in (
                ("above", [f"{n} (+{100 * g:.1f})" for n, g, sure in gains if sure and g > 0]),
                ("below", [f"{n} ({100 * g:.1f})" for n, g, sure in gains if sure and g < 0]),
            )
            if names
        ]
        told = "all labels" if column[2] == "all" else f"{column[2]} per class"
        name = HEADS.get(column[0], told)
        lines.append(f"- {name}: {'; '.join(said) or 'none'}.")
    return "\n".join(lines)


def gain(mine: tuple[str, list[float]] | None, base: list[float]) -> tuple[float, bool]:
    """How far it is above `base`, and whether the intervals have nothing in common."""
    from tasks.measures import interval

    if mine is None:
        return 0.0, False
    ours, theirs = (dict(zip(("mean", "low", "high"), interval(v), strict=True))
                    for v in (mine[1], base))  # fmt: skip
    return ours["mean"] - theirs["mean"], apart(ours, theirs) == "apart"


def luck(found: Sequence[Start], columns: Sequence[Column]) -> str:
    """Of each method with several seeds of pretraining the mean of every seed."""
    by_name = {each.name: each for each in found}
    body = []
    for method, names in SEEDS.items():
        reached = [[by_name[name].best(column) for name in names] for column in columns]
        means = [[f"{100 * page.mean([r[1]]):.1f}" for r in seeds if r] for seeds in reached]
        body.append([method, *(", ".join(each) for each in means)])
    return page.table(["", *(HEADS.get(t, b) for t, _, b in columns)], body)


def claims(found: Sequence[Start]) -> str:
    """Which of the lecture's orderings hold."""

    def means(column: Column) -> dict[str, float]:
        reached = ((each.name, each.best(column)) for each in found)
        return {name: page.mean([best[1]]) for name, best in reached if best}

    methods = [each.name for each in found if each.learnt]
    places = {metric: means((task, metric, budget)) for task, metric, budget in DENSE}
    return "\n".join([orderings(means(ACCURACY[3]), methods), dense_orderings(places)])


def spent(checkout: Path) -> dict[str, str]:
    """From the first stage's start to the last one's end, and what stages took one by one."""
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
