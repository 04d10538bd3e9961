"""A small made-up checkout for the report's tests: every file that the stages leave."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from tasks.provenance import Now, record_file
from tasks.settings.params import Params

CLASSES = ("arch", "bell", "cone", "disc", "fork", "gear", "knot", "lamp", "star", "tube")
REACHED = {  # at 1, 5, 10, 50 labels per class and with all
    "rotation": [0.22, 0.44, 0.53, 0.68, 0.73],
    "moco_v2": [0.35, 0.61, 0.68, 0.77, 0.80],
    "scratch": [0.19, 0.43, 0.55, 0.72, 0.78],
    "random": [0.16, 0.29, 0.34, 0.43, 0.47],
    "majority": [0.1, 0.1, 0.1, 0.1, 0.1],
    "histogram": [0.14, 0.2, 0.23, 0.27, 0.3],
    "pixels": [0.15, 0.21, 0.24, 0.31, 0.33],
}
BUDGETS = (1, 5, 10, 50, "all")
PROTOCOLS = {"linear": 0.0, "knn": -0.05, "finetune": -0.02}


def params(
    runs: Iterable[str] | Mapping[str, Any] = ("rotation", "moco_v2"), **image: Any
) -> Params:
    section: dict[str, Any] = {
        "source": "raw/playroom/image",
        "labels": "raw/playroom/image",
        "runs": runs if isinstance(runs, Mapping) else {run: {"objective": run} for run in runs},
        "controls": ["scratch", "random", "majority", "histogram", "pixels"],
        "tasks": {"classification": {"budgets": list(BUDGETS), "draws": 5}},
    }
    made = {"playroom": {"make": ["image"]}, "image": {**section, **image}}
    return Params.model_validate(made)


def picture(kind: int, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """(size, size, 3) uint8: a figure with `kind` + 3 corners on a random ground."""
    ground, colour = (tuple(int(v) for v in rng.integers(40, 240, 3)) for _ in range(2))
    image = Image.new("RGB", (size, size), ground)
    x, y, radius = rng.uniform(12, 20), rng.uniform(12, 20), rng.uniform(7, 12)
    turn = rng.uniform(0, math.tau)
    many = 2 * (kind + 2)
    ring = [
        (x + r * math.cos(turn + math.tau * i / many), y + r * math.sin(turn + math.tau * i / many))
        for i in range(many)
        for r in [radius if i % 2 else radius * (0.35 + 0.6 * (kind % 2))]
    ]
    ImageDraw.Draw(image).polygon(ring, fill=colour)
    return np.asarray(image)


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def data(
    root: Path, classes: Sequence[str] = CLASSES, *, labelled: int = 12, unlabelled: int = 60,
    refused: Sequence[tuple[str, str]] = (),
) -> None:  # fmt: skip
    """data/image: train (labelled and not), val, test and quarantine."""
    rng = np.random.default_rng(0)
    folder = root / "data/image"
    folder.mkdir(parents=True)
    plan = [("train", k) for k in range(len(classes)) for _ in range(labelled)]
    plan += [("train", None)] * unlabelled
    plan += [(s, k) for s in ("val", "test") for k in range(len(classes)) for _ in range(8)]
    arrays = [picture(rng.integers(8) if k is None else k % 10, rng) for _, k in plan]
    if arrays:
        np.save(folder / "items.npy", np.stack(arrays))
    table = [
        {"id": f"{i:016x}", "split": split, "label": None if k is None else classes[k],
         "source": f"images/{i}.png", "sha256": f"{i:064x}", "status": "ok", "reason": None,
         "row": i, "extra": None}
        for i, (split, k) in enumerate(plan)
    ]  # fmt: skip
    table += [
        {"id": f"q{i}", "split": None, "label": None, "source": file, "sha256": "0" * 64,
         "status": "quarantined", "reason": reason, "row": -1, "extra": None}
        for i, (file, reason) in enumerate(refused)
    ]  # fmt: skip
    kinds = {name: pa.string() for name in table[0]} | {"row": pa.int64()}
    pq.write_table(pa.Table.from_pylist(table, pa.schema(kinds)), folder / "items.parquet")
    write_json(folder / "meta.json", {"modality": "image", "classes": sorted(classes),
                                      "fingerprint": "f" * 64})  # fmt: skip
    lines = "".join(f'"{file}","{reason}"\n' for file, reason in refused)
    (folder / "quarantine.csv").write_text("file,reason\n" + lines, "utf-8")


def model(root: Path, run: str, *, seed: int = 1, **metrics: Any) -> None:
    """models/RUN: an encoder with random weights and made-up curves."""
    import torch
    from safetensors.torch import save_file

    from modalities.image.network.factory import build

    folder = root / "models" / run
    plots = folder / "plots/metrics/train"
    plots.mkdir(parents=True)
    torch.manual_seed(seed)
    encoder = build("small")
    save_file(encoder.state_dict(), folder / "encoder.safetensors")
    config = {"modality": "image", "run": run, "objective": run, "encoder": "small",
              "encoder_options": {}, "options": {}, "dim": encoder.dim, "size": 32}  # fmt: skip
    write_json(folder / "config.json", config)
    found = {"loss": 0.91, "feature_spread": 0.92, "effective_rank": 39.3, "steps": 400}
    write_json(folder / "metrics.json", found | {"items": 6000} | metrics)
    rng = np.random.default_rng(seed)
    shapes = {"loss": lambda t: 4 * math.exp(-t / 90) + 1, "accuracy": lambda t: t / (t + 90),
              "feature_spread": lambda t: 0.4 + 0.5 * t / 400,
              "effective_rank": lambda t: 5 + 34 * t / 400}  # fmt: skip
    for name, shape in shapes.items():
        lines = [f"{t}\t{shape(t) * (1 + 0.02 * rng.normal())}\n" for t in range(0, 401, 2)]
        (plots / f"{name}.tsv").write_text("".join([f"step\t{name}\n", *lines]), "utf-8")


def row(run: str, budget: int | str, mean: float, *, half: float | None = 0.02, **more: Any) -> Any:
    """One row of a result; `half` None: a single draw."""
    control = run not in ("rotation", "moco_v2")
    draws = 1 if half is None else 5
    low, high = (None, None) if half is None else (max(0, mean - half), min(1, mean + half))
    made = {"modality": "image", "run": run, "objective": None if control else run,
            "task": "classification", "learner": "supervised", "protocol": "linear",
            "budget": budget, "metric": "accuracy", "higher_is_better": True, "draws": draws,
            "values": [mean] * draws, "mean": mean, "low": low, "high": high,
            "chosen": {"val": mean}}  # fmt: skip
    return made | more


def result(root: Path, run: str, *, budgets: Sequence[int | str] = BUDGETS, **more: Any) -> None:
    """results/RUN/classification, or a control's."""
    control = run not in ("rotation", "moco_v2")
    protocols = {"finetune": 0.0} if run == "scratch" else {run: 0.0} if control else PROTOCOLS
    protocols = {"linear": 0.0, "knn": -0.02} if run == "random" else protocols
    rows = [
        row(run, size, round(reached + less, 4), half=0.035 / (1 + place), protocol=protocol,
            chosen={"val": reached + less, "lr": 0.01})
        for protocol, less in protocols.items()
        for place, (size, reached) in enumerate(zip(BUDGETS, REACHED[run], strict=True))
        if size in budgets
    ]  # fmt: skip
    name = f"image-{run}" if control else run
    made = {"modality": "image", "run": run, "objective": run, "task": "classification",
            "rows": rows, "skipped": more.get("skipped", [])}  # fmt: skip
    write_json(root / "results" / name / "classification/metrics.json", made)


