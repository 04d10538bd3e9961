"""Parts from few shapes of one category: a section of docs/RESULTS.md.

    python -m benchmarks.parts [CATEGORY ...] [--seeds 1] [--jobs 2]

Each category is a Playroom of its own, with hundreds of shapes that nobody cut into parts: what one
has who collects chairs. A network is pretrained on them with convex pieces, or with k-means on
coordinates (as many pieces, and fewer), and fine-tuned on 1 or 10 shapes with the same loss beside
the supervised one, or left as it is, with a head on its features; another is trained from scratch.
An hour of one core a category, 12 minutes for each further seed of convexity; a GPU is used where
there is one, by as many processes as `--jobs` says. Finished stages are kept in `.gleaner/parts/`,
by their settings and not by the code: delete the folder after a change that matters.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.grids import page
from benchmarks.grids.worlds import run_stage
from benchmarks.parts_compared import luck, table, verdict
from benchmarks.world import ROOT

HOME = ROOT / ".gleaner" / "parts"
CATEGORIES = ("chair", "dog", "lamp", "plane", "truck", "vase")  # those of params.yaml
BUDGETS = (1, 10)
SCRATCH = "scratch"
FREE = {  # start -> its free labels
    "convexity": "convex", "k-means, 8 pieces": "chunks", "k-means, 20 pieces": "crumbs",
}  # fmt: skip
STARTS = (*FREE, SCRATCH)
SEEDED = ("convexity",)  # starts of which `--seeds` asks for more than one
WORLD = ("playroom shape", "ingest shape", *(f"label {labels}" for labels in FREE.values()))
PIECES = {"voxels": 50000, "depth": 10, "merge": 0.01}
RUN = {
    "objective": "convexity", "options": {"turn": "vertical", "points": 256},
    "start": "none", "epochs": 63, "batch_size": 4, "learning_rate": 0.003,
}  # fmt: skip
TASK = {
    "turn": "vertical", "points": 256, "budgets": [*BUDGETS], "draws": 4, "protocols": ["joint"],
    "joint_weight": 1.0, "joint_batch_size": 4,
    "learning_rates": [0.01], "scratch_learning_rates": [0.003, 0.01, 0.03],
    "epochs": 1000, "min_steps": 600, "max_steps": 600, "evaluations": 6, "patience": 6,
}  # fmt: skip
FROZEN = "frozen"  # a head on frozen features: measured in a folder of its own
SECTION = """
## Parts from few shapes of one category

`python -m benchmarks.parts{command}`. Shapes of the Playroom, turned about the
vertical, their parts of very different thickness, length and slant (`variety: {variety}`), and a
network for each category, pretrained on the {shapes} training shapes of this category alone (6,500
steps, 256 points) and fine-tuned for 600 steps at one learning rate, .01, each step with a batch of
pieces beside the labelled one (`joint`, weight 1); from scratch 900, at the one of
.003, .01 and .03 that is best on validation. mIoU over the parts of a shape in per cent, mean and
95 % interval over four draws of the labelled shapes, {seeds} of pretraining{whose};
*mean* is over the categories, in each draw. Convex pieces by V-HACD ({settings}):
{pieces} a shape, purity {purity}. The control has pieces by k-means on coordinates, 8 a shape
(purity {chunks}) and 20 ({crumbs}).

{table}

{verdict}

The same starts left as they are, a head trained on their features (`frozen`, 600 steps), beside the
same training from scratch of all layers:

{frozen}

{frozen_verdict}
"""


def run_name(start: str, seed: int) -> str:
    """`convex_0`: the run of params.yaml."""
    return f"{FREE[start]}_{seed}"


def pretrained(seeds: int) -> list[tuple[int, str]]:
    """Seed and start of all runs, the first seed's first."""
    return [(n, start) for n in range(seeds) for start in FREE if not n or start in SEEDED]


def params(category: str, seeds: int, protocol: str = "joint") -> dict[str, Any]:
    """params.yaml of a category, as plain values."""
    source = "raw/playroom/shape"
    shape = {
        "categories": [category], "labelled": 15, "unlabelled": 400, "val": 10, "test": 30,
        "points": 1024, "pose": "turned", "variety": 1.5,
    }  # fmt: skip
    return {
        "playroom": {"make": ["shape"], "shape": shape},
        "machine": {"jobs": 1},
        "image": {"source": "none", "labels": "none"},
        "shape": {
            "source": source, "labels": source, "points": 1024,
            "labelers": {
                "convex": {"labeler": "convex_decomposition", "options": PIECES},
                "chunks": {"labeler": "kmeans_coordinates"},
                "crumbs": {"labeler": "kmeans_coordinates", "options": {"clusters": 20}},
            },
            "runs": {
                run_name(start, seed): RUN | {"labels": FREE[start], "seed": seed}
                for seed, start in pretrained(seeds)
            },
            "controls": ["scratch"],
            "tasks": {"parts": TASK | {"protocols": [protocol]}},
        },
    }  # fmt: skip


