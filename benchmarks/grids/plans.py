"""Which cells each grid has. Settings that a cell does not name are the lecture profile's."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from benchmarks.grids.cells import CONTROLS, OWN, PROBES, TUNED, Cell, Rows, Tasks, measured, result
from benchmarks.world import ROOT

# Epochs that take about 45 s of one core; the lecture profile has four to five times as many.
EPOCHS = {
    "rotation": 7, "jigsaw": 8, "context": 14, "colorization": 7, "inpainting": 8,
    "moco_v1": 12, "moco_v2": 12, "simclr": 10, "byol": 8, "mae": 6, "contrastive": 10,
}  # fmt: skip
SEEDS = (0, 1, 2)
SEVERAL = ("rotation", "moco_v2")  # methods with several pretraining seeds
SUPERVISED = Cell({"objective": "supervised", "epochs": 60, "batch_size": 48})
VIEWS = {"crop": 0.4, "grey": 0.4}


@dataclass(frozen=True)
class Line:
    """A line of a table: the same settings, with one pretraining seed or several."""

    name: str
    cells: Sequence[Cell]
    tasks: Tasks = PROBES
    world: str = "plain"  # where it is measured
    coarse: bool = False  # measured on families in place of categories

    @property
    def learnt(self) -> bool:
        """Whether it is pretrained: not a control."""
        return bool(self.cells[0].run)

    def rows(self) -> list[Rows]:
        """What is reached, by seed; computes what is not kept."""
        return [measured(c, self.tasks, world=self.world, coarse=self.coarse) for c in self.cells]

    def kept(self) -> bool:
        """Whether nothing of it is left to compute."""
        places = [result(c, task, self.world, self.coarse) for c in self.cells
                  for task in self.tasks]  # fmt: skip
        return all(path.exists() for path in places)


@cache
def lecture() -> dict[str, dict[str, Any]]:
    """The lecture profile's runs, one per method, as plain values."""
    from tasks.settings.params import load

    runs = load(ROOT / "profiles" / "lecture.yaml").image.runs
    return {
        name: run.model_dump(exclude={"seed"}, exclude_defaults=True)
        for name, run in runs.items()
        if run.seed is None
    }


def cell(method: str, change: Mapping[str, Any] | None = None, **other: Any) -> Cell:
    """A method's short run; `change` is of its options, `other` of the run or the cell."""
    run = dict(lecture()[method])
    own = {key: other.pop(key) for key in ("world", "items", "seed") if key in other}
    run |= {"epochs": EPOCHS[method], **other}
    run["options"] = {**run.get("options", {}), **(change or {})}
    return Cell(run, **own)


def contrastive(negatives: str) -> Cell:
    options = VIEWS | {"negatives": negatives, "temperature": 0.1}
    if negatives == "queue":
        options |= {"queue": 1024, "momentum": 0.98}
    run = {
        "objective": "contrastive", "options": options, "epochs": EPOCHS["contrastive"],
        "batch_size": 64, "learning_rate": 0.006,
    }  # fmt: skip
    return Cell(run)


def seeds(method: str) -> list[Cell]:
    return [cell(method, seed=seed) for seed in SEEDS]


def transfer() -> list[Line]:
    """Every method of the lecture, then what doing without gives."""
    found = []
    for name in lecture():
        found.append(Line(name, seeds(name)[:1], [*PROBES, *TUNED]))
        if name in SEVERAL:
            found.append(Line(f"{name}, 3 seeds", seeds(name), PROBES))
    found.append(Line("supervised", [SUPERVISED], [*PROBES, *TUNED]))
    found += [Line(name, [Cell(control=name)], OWN) for name in CONTROLS]
    return [*found, of_vit("scratch"), of_vit("random")]


def of_vit(control: str) -> Line:
    """A control with MAE's encoder, which needs smaller steps than the small one from scratch."""
    mae = lecture()["mae"]
    options = {key: mae[key] for key in ("encoder", "encoder_options")}
    if control == "scratch":
        options["scratch_learning_rates"] = [0.0003, 0.001, 0.003]
    told: Tasks = [(task, {**own, **options}) for task, own in OWN]
    return Line(f"{control} (vit)", [Cell(control=control)], told)


def dense() -> list[Line]:
    """The lecture's other two columns: detection and segmentation, everything fine-tuned."""
    whole = {"budgets": [50], "draws": 3}
    tuned = whole | {"protocols": ["finetune"]}

    def tasks(options: Mapping[str, Any]) -> Tasks:
        return [(task, options) for task in ("detection", "segmentation")]

    found = [Line(name, seeds(name)[:1], tasks(tuned)) for name in lecture()]
    found.append(Line("supervised", [SUPERVISED], tasks(tuned)))
    return found + [Line(c, [Cell(control=c)], tasks(whole)) for c in ("scratch", "random")]