def cost(root: Path, stage: str, seconds: float, peak: float) -> None:
    entry = {"stage": stage, "seconds": seconds, "peak_mb": peak, "ended": 0}
    write_json(root / f".gleaner/costs/{stage}.json", entry)


def recorded(params: Params) -> None:
    """As if the stages had made all that is there from what is there now."""
    now = Now(params)
    for stage in now.stages.values():
        path = record_file(stage)
        if path and Path(stage.outs[0]).exists():
            write_json(path, now.made_of(stage))


def whole(root: Path, **more: Any) -> Params:
    """Everything that the default pipeline leaves."""
    refused = [("odd/ü & <b>.png", "truncated"), ("empty.jpg", "empty file"),
               ("x.png", "truncated")]  # fmt: skip
    data(root, refused=refused, **more)
    (root / "raw/playroom/image").mkdir(parents=True)
    for place, run in enumerate(("rotation", "moco_v2")):
        model(root, run, seed=place)
        result(root, run)
        cost(root, f"pretrain-image@{run}", 48.2 + 30 * place, 812)
        cost(root, f"transfer-image@{run}-classification", 21.3, 900)
    for control in ("scratch", "random", "majority", "histogram", "pixels"):
        result(root, control)
        cost(root, f"control-image@{control}-classification", 9.6, 640)
    cost(root, "playroom@image", 12.5, 410)
    return params()
