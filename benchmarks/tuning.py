"""docs/TUNING.md: the settings of the default pipeline, chosen again on validation.

    glean run ingest-image && python -m benchmarks.tuning [first] [second] [scratch]

Every candidate is scored on the validation split at a few labels per class, with pretraining seeds
and label draws other than those of the default pipeline; the test split is not opened. About
half an hour on 2 cores.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks import world
from benchmarks.grids.page import table as lines

TARGET = world.ROOT / "docs" / "TUNING.md"
SEEDS = (1, 2)
DRAWS = 3
LABELS_SEED = 100  # the default pipeline draws its labels with 0
BUDGETS = (5, 50)
SCRATCH = [
    {"rate": rate, "steps": steps} for steps in (300, 600, 1200) for rate in (0.005, 0.015, 0.03)
]
# Settings that a candidate does not name are those of the run in params.yaml.
FIRST: list[tuple[str, dict[str, Any]]] = [
    ("rotation", {"learning_rate": 0.01, "crop": 0.5}),
    ("rotation", {"learning_rate": 0.005, "crop": 0.5}),
    ("rotation", {"learning_rate": 0.02, "crop": 0.5}),
    ("rotation", {"learning_rate": 0.01, "crop": 0.25}),
    ("moco_v2", {"learning_rate": 0.006, "crop": 0.4, "grey": 0.4, "temperature": 0.1}),
    ("moco_v2", {"learning_rate": 0.003, "crop": 0.4, "grey": 0.4, "temperature": 0.1}),
    ("moco_v2", {"learning_rate": 0.012, "crop": 0.4, "grey": 0.4, "temperature": 0.1}),
    ("moco_v2", {"learning_rate": 0.006, "crop": 0.2, "grey": 0.2, "temperature": 0.2}),
    ("moco_v2", {"learning_rate": 0.006, "crop": 0.6, "grey": 0.4, "temperature": 0.1}),
    ("moco_v2", {"learning_rate": 0.006, "crop": 0.4, "grey": 0.4, "temperature": 0.2}),
]
SECOND: list[tuple[str, dict[str, Any]]] = [
    ("rotation", {"learning_rate": 0.02, "crop": 0.25}),
    ("rotation", {"learning_rate": 0.02, "crop": 0.35}),
    ("rotation", {"learning_rate": 0.04, "crop": 0.25}),
    ("rotation", {"learning_rate": 0.04, "crop": 0.5}),
]
HEAD = f"""# How the default settings were chosen

Written by `python -m benchmarks.tuning`, a part at a time; only the words are typed by hand.
Accuracies in per cent on the validation split of the default Playroom: mean and, in brackets,
lowest and highest. Pretraining seeds {" and ".join(map(str, SEEDS))} and label draws of their own,
none of them those of the default pipeline; the test split is not opened.
"""
PARTS = {
    "first": f"""## Pretraining

Linear probe at 5 and 50 labels per class, {DRAWS} label draws for each of {len(SEEDS)} seeds.
""",
    "second": """## Pretraining, around the best of these

The same, once more.
""",
    "scratch": f"""## Training from scratch