def deciding(category: str, stage: str) -> str:
    """What of params.yaml a stage depends on."""
    told = params(category, 1)  # seeds differ in nothing but their number
    shape = told.pop("shape")
    of = {"playroom": told["playroom"], "points": shape["points"]}
    action, name = stage.split()[:2]
    labels = name.split("_")[0]
    if labels in shape["labelers"]:
        of["labeler"] = shape["labelers"][labels]
    if action in ("pretrain", "transfer", FROZEN):
        of["run"] = shape["runs"][f"{labels}_0"] | {"seed": None}
    if action == "transfer":
        of["task"] = {k: v for k, v in TASK.items() if not k.startswith("scratch")}
    if action == FROZEN:
        others = ("joint", "scratch", "protocols")
        of["task"] = {k: v for k, v in TASK.items() if not k.startswith(others)}
    if action == "control":
        of["task"] = TASK
    return json.dumps(of)


def keep(category: str, *stages: str) -> None:
    """Those of the stages that are not kept, in order."""
    folder = HOME / category
    for stage in stages:
        action, *names = stage.split()
        frozen = action == FROZEN
        kept = folder / f"{stage.replace(' ', '-')}.json"
        wanted = deciding(category, stage)
        if kept.exists() and kept.read_text("utf-8") == wanted:
            continue
        run_stage(folder / FROZEN if frozen else folder, "transfer" if frozen else action, *names)
        kept.write_text(wanted, "utf-8")
        print(f"{category}: {stage}", flush=True)


def measure(categories: Sequence[str], seeds: int, jobs: int) -> None:
    """All that is not kept, so many stages at a time."""
    from joblib import Parallel, delayed
    from ruamel.yaml import YAML

    for category in categories:
        aside = HOME / category / FROZEN
        aside.mkdir(parents=True, exist_ok=True)
        YAML().dump(params(category, seeds), HOME / category / "params.yaml")
        YAML().dump(params(category, seeds, FROZEN), aside / "params.yaml")
        for name in ("data", "models", "labels"):
            if not (aside / name).is_symlink():
                (aside / name).symlink_to(Path("..") / name)
    Parallel(jobs, prefer="threads")(delayed(keep)(each, *WORLD) for each in categories)
    work: list[tuple[str, ...]] = []
    for seed, start in pretrained(seeds):
        run = run_name(start, seed)
        stages = (f"pretrain {run}", f"transfer {run} parts", f"{FROZEN} {run} parts")
        work += [(category, *stages) for category in categories]
    work += [(category, "control shape scratch parts") for category in categories]
    Parallel(jobs, prefer="threads")(delayed(keep)(*each) for each in work)


def values(
    category: str, start: str, seeds: int, *, frozen: bool = False
) -> dict[int, list[list[float]]]:
    """Budget -> of each seed of pretraining the mIoU of each draw; scratch is never frozen."""
    folder = HOME / category
    results = (folder / FROZEN if frozen and start != SCRATCH else folder) / "results"
    runs = [run_name(start, seed) for seed, each in pretrained(seeds) if each == start]
    runs = runs or [f"shape-{SCRATCH}"]
    found: dict[int, list[list[float]]] = {budget: [] for budget in BUDGETS}
    for run in runs:
        rows = json.loads((results / run / "parts/metrics.json").read_text("utf-8"))["rows"]
        for row in rows:
            if row["metric"] == "miou_category":
                found[row["budget"]].append(row["values"])
    return found


def told_of(labels: str, category: str) -> dict[str, float]:
    """What labelling told of a category's pieces."""
    path = HOME / category / "labels" / labels / "metrics.json"
    told: dict[str, float] = json.loads(path.read_text("utf-8"))
    return told


def section(categories: Sequence[str], seeds: int) -> str:
    """The section, from what is kept."""
    found, frozen = (
        {start: {c: values(c, start, seeds, frozen=still) for c in categories} for start in STARTS}
        for still in (False, True)
    )
    told = [told_of("convex", each) for each in categories]
    shape = params(categories[0], seeds)["playroom"]["shape"]
    words = [] if list(categories) == list(CATEGORIES) else [*categories]
    words += ["--seeds", str(seeds)] if seeds > 1 else []
    return SECTION.format(
        command="".join(f" {word}" for word in words),
        seeds=f"{seeds} seeds" if seeds > 1 else "one seed",
        whose=f" (of {' and '.join(SEEDED)} the mean, in each draw)" if seeds > 1 else "",
        shapes=shape["labelled"] + shape["unlabelled"], variety=shape["variety"],
        settings=", ".join(f"{name} {value:,}" for name, value in PIECES.items()),
        pieces=between([each["pieces a shape"] for each in told], 1),
        purity=between([each["purity"] for each in told], 2),
        chunks=between([told_of("chunks", each)["purity"] for each in categories], 2),
        crumbs=between([told_of("crumbs", each)["purity"] for each in categories], 2),
        table=table(found),
        verdict=verdict(found) + ("\n" + luck(found, SEEDED) if seeds > 1 else ""),
        frozen=table(frozen), frozen_verdict=verdict(frozen),
    )  # fmt: skip


def between(numbers: Sequence[float], places: int) -> str:
    """`0.83 to 0.91`."""
    return f"{min(numbers):.{places}f} to {max(numbers):.{places}f}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parts", description=__doc__)
    parser.add_argument(
        "categories", nargs="*", metavar="CATEGORY", help=f"none: {', '.join(CATEGORIES)}"
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="of pretraining on convex pieces (default: 1)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="stages at a time (default: 2)")
    told = parser.parse_args()
    categories = told.categories or list(CATEGORIES)
    measure(categories, told.seeds, told.jobs)
    made = section(categories, told.seeds)
    pages.write(page.TARGET, made)
    print(made)


if __name__ == "__main__":
    main()
