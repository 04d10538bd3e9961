"""docs/RESULTS.md: what each objective makes of sounds, over several seeds of pretraining.

    python -m benchmarks.sound_results

The Playroom's sounds as in `glean profile lecture`, in two checkouts, one for each encoder: about
an hour on two cores. Both are kept in `.gleaner/sounds/`: delete the folder after a change of the
code that matters.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import pages, world
from benchmarks.grids import page
from benchmarks.grids.cells import Rows
from benchmarks.lecture import starts
from benchmarks.parts_compared import by_draw
from tasks.transfer.measures import interval

HOME = world.ROOT / ".gleaner" / "sounds"
SEEDS = 3
BUDGETS = (5, 10)
EACH = {"start": "none", "batch_size": 128, "learning_rate": 0.006}
BYOL = {"momentum": 0.999}  # with .99 and .95 it learns next to nothing: docs/sound.md
SMALL: dict[str, dict[str, Any]] = {  # with the encoder `small`: these have several seeds
    "contrastive": {"labels": "none", "epochs": 60},
    "byol": {"labels": "none", "epochs": 30, "learning_rate": 0.003, "options": BYOL},
    "clusters": {"labels": "textures", "epochs": 30, "options": {"crop": 0.6}},
}
PATCHES = {"bands": 32, "frames": 8, "width": 128, "depth": 4, "heads": 4}
VIT: dict[str, dict[str, Any]] = {  # with the encoder `vit`
    "mae": {"objective": "mae", "labels": "none", "epochs": 60},
    "masked_units": {"objective": "masked_units", "labels": "units1", "epochs": 30},
    "masked_units, second round": {"objective": "masked_units", "labels": "units2", "epochs": 30},
}
NAMES = {name: f"sound_{name.replace(', second round', '_2')}" for name in VIT}  # mae: a picture's
LABELERS = {
    "textures": {"labeler": "sound_texture", "run": "none", "options": {"k": 60}},
    "units1": {"labeler": "mfcc_units", "run": "none", "options": {"k": 100}},
    "units2": {"labeler": "run_units", "run": "sound_masked_units", "options": {"k": 100}},
}
SECTION = """
## Every objective for sounds

`python -m benchmarks.sound_results`. The Playroom's 12 kinds of sounds, 40 labelled and 410
unlabelled each, as in `glean profile lecture`. Accuracy by labels per class in per cent, mean and
95 % interval over eight draws of labels (of {seeds} seeds of pretraining the mean, in each draw),
by the protocol that validation prefers. *Gain*: points over training from scratch with the same
encoder, which chooses its rate on validation and may take three times as many steps; differences of
each draw.

With the encoder `small`, {seeds} seeds of pretraining:

{small}

With a small transformer (`vit`: {patches}), one seed; the second round
of `masked_units` names units of the first one's features:

{vit}
"""


def checkout(name: str) -> Path:
    """A checkout in which the lecture's sounds and their labels are described, but no run."""
    folder = HOME / name
    if not folder.exists():
        world.checkout(folder)
        world.glean(folder, "profile", "lecture")
    return folder


def describe(params: Any, labelers: Sequence[str], runs: dict[str, dict[str, Any]]) -> None:
    """Sounds with these free labels and runs."""
    sound = params["audio"]
    sound["labelers"] = {name: LABELERS[name] for name in labelers}
    sound["runs"] = {name: EACH | run for name, run in runs.items()}
    sound["tasks"]["classification"]["budgets"] = list(BUDGETS)


def small(params: Any) -> None:
    runs = {
        f"{name}_{seed}": {"objective": name, "seed": seed, **run}
        for seed in range(SEEDS) for name, run in SMALL.items()
    }  # fmt: skip
    describe(params, ["textures"], runs)


def vit(params: Any) -> None:
    encoder = {"encoder": "vit", "encoder_options": PATCHES}
    # A quarter of the convolutions' rate, at which `masked_units` learns next to nothing.
    rate = {"learning_rate": 0.0015}
    runs = {NAMES[name]: encoder | rate | run for name, run in VIT.items()}
    describe(params, ["units1", "units2"], runs)
    # A transformer from scratch wants lower rates than the convolutions that defaults are for.
    rates = {"scratch_learning_rates": [0.0005, 0.0015, 0.005]}
    params["audio"]["tasks"]["classification"].update(encoder | rates)
    params["audio"]["controls"] = ["scratch", "random"]


def reached(folder: Path) -> dict[str, Rows]:
    """By run or control: its rows."""
    found = {each.name: each.reached.get("classification", []) for each in starts(folder, "audio")}
    return {name: list(rows) for name, rows in found.items()}


def line(name: str, seeds: Sequence[Rows], scratch: Rows) -> Iterator[str]:
    """A row of a table: a name, then for each budget accuracy, gain and the means of the seeds."""
    yield name
    for budget in BUDGETS:
        protocol, values = page.best(seeds, budget)
        _, base = page.best([scratch], budget)
        drawn, against = by_draw(values), by_draw(base)
        yield f"{page.number([drawn])}, {protocol}" if protocol != name else page.number([drawn])
        gain = [a - b for a, b in zip(drawn, against, strict=True)]
        _, low, high = interval(drawn)
        _, least, most = interval(against)
        disjoint = ", apart" if low > most or high < least else ""
        yield f"{page.number([gain])}{disjoint}" if name in SMALL or name in VIT else ""
        yield page.spread(seeds, budget, protocol) if len(seeds) > 1 else ""


def table(found: dict[str, list[Rows]]) -> str:
    """A row for each start; columns in which nothing stands are left out."""
    scratch = found["scratch"][0]
    head = [""]
    for budget in BUDGETS:
        head += [f"{budget} labels", f"gain at {budget}", f"seeds at {budget}"]
    body = [list(line(name, seeds, scratch)) for name, seeds in found.items()]
    kept = [at for at in range(len(head)) if at == 0 or any(row[at] for row in body)]
    return page.table([head[at] for at in kept], [[row[at] for at in kept] for row in body])


def main() -> None:
    folders = []
    for change in (small, vit):
        folders.append(checkout(change.__name__))
        world.edit(folders[-1], change)
        world.glean(folders[-1], "run", "--only", "audio", timeout=3 * 3600)
        world.glean(folders[-1], "ui", "--stop")
    one, two = map(reached, folders)
    seeds = {name: [one.pop(f"{name}_{seed}") for seed in range(SEEDS)] for name in SMALL}
    many = seeds | {name: [rows] for name, rows in one.items()}
    few = {name: [two.pop(key)] for name, key in NAMES.items()} | {k: [v] for k, v in two.items()}
    text = SECTION.format(
        seeds=SEEDS, patches=", ".join(f"{k} {v}" for k, v in PATCHES.items()),
        small=table(many), vit=table(few),
    )  # fmt: skip
    pages.write(page.TARGET, text)
    print(text)


if __name__ == "__main__":
    main()
