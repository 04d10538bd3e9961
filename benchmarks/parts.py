"""Parts from few shapes of one category: a section of docs/RESULTS.md.

    python -m benchmarks.parts [CATEGORY ...]

Each category is a Playroom of its own, with hundreds of shapes that nobody cut into parts: what one
has who collects chairs. A network is pretrained on them with convex pieces, or with k-means on
coordinates, and fine-tuned on 1 or 10 shapes, beside one trained from scratch. About an hour
of one core a category, two of them side by side. Finished stages are kept in `.gleaner/parts/`, by
their settings and not by the code: delete the folder after a change that matters.
"""

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import pages
from benchmarks.grids import page
from benchmarks.grids.worlds import run_stage
from benchmarks.world import ROOT
from tasks.measures import interval

HOME = ROOT / ".gleaner" / "parts"
CATEGORIES = ("chair", "lamp")  # any of params.yaml's `playroom.shape.categories` may be named
BUDGETS = (1, 10)
STARTS = {
    "convexity": "convexity", "conv_kmeans": "k-means on coordinates", "shape-scratch": "scratch",
}  # fmt: skip
STAGES = (
    "playroom shape", "ingest shape", "label convex", "label chunks", "pretrain convexity",
    "transfer convexity parts", "control shape scratch parts", "pretrain conv_kmeans",
    "transfer conv_kmeans parts",
)  # fmt: skip
RUN = {
    "objective": "convexity", "options": {"turn": "any", "points": 256},
    "epochs": 520, "batch_size": 16, "learning_rate": 0.006,
}  # fmt: skip
TASK = {
    "turn": "any", "points": 256, "budgets": [*BUDGETS], "draws": 4, "protocols": ["finetune"],
    "learning_rates": [0.01], "scratch_learning_rates": [0.01], "batch_size": 8,
    "epochs": 1000, "min_steps": 600, "max_steps": 600, "evaluations": 6, "patience": 6,
}  # fmt: skip
SECTION = """
## Parts from few shapes of one category

`python -m benchmarks.parts`. Shapes of the Playroom in any pose, a network for each category,
pretrained on the {shapes} training shapes of this category alone (13,000 steps, 256 points) and
fine-tuned for 600 steps; from scratch 900. One learning rate, .01, for all. mIoU over the parts of
a shape in per cent, mean and 95 % interval over four draws of the labelled shapes, one seed of
pretraining; *mean* is over the categories, in each draw. Convex pieces by V-HACD (10,000 voxels,
depth 6): {pieces} a shape, purity {purity}.

{table}

{verdict}
"""


def params(category: str) -> dict[str, Any]:
    """params.yaml of a category, as plain values."""
    source = "raw/playroom/shape"
    shape = {
        "categories": [category], "labelled": 15, "unlabelled": 400, "val": 10, "test": 30,
        "points": 1024, "pose": "tumbled",
    }  # fmt: skip
    return {
        "playroom": {"make": ["shape"], "shape": shape},
        "machine": {"jobs": 1},
        "image": {"source": "none", "labels": "none"},
        "shape": {
            "source": source, "labels": source, "points": 1024,
            "labelers": {
                "convex": {
                    "labeler": "convex_decomposition", "options": {"voxels": 10000, "depth": 6},
                },
                "chunks": {"labeler": "kmeans_coordinates"},
            },
            "runs": {
                "convexity": RUN | {"labels": "convex"},
                "conv_kmeans": RUN | {"labels": "chunks"},
            },
            "controls": ["scratch"],
            "tasks": {"parts": TASK},
        },
    }  # fmt: skip


def measure(category: str) -> None:
    """All stages of a category that are not kept."""
    from ruamel.yaml import YAML

    folder = HOME / category
    folder.mkdir(parents=True, exist_ok=True)
    YAML().dump(params(category), folder / "params.yaml")
    for stage in STAGES:
        kept = folder / f"{stage.replace(' ', '-')}.json"
        wanted = json.dumps(params(category))
        if kept.exists() and kept.read_text("utf-8") == wanted:
            continue
        run_stage(folder, *stage.split())
        kept.write_text(wanted, "utf-8")
        print(f"{category}: {stage}", flush=True)


def values(category: str, start: str) -> dict[int, list[float]]:
    """Budget -> mIoU of each draw."""
    path = HOME / category / "results" / start / "parts/metrics.json"
    rows = json.loads(path.read_text("utf-8"))["rows"]
    return {row["budget"]: row["values"] for row in rows if row["metric"] == "miou_category"}


def table(found: dict[str, dict[str, dict[int, list[float]]]]) -> str:
    """Start -> category -> budget -> draws, as a table with the mean over categories."""
    names = list(next(iter(found.values())))
    head = ["", *(f"{name}, {budget}" for name in (*names, "mean") for budget in BUDGETS)]
    body = []
    for start, of in found.items():
        cells = [of[name][budget] for name in names for budget in BUDGETS]
        cells += [mean_over(of, budget) for budget in BUDGETS]
        body.append([STARTS[start], *(page.number([cell]) for cell in cells)])
    return page.table(head, body)


def mean_over(of: dict[str, dict[int, list[float]]], budget: int) -> list[float]:
    """Of each draw the mean over categories."""
    drawn: list[float] = np.mean([each[budget] for each in of.values()], axis=0).tolist()
    return drawn


def verdict(found: dict[str, dict[str, dict[int, list[float]]]]) -> str:
    """What convexity is ahead by, draw by draw, at each budget."""
    words = []
    for budget in BUDGETS:
        ours = mean_over(found["convexity"], budget)
        for start in ("shape-scratch", "conv_kmeans"):
            theirs = mean_over(found[start], budget)
            gain = [a - b for a, b in zip(ours, theirs, strict=True)]
            apart = interval(ours)[1] > interval(theirs)[2]
            words.append(
                f"At {budget} shape{'s' * (budget > 1)} convexity is {page.number([gain])} points "
                f"from {STARTS[start]} (difference of each draw), intervals "
                f"{'apart' if apart else 'overlapping'}."
            )
    return "\n".join(f"- {line}" for line in words)


def section(categories: Sequence[str]) -> str:
    """The section, from what is kept."""
    found = {start: {c: values(c, start) for c in categories} for start in STARTS}
    told = [
        json.loads((HOME / c / "labels/convex/metrics.json").read_text("utf-8"))
        for c in categories
    ]  # fmt: skip
    shape = params("chair")["playroom"]["shape"]
    return SECTION.format(
        shapes=shape["labelled"] + shape["unlabelled"],
        pieces=between([each["pieces a shape"] for each in told], 1),
        purity=between([each["purity"] for each in told], 2),
        table=table(found), verdict=verdict(found),
    )  # fmt: skip


def between(numbers: Sequence[float], places: int) -> str:
    """`0.83 to 0.91`."""
    return f"{min(numbers):.{places}f} to {max(numbers):.{places}f}"


def main() -> None:
    from joblib import Parallel, delayed

    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__)
    parser.add_argument(
        "categories", nargs="*", metavar="CATEGORY", help=f"none: {', '.join(CATEGORIES)}"
    )
    told = parser.parse_args()
    categories = told.categories or list(CATEGORIES)
    Parallel(2, prefer="threads")(delayed(measure)(category) for category in categories)
    made = section(categories)
    pages.write(page.TARGET, made)
    print(made)


if __name__ == "__main__":
    main()
