"""The model card of an exported encoder: what it is, what it is worth, how to use it. No paths."""

import ast
import json
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flows.screen import tables
from modalities.items import UserError
from tasks.data import dataset
from tasks.provenance import Now
from tasks.results import read
from tasks.settings.params import Params
from tasks.settings.strict import NONE

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("scratch", "random")  # what the run has to beat
PACKAGES = ("gleaner", "torch", "torchvision", "safetensors", "onnx", "onnxscript")

CARD = """# {run}: an encoder for {modality}s, pretrained without labels

Turns a batch of {modality}s, (B, 3, {size}, {size}), into features, (B, {dim}).

## Training

{training}

## Results

{results}

## Use

Meant for {modality}s like those it was trained on: as features for a linear classifier or nearest
neighbours, or as a start for fine-tuning where labels are few.

**Input.** RGB, the centre square scaled to {size} x {size} pixels with antialiasing, float32,
(B, 3, {size}, {size}). From values of 0 to 255: `x = (pixels / 255 - mean) / std` by channel, with
`mean = {mean}` and `std = {std}`.
Neither file does this for you. B may be any number, the side is fixed.

Plain PyTorch, nothing else needed (for evaluation only, as is ONNX):

```python
import torch
encoder = torch.export.load("encoder.pt2").module()
features = encoder(x)                                   # (B, {dim})
```

ONNX:

```python
import onnxruntime
session = onnxruntime.InferenceSession("encoder.onnx")
(features,) = session.run(["features"], {{"pictures": x}})  # x: numpy, float32
```

The weights alone are in `encoder.safetensors`, under the names that the module from `encoder.pt2`
knows them by:

```python
from safetensors.torch import load_file
encoder.load_state_dict(load_file("encoder.safetensors"))
```

For fine-tuning, in a checkout of Gleaner:

```python
import json
from modalities.{modality}.network import build_encoder
config = json.load(open("config.json"))
encoder = build_encoder(config["encoder"], **config["encoder_options"])
encoder.load_state_dict(load_file("encoder.safetensors"))
```

## Limits

- It knows what its training data shows, with its biases; of other kinds of {modality}s its features
  may be worth no more than those of random weights. Measure before you rely on it.
- It was trained at {size} x {size} pixels: smaller details are invisible to it.
- The results above are of the data that this project held, and of no others.
- It names nothing by itself: it has no classifier.

## Versions

Written with {versions}.
"""


def text(params: Params, run: str, config: dict[str, Any]) -> str:
    """The card in Markdown; `config` is what is exported as config.json."""
    return CARD.format(
        run=run, modality=config["modality"], size=config["size"], dim=config["dim"],
        mean=config["input"]["mean"], std=config["input"]["std"],
        training=_training(params, run, config), results=_results(params, run, config["modality"]),
        versions=", ".join(_versions()),
    )  # fmt: skip


def _training(params: Params, run: str, config: dict[str, Any]) -> str:
    found = json.loads((Path("models") / run / "metrics.json").read_text("utf-8"))
    data = _data(config["modality"])
    options = ", ".join(f"{key} {value}" for key, value in config["options"].items())
    shape = ", ".join(f"{key} {value}" for key, value in config["encoder_options"].items())
    rows = [
        ("objective", f"`{config['objective']}`: {_paper(config)}"),
        ("options", options or "none"),
        ("encoder", f"`{config['encoder']}`" + (f" ({shape})" if shape else "")),
        ("parameters", f"{found['parameters']:,}"),
        ("starts from", _start(params, config)),
        ("trained on", f"{found['items']:,} {config['modality']}s, without their labels{data}"),
        ("epochs, steps", f"{found['epochs']:,}, {found['steps']:,}"),
        ("batch, optimiser", f"{config['batch_size']}, {config['optimizer']}, "
         f"learning rate {config['learning_rate']:g}, weight decay {config['weight_decay']:g}"),
        ("precision, seed", f"{config['precision']}, {config['seed']}"),
    ]  # fmt: skip
    rows += [
        (name.replace("_", " "), f"{found[name]:.3f}")
        for name in ("loss", "feature_spread", "effective_rank")
        if isinstance(found.get(name), int | float)
    ]
    return _table(["", ""], rows)


def _start(params: Params, config: dict[str, Any]) -> str:
    """Whose weights training began with, back to the first: their licence holds for these, too."""
    name = config.get("start", NONE)
    if name == NONE:
        return "random weights"
    way = []
    while name != NONE:
        section = params.section(params.modality_of(name))
        if name in section.published:
            way.append(f"published weights, `{Path(section.published[name].file).name}`")
            break
        way.append(f"the run `{name}`")
        name = params.run(name).start
    return f"{', which starts from '.join(way)} (sha256 {config['start_digest'][:16]})"


def _data(modality: str) -> str:
    """How many of the training items have a label, as far as that is still known."""
    try:
        counts = dataset.meta(Path("data") / modality)["counts"]["train"]
    except (UserError, KeyError):
        return ""
    return f" ({counts['labelled']:,} of the training items have one)"


def _paper(config: dict[str, Any]) -> str:
    """The first line of the objective's file: what it is and where it was published."""
    home = ROOT / "modalities" / config["modality"] / "objectives"
    tree = ast.parse((home / f"{config['objective']}.py").read_text("utf-8"))
    return " ".join((ast.get_docstring(tree) or "").split("\n\n", 1)[0].split())


def _results(params: Params, run: str, modality: str) -> str:
    """A table per task: the run beside the controls, by labels per class."""
    rows = [r for r in read(params, Now(params))[0] if r["modality"] == modality]
    rows = [r for r in rows if r["run"] in (run, *BESIDE)]
    tasks = list(dict.fromkeys(r["task"] for r in rows if r["run"] == run))
    if not tasks:
        return "None yet: this project has measured this encoder on no task with labels."
    return "\n\n".join(_task([r for r in rows if r["task"] == task]) for task in tasks)


def _task(rows: list[dict[str, Any]]) -> str:
    budgets = list(dict.fromkeys(str(r["budget"]) for r in rows))
    budgets.sort(key=lambda b: (b == "all", 0 if b == "all" else int(b)))
    found = sorted(tables.lines(rows).items(), key=lambda pair: pair[0][1] in BESIDE)
    drawn = [
        (name, protocol, *(_cell(by_budget.get(budget)) for budget in budgets))
        for (_, name, protocol), by_budget in found
    ]
    head = f"{rows[0]['task'].capitalize()}: {rows[0]['metric']} on test by labels per class"
    about = "mean (95 % interval over draws of labels); the protocol was chosen on validation."
    table = _table(["learner", "protocol", *budgets], drawn)
    beside = "`scratch`: trained from nothing; `random`: random weights"
    if any(row["other_encoder"] for row in rows):
        beside += "; both with another encoder, so they do not compare"
    return f"{head}, {about}\n{beside}.\n\n{table}"


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    if row["draws"] < 2 or row["low"] is None or row["high"] is None:
        return f"{row['mean']:.3f}"
    return f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _table(head: list[str], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in ln) + " |"
                     for ln in lines)  # fmt: skip


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:  # a checkout on the path, not installed
            continue
    return found
