"""The encoder of a run for others: files that load without Gleaner, and a card that describes them.

Shapes: B pictures, S the side that the encoder was trained on, D its features.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from flows.export import card
from modalities.common.network.trained import CONFIG, MODELS, WEIGHTS, Start, opened
from modalities.items import UserError
from tasks.settings.params import Params, load

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from modalities.base import Encoder

NEEDED = (WEIGHTS, CONFIG, "metrics.json")
IN_ONE_FILE = 1_500_000_000  # bytes of weights: ONNX (protobuf) holds at most 2 GB in one file


def export(run: str, folder: Path) -> None:
    """Write the encoder of `run` to `folder`, which must be empty or not exist; all or nothing.

    `encoder.safetensors` and `config.json` as trained, `encoder.pt2` (torch.export) and
    `encoder.onnx`, both (B, 3, S, S) float -> (B, D) float for any B, and a card, `README.md`.
    """
    params, folder = load(), folder.resolve()
    _trained(params, run)
    _refuse(folder)
    start = opened(run)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        _write(params, run, start, part)
        folder.mkdir(exist_ok=True)
        for path in sorted(part.iterdir()):
            path.replace(folder / path.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _trained(params: Params, run: str) -> None:
    """UserError for what is no run, or not trained yet."""
    params.run(run)
    missing = [name for name in NEEDED if not (MODELS / run / name).is_file()]
    if missing:
        raise UserError(
            f"{MODELS / run}: {missing[0]} not found: the run {run!r} is not trained yet; "
            f"`glean run {run}` trains it"
        )


def _refuse(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file; expected a new or empty folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; expected a new or empty folder")


def _write(params: Params, run: str, start: Start, folder: Path) -> None:
    from tasks.stage import write_json

    config = dict(start.config)
    shutil.copyfile(start.folder / WEIGHTS, folder / WEIGHTS)
    with _quiet():
        program = _program(start.encoder(), config["size"])
        _save(program, folder)
    described = config | {"input": _input(config["size"]), "output": ["B", config["dim"]]}
    write_json(folder / CONFIG, described)
    (folder / "README.md").write_text(card.text(params, run, described), "utf-8")


def _input(size: int) -> dict[str, Any]:
    """What the encoder wants, in words that a program can read."""
    from modalities.image.network.augmentation import MEAN, STD

    return {
        "shape": ["B", 3, size, size], "type": "float32", "channels": "RGB",
        "mean": list(MEAN), "std": list(STD), "scale": 1 / 255,
    }  # fmt: skip


def _program(encoder: "Encoder", size: int) -> "ExportedProgram":
    """The encoder as a graph of torch's own operations, for evaluation, for any B."""
    import torch

    encoder.eval()
    example = torch.zeros(2, 3, size, size)  # with B = 1 torch would take B for a constant
    batch = torch.export.Dim("batch")
    program = torch.export.export(encoder, (example,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine
    return program


def _save(program: "ExportedProgram", folder: Path) -> None:
    import torch

    torch.export.save(program, folder / "encoder.pt2")
    found = torch.onnx.export(
        program, input_names=["pictures"], output_names=["features"], dynamo=True, verbose=False,
        dynamic_shapes=({0: "batch"},),
    )  # fmt: skip
    assert found is not None
    for node in found.model.graph:
        node.metadata_props.clear()  # names of modules, paths of this machine
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    found.save(folder / "encoder.onnx", external_data=size > IN_ONE_FILE)


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings, logs or messages of the exporters; their exceptions pass."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
