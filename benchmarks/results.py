"""docs/RESULTS.md: what the default pipeline, a longer trained baseline and real pictures gave.

    python -m benchmarks.results

Runs everything in fresh checkouts in a temporary folder: about 20 minutes on 2 cores.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import pages, world
from benchmarks.grids import page

TARGET = world.ROOT / "docs" / "RESULTS.md"
Rows = list[dict[str, Any]]

HEAD = """# Results

Written by `python -m benchmarks.results`; only the words are typed by hand. Accuracies in per cent
on the test split, mean and 95 % interval (Student t) over label draws. For each run the protocol
with the best validation accuracy at that budget is shown; test labels choose nothing.
"""
PLAYROOM = """
## The default Playroom

`make run`: 12 categories, 100 labelled and 400 unlabelled pictures each, 32 px, two cores, no GPU.
Training from scratch gets at most 390 steps here, three times those of a pretrained encoder, and
still gains from more (the section below), most of all at 50 labels per class and above.

{table}

{verdict}

All protocols of the runs and of the control with random weights:

{protocols}
"""
LONGER = """
### Where steps are plentiful

Within the default run's five minutes training from scratch gets at most 390 steps and a pretrained
encoder 130. Here both get up to 1,000 (the best checkpoint on validation is kept), so that neither
is short of them; a difference that is gone here was one of time, not of what was learnt:

{longer}

{verdict}
"""
DIGITS = """
## Real pictures: handwritten digits

scikit-learn's 1,797 digits as PNG files in ten folders, `glean data image DIR`, then `glean run`
with the default settings, chosen on the Playroom and not tuned to digits.

{table}
"""


def best(rows: Rows, results: Path) -> dict[tuple[str, Any], dict[str, Any]]:
    """By run and budget: the row of the protocol that validation prefers."""
    found: dict[tuple[str, Any], dict[str, Any]] = {}
    for row in rows:
        place = row["run"] if (results / row["run"]).exists() else f"image-{row['run']}"
        told = json.loads((results / place / row["task"] / "metrics.json").read_text("utf-8"))
        val = next(
            (r["chosen"].get("val") or 0.0 for r in told["rows"]
             if (r["protocol"], r["budget"]) == (row["protocol"], row["budget"])), 0.0,
        )  # fmt: skip
        key = (row["run"], row["budget"])
        if key not in found or val > found[key]["val"]:
            found[key] = row | {"val": val}
    return found


def cell(row: dict[str, Any] | None, protocol: bool = False) -> str:
    if row is None:
        return ""
    name = f" {row['protocol']}" if protocol else ""
    return f"{100 * row['mean']:.1f} ± {50 * (row['high'] - row['low']):.1f}{name}"


def table(checkout: Path) -> tuple[str, dict[tuple[str, Any], dict[str, Any]], Rows]:
    summary = json.loads((checkout / "report/summary.json").read_text("utf-8"))
    rows: Rows = [row for row in summary["rows"] if row["modality"] == "image"]
    chosen = best(rows, checkout / "results")
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    runs = list(dict.fromkeys(row["run"] for row in rows))
    body = [[run, *(cell(chosen.get((run, b)), True) for b in budgets)] for run in runs]
    return page.table(["labels per class", *budgets], body), chosen, rows


def protocols(rows: Rows) -> str:
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    kinds = {(r["run"], r["protocol"]): {} for r in rows if r["protocol"] in
             ("linear", "knn", "finetune")}  # type: dict[tuple[str, str], dict[Any, Any]]  # fmt: skip
    for row in rows:
        if (row["run"], row["protocol"]) in kinds:
            kinds[row["run"], row["protocol"]][row["budget"]] = row
    body = [[f"{run} {kind}", *(cell(found.get(b)) for b in budgets)]
            for (run, kind), found in kinds.items()]  # fmt: skip
    return page.table(["labels per class", *budgets], body)


def apart(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Whether two intervals have nothing in common, in a word."""
    disjoint = one["low"] > other["high"] or one["high"] < other["low"]
    return "apart" if disjoint else "overlapping"


def verdict(chosen: dict[tuple[str, Any], dict[str, Any]], runs: list[str]) -> str:
    scratch = chosen["scratch", 5]
    name, top = max(((r, chosen[r, 5]) for r in runs), key=lambda pair: pair[1]["val"])
    gain = 100 * (top["mean"] - scratch["mean"])
    return (
        f"At 5 labels per class {name} ({top['protocol']}) is {gain:+.1f} points from scratch, "
        f"intervals {apart(top, scratch)}."
    )


def default(checkout: Path) -> str:
    """The section on a checkout whose default run is done."""
    shown, chosen, rows = table(checkout)
    return PLAYROOM.format(
        table=shown,
        verdict=verdict(chosen, ["rotation", "moco_v2"]),
        protocols=protocols(rows),
    )


def longer(checkout: Path) -> str:
    """Fine-tune `rotation` and train from scratch with as many steps as either can use."""

    def change(params: Any) -> None:
        params["image"]["tasks"]["classification"].update(
            budgets=[5, 50], max_steps=1000, epochs=1000, scratch_factor=1.0
        )

    world.edit(checkout, change)
    stages = [f"{kind}-image@{name}-classification"
              for kind, name in (("control", "scratch"), ("transfer", "rotation"))]  # fmt: skip
    world.glean(checkout, "run", *stages, timeout=1800)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for name, place in (("scratch", "image-scratch"), ("rotation", "rotation")):
        path = checkout / "results" / place / "classification/metrics.json"
        rows = json.loads(path.read_text("utf-8"))["rows"]
        found |= {(name, r["budget"]): r for r in rows if r["protocol"] == "finetune"}
    body = [[f"{name}, up to 1,000 steps", *(cell(found[name, budget]) for budget in (5, 50))]
            for name in ("scratch", "rotation")]  # fmt: skip
    gains = [
        f"{100 * (found['rotation', b]['mean'] - found['scratch', b]['mean']):+.1f} points at {b} "
        f"labels per class, intervals {apart(found['rotation', b], found['scratch', b])}"
        for b in (5, 50)
    ]
    return LONGER.format(
        longer=page.table(["labels per class", 5, 50], body),
        verdict=f"Rotation against scratch: {'; '.join(gains)}.",
    )


def digits(folder: Path) -> str:
    checkout = world.checkout(folder)
    pictures = world.digits(folder.parent / "pictures")
    world.glean(checkout, "data", "image", str(pictures))
    world.glean(checkout, "run", "--only", "image", timeout=1800)
    world.glean(checkout, "ui", "--stop")
    return DIGITS.format(table=table(checkout)[0])


def everything(folder: Path) -> str:
    checkout = world.checkout(folder / "playroom")
    world.glean(checkout, "run", "--only", "image", timeout=1800)
    text = default(checkout) + longer(checkout)
    world.glean(checkout, "ui", "--stop")
    return text + digits(folder / "digits")


def main() -> None:
    """With a folder: only the section on the default run that was made in it."""
    if len(sys.argv) > 1:
        text = default(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory(prefix="gleaner-results-") as name:
            text = everything(Path(name))
    pages.rewrite(TARGET, HEAD + text)


if __name__ == "__main__":
    main()