{DRAWS} label draws; the best checkpoint on validation, as in the pipeline (that it is also what is
shown here flatters all lines alike). `steps` is the most that a training may take.
""",
}


@dataclass
class Scores:
    """Validation accuracies of one candidate, by labels per class."""

    found: dict[int, list[float]] = field(default_factory=dict)

    def add(self, budget: int, score: float) -> None:
        self.found.setdefault(budget, []).append(score)

    def cells(self) -> list[str]:
        return [
            f"{100 * np.mean(v):.1f} ({100 * min(v):.1f} to {100 * max(v):.1f})"
            for v in self.found.values()
        ]


def setting() -> Any:
    from modalities.common.measuring.frozen import Setting
    from modalities.image.network.views import augment, prepare

    return Setting(prepare, augment, "bf16", "cpu")


def few(whole: Any) -> Iterator[Any]:
    """The few labels of each draw and budget."""
    from modalities.common.measuring.problem import FewLabels, draw_labels, seed_of

    for budget in BUDGETS:
        for draw in range(DRAWS):
            at = draw_labels(whole.train, whole.ids, budget, LABELS_SEED, draw)
            seed = seed_of(LABELS_SEED, budget, draw)
            train = whole.train.part(at)
            yield FewLabels(train, whole.val, len(whole.known), budget, draw, seed)


def data() -> Any:
    """The problem without its test split."""
    import torch

    from modalities.common.measuring.problem import problem
    from tasks.data import dataset

    torch.set_num_threads(1)
    splits = dataset.load(Path("data/image"))
    return problem(splits | {"test": splits["val"]})


def scratch(candidate: dict[str, Any]) -> Scores:
    """Train from random weights with one learning rate and at most so many steps."""
    from modalities.common.measuring.finetune import FineTuning, Recipe
    from modalities.image.network.factory import build

    steps = candidate["steps"]
    recipe = Recipe(
        learning_rates=[candidate["rate"]], epochs=10_000, min_steps=steps, max_steps=steps,
        batch_size=48, weight_decay=0.01, smoothing=0.1, evaluations=6, patience=3,
    )  # fmt: skip
    scores = Scores()
    for each in few(data()):
        method = FineTuning(lambda: build("small"), recipe, setting(), None)
        scores.add(int(each.budget), method.fit(each, lambda _: None).score or 0.0)
    return scores


def pretraining(run: str, change: dict[str, Any], seed: int) -> Scores:
    """Pretrain with some settings changed; score linear probes of what came out."""
    import torch

    from modalities.common.measuring.frozen import FrozenFeatures
    from modalities.common.measuring.linear import LinearProbe
    from modalities.common.training.checkpoints import Checkpoints
    from modalities.common.training.loop import train
    from modalities.common.training.monitor import Silence
    from modalities.image.network.views import prepare
    from tasks.data import dataset
    from tasks.pretrain import construct, plan_of
    from tasks.settings.params import load

    params = load()
    was = params.image.runs[run]
    options = was.options | {k: v for k, v in change.items() if k != "learning_rate"}
    update = {"options": options, "learning_rate": change["learning_rate"], "seed": seed}
    changed = was.model_copy(update=update)
    params.image.runs[run] = changed
    whole, scores = data(), Scores()
    objective = construct(params, run)
    pool = dataset.pool(Path("data/image"))
    with TemporaryDirectory() as name:
        nowhere = Checkpoints("tuning", "", Path(name))
        first = pool.items.batch([*range(min(256, len(pool.items)))])["items"]
        probe = prepare(torch.from_numpy(first))
        plan = plan_of(params, run)
        train(objective, pool.items, plan, Silence(), probe=probe, checkpoints=nowhere)
    features = FrozenFeatures(lambda: objective.encoder, setting(), whole, None)
    linear = LinearProbe(features, [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0], repeats=True)
    for each in few(whole):
        scores.add(int(each.budget), linear.fit(each, lambda _: None).score or 0.0)
    return scores


def pretrained(candidates: list[tuple[str, dict[str, Any]]]) -> str:
    """The table of some candidates, in Markdown."""
    from joblib import Parallel, delayed

    jobs = [delayed(pretraining)(*each, seed) for each in candidates for seed in SEEDS]
    found = iter(Parallel(n_jobs=2, verbose=10)(jobs))
    rows = []
    for run, change in candidates:
        both = Scores()
        for scores in (next(found) for _ in SEEDS):
            for budget, values in scores.found.items():
                both.found.setdefault(budget, []).extend(values)
        words = ", ".join(f"{key} {value}" for key, value in change.items())
        rows.append([run, words, *both.cells()])
    return lines(["run", "settings", *(f"{budget} per class" for budget in BUDGETS)], rows)


def from_scratch() -> str:
    """The table of all trainings from scratch, in Markdown."""
    from joblib import Parallel, delayed

    found = Parallel(n_jobs=2, verbose=10)(delayed(scratch)(each) for each in SCRATCH)
    rows = [
        [str(each["rate"]), str(each["steps"]), *scores.cells()]
        for each, scores in zip(SCRATCH, found, strict=True)
    ]
    heads = ["learning rate", "steps", *(f"{budget} per class" for budget in BUDGETS)]
    return lines(heads, rows)


def main() -> None:
    """All parts, or those that are named; the page keeps the others as they are."""
    ways = {
        "first": lambda: pretrained(FIRST),
        "second": lambda: pretrained(SECOND),
        "scratch": from_scratch,
    }
    page = TARGET.read_text("utf-8") if TARGET.exists() else ""
    parts = {part.split("\n")[0]: part.rstrip() for part in page.split("\n## ")[1:]}
    for name in sys.argv[1:] or ways:
        text = PARTS[name].removeprefix("## ")
        parts[text.split("\n")[0]] = f"{text}\n{ways[name]()}"
    kept = [parts[t] for each in PARTS.values() if (t := each[3:].split("\n")[0]) in parts]
    TARGET.write_text("\n## ".join([HEAD, *(f"{part}\n" for part in kept)]), "utf-8")


if __name__ == "__main__":
    main()