def patient() -> list[Line]:
    """25 to 50 times as many pictures seen as in the table of methods: for a GPU."""
    long: dict[str, Any] = {"epochs": 300, "batch_size": 256}
    slow = {"momentum": 0.99}
    made = {
        "moco_v2": cell("moco_v2", slow, **long), "byol": cell("byol", slow, **long),
        "mae": cell("mae", **long),
    }  # fmt: skip
    found = [Line(name, [each], [*PROBES, *TUNED]) for name, each in made.items()]
    return [*found, Line("scratch", [Cell(control="scratch")], OWN), of_vit("scratch")]


def longer() -> list[Line]:
    """Weak starts, fine-tuned as long and as fast as random weights are trained."""
    options = {
        "budgets": [50], "draws": 3, "protocols": ["finetune"], "learning_rates": [0.015],
        "max_steps": 390, "epochs": 450,
    }  # fmt: skip
    weak = ("jigsaw", "colorization", "context", "inpainting")
    return [Line(name, seeds(name)[:1], [("classification", options)]) for name in weak]


def moco() -> list[Line]:
    return [Line(name, seeds(name)) for name in ("moco_v1", "moco_v2")]


def simclr() -> list[Line]:
    """Two sizes of batch, two lengths; the learning rate grows with the root of the batch."""
    return [
        Line(f"batch {size}, {epochs} epochs",
             [cell("simclr", epochs=epochs, batch_size=size, learning_rate=rate)])
        for epochs in (5, 15) for size, rate in ((64, 0.006), (256, 0.012))
    ]  # fmt: skip


def negatives() -> list[Line]:
    return [Line(name, [contrastive(name)]) for name in ("batch", "memory_bank", "queue")]


CHANGES = {  # what SimCLR's views may differ by
    "crop": {"crop": 0.4}, "colour": {"colour": 1.0, "grey": 0.4}, "blur": {"blur": 0.5},
}  # fmt: skip
NOTHING = {"crop": 1.0, "colour": 0.0, "grey": 0.0, "blur": 0.0}


def augmentations() -> list[Line]:
    """One change alone (on the diagonal), pairs, and all three; views always may be mirrored."""
    names = list(CHANGES)
    groups = [(a, b) for i, a in enumerate(names) for b in names[i:]] + [tuple(names)]
    found = []
    for group in groups:
        options = dict(NOTHING)
        for name in group:
            options |= CHANGES[name]
        found.append(Line(" + ".join(dict.fromkeys(group)), [cell("simclr", options, epochs=4)]))
    return found


def masking() -> list[Line]:
    return [
        Line(f"{mask:.0%} masked", [cell("mae", {"mask": mask}, epochs=4)], [*PROBES, *TUNED])
        for mask in (0.5, 0.75, 0.9)
    ]


def amount() -> list[Line]:
    """Pictures to pretrain on; the number of steps is the same."""
    return [
        Line(f"{items:,} pictures", [cell("simclr", items=items, epochs=epochs)])
        for items, epochs in ((600, 50), (2400, 12), (6000, 5))
    ]


def domains() -> list[Line]:
    return [
        Line(f"pretrained {there}, measured {here}", [cell("simclr", world=there, epochs=12)],
             world=here)
        for here in ("few", "tumbled") for there in ("few", "tumbled")
    ]  # fmt: skip


def corruption() -> list[Line]:
    """Pretrained on spoilt pictures, measured on good ones."""
    return [Line(f"pretrained {there}", [cell("simclr", world=there, epochs=12)])
            for there in ("few", "noisy", "coarse")]  # fmt: skip


def granularity() -> list[Line]:
    """The same encoders and labels, with 4 families in place of 12 categories."""
    methods = [(n, seeds(n)[:1], PROBES) for n in ("simclr", "rotation")]
    lines = [*methods, ("scratch", [Cell(control="scratch")], OWN)]
    return [
        Line(f"{name}, {kind}", made, tasks, coarse=kind == "4 families")
        for kind in ("12 categories", "4 families") for name, made, tasks in lines
    ]  # fmt: skip


def few_shot() -> list[Line]:
    """From random weights, for each w; without a pool, with one like the labels', and another."""
    options = {
        "weights": [0.0, 0.5], "steps": 100, "batch_size": 32, "shots": [1, 5], "draws": 3,
        "episodes": 300,
    }  # fmt: skip
    pools = (
        ("no pool", "plain", 0),
        ("1,200 of the same domain", "plain", 1200),
        ("1,200 of another domain", "shifted pool", 1200),
    )
    return [
        Line(name, [Cell(control="scratch")], [("few_shot", options | {"unlabelled": count})],
             world=world)
        for name, world, count in pools
    ]  # fmt: skip


GRIDS: dict[str, Callable[[], list[Line]]] = {
    "transfer": transfer, "dense": dense, "longer": longer, "patient": patient, "moco": moco,
    "simclr": simclr, "negatives": negatives, "augmentations": augmentations, "masking": masking,
    "amount": amount, "domains": domains, "corruption": corruption, "granularity": granularity,
    "few_shot": few_shot,
}  # fmt: skip
