"""One cell of a grid: an encoder pretrained with some settings, and what it is good for.

Both are kept in `.gleaner/grids/`, by a digest of their settings, so that grids share cells, can be
run a piece at a time and go on where they were. The code is not part of the digest: delete the
folder after a change that matters.
"""

import copy
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.grids import worlds

Rows = list[dict[str, Any]]
Tasks = Sequence[tuple[str, Mapping[str, Any]]]  # names and options
TASK = {"budgets": [5, 50], "draws": 3}
PROBES: "Tasks" = (("classification", TASK | {"protocols": ["linear", "knn"]}),)
TUNED: "Tasks" = (("classification", TASK | {"protocols": ["finetune"]}),)
OWN: "Tasks" = (("classification", TASK),)  # of a control
CONTROLS = ("scratch", "random", "majority", "histogram", "pixels")


@dataclass(frozen=True)
class Cell:
    """Settings of one pretraining run, as a run of params.yaml has them; or a control's name."""

    run: Mapping[str, Any] = field(default_factory=dict)
    control: str = ""  # in place of a run
    world: str = "plain"  # where it is pretrained
    items: int = 0  # only so many pictures of it; 0: all
    seed: int = 0

    def described(self) -> dict[str, Any]:
        if self.control:
            return {"control": self.control}
        return {"run": dict(self.run), "world": self.world, "items": self.items, "seed": self.seed}

    def key(self, *more: Any) -> str:
        text = json.dumps([self.described(), *more], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return worlds.HOME / "cells" / self.key()


def params_of(cell: Cell) -> Any:
    from tasks.settings.params import Params

    told = worlds.params(cell.world)
    told["image"]["runs"] = {"cell": {**cell.run, "seed": cell.seed}}
    return Params.model_validate(told)


def pretrained(cell: Cell) -> dict[str, Any]:
    """Train the cell's encoder, unless it is kept; what it cost and how its curves ended."""
    done = cell.folder / "pretrained.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text("utf-8"))
        return found
    from safetensors.torch import save_file

    resumed = (worlds.HOME / "checkpoints" / f"grid-{cell.key()}").exists()
    started = time.process_time()
    supervised = cell.run["objective"] == "supervised"
    encoder, last = _supervised(cell) if supervised else _train(cell)
    cell.folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous() for key, value in encoder.state_dict().items()}
    save_file(weights, cell.folder / "encoder.safetensors")
    spent = None if resumed else time.process_time() - started  # of a part says nothing
    found = {**cell.described(), "cpu_seconds": spent, "last": last}
    done.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    return found


def _train(cell: Cell) -> tuple[Any, dict[str, float]]:
    import numpy as np
    import torch

    from modalities.common.training.checkpoints import Checkpoints
    from modalities.common.training.loop import train
    from modalities.common.training.monitor import Silence
    from modalities.image.network import prepare
    from modalities.items import Arrays
    from tasks.data import dataset
    from tasks.pretrain import construct, plan_of

    torch.set_num_threads(1)
    params = params_of(cell)
    objective = construct(params, "cell")
    items = dataset.pool(worlds.data(cell.world)).items
    if cell.items:
        order = np.random.default_rng(cell.seed).permutation(len(items))
        items = Arrays(items.batch(np.sort(order[: cell.items]))["items"])
    at = np.linspace(0, len(items) - 1, 256).astype(int)
    checkpoints = Checkpoints(f"grid-{cell.key()}", "", worlds.HOME / "checkpoints")
    history = train(
        objective, items, plan_of(params, "cell"), Silence(),
        probe=prepare(torch.from_numpy(items.batch(at)["items"])), checkpoints=checkpoints,
    )  # fmt: skip
    checkpoints.clear()
    return objective.encoder, {k: v for row in history for k, v in row.items()}


def _supervised(cell: Cell) -> tuple[Any, dict[str, float]]:
    """An encoder trained with all labels, its length chosen on validation."""
    import torch

    from modalities.common.measuring.frozen import Setting
    from modalities.common.measuring.supervised import RECIPE, supervised
    from modalities.image.network import augment, build_encoder, prepare
    from tasks.data import dataset

    torch.set_num_threads(1)
    recipe = replace(
        RECIPE, epochs=cell.run["epochs"], batch_size=cell.run["batch_size"], min_steps=1
    )
    encoder, score = supervised(
        lambda: build_encoder("small"), dataset.load(worlds.data(cell.world)),
        Setting(prepare, augment, "bf16", "cpu"), seed=cell.seed, recipe=recipe,
    )  # fmt: skip
    return encoder, {"validation": score or 0.0}


def maker(cell: Cell) -> Callable[[], Any]:
    """Copies of the cell's encoder."""
    from safetensors.torch import load_file

    from modalities.image.network import build_encoder

    pretrained(cell)
    encoder = build_encoder(cell.run.get("encoder", "small"), **cell.run.get("encoder_options", {}))
    encoder.load_state_dict(load_file(cell.folder / "encoder.safetensors"))
    return lambda: copy.deepcopy(encoder)


def measured(
    cell: Cell,
    tasks: Tasks,
    *,
    world: str = "plain",
    coarse: bool = False,
) -> Rows:
    """What the cell's encoder reaches on tasks, with the value of every draw. Kept, too."""
    found: Rows = []
    for task, options in tasks:
        path = result(cell, (task, options), world, coarse)
        if not path.exists():
            rows = _measure(cell, task, options, world, coarse)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(rows) + "\n", "utf-8")
        found += json.loads(path.read_text("utf-8"))
    return found


def result(cell: Cell, task: tuple[str, Mapping[str, Any]], world: str, coarse: bool) -> Path:
    """Where what the cell's encoder reached on a task is kept."""
    name, options = task
    return cell.folder / f"{cell.key(name, dict(options), world, coarse)}.json"


def _measure(cell: Cell, task: str, options: Mapping[str, Any], world: str, coarse: bool) -> Rows:
    import torch

    from modalities.common.measuring.rows import Row
    from modalities.common.training.monitor import Silence
    from tasks.data import dataset
    from tasks.transfer import kind
    from tasks.transfer.measures import row_of

    make = None if cell.control else maker(cell)
    start = cell.control or "pretrained"
    torch.set_num_threads(1)
    splits = dataset.load(worlds.data(world))
    if coarse:
        splits = {name: families(split) for name, split in splits.items()}
    made = kind("image", task)(**options)
    found = made.run(start, make, splits, Silence(), seed=0, precision="bf16")
    return [row_of(row) | {"task": task} for row in found if isinstance(row, Row)]


def families(split: Any) -> Any:
    """The same pictures with coarser labels: vehicles in place of car, plane, ..."""
    import numpy as np

    from modalities.base import Labelled
    from tasks.playroom.world.toys import categories

    known = {kind.name: kind.family for kind in categories()}
    names = sorted(set(known.values()))
    code = np.array([names.index(known[name]) for name in split.classes] + [-1])
    return Labelled(split.items, code[split.labels], split.ids, names)
