"""The stage `pretrain`: an objective's name and data without labels in, an encoder out."""

import json
import os
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from modalities import named
from modalities.common.network.trained import MODELS, WEIGHTS, opened, sha256
from modalities.items import UserError
from tasks import sources
from tasks.channel import Channel
from tasks.data import dataset, free_labels
from tasks.pretrain.processes import launch
from tasks.settings import options
from tasks.settings.params import Params
from tasks.settings.strict import NONE
from tasks.stage import output, write_json

if TYPE_CHECKING:
    from torch import Tensor

    from modalities.base import Encoder, Items, Labelled, Objective, Tell
    from modalities.common.training.loop import Plan, Row

PROBE = 512  # items on which the encoder's health is watched


def pretrain(params: Params, tell: Channel, *, run: str) -> None:
    """Train the encoder of `run`; leaves models/RUN."""
    from modalities.common.training.checkpoints import Checkpoints

    _refuse(params, run)
    with output(MODELS / run) as folder:
        if params.machine.processes > 1:
            launch(params.machine.processes, run, folder)
        else:
            work(params, tell, run, folder)
    Checkpoints(f"pretrain-{run}", "").clear()
    for picture in sorted((MODELS / run / "pictures").glob("*.png")):
        tell.picture(f"pretext task {picture.stem}", picture)


def _refuse(params: Params, run: str) -> None:
    """What can be known to be impossible before torch is imported."""
    modality = params.modality_of(run)
    size = params.run(run).batch_size
    found = sum(dataset.meta(Path("data") / modality)["counts"].get("train", {}).values())
    if size > found:
        raise UserError(
            f"params.yaml: {modality}.runs.{run}.batch_size: {size} is above the number of "
            f"training items in data/{modality}, {found}"
        )
    _start_digest(params, run)


def work(params: Params, tell: Channel, run: str, folder: Path) -> None:
    """Train in this process, one of one or of several, and write what is kept to `folder`."""
    import torch

    from modalities.common.steps.deterministic import deterministically
    from modalities.common.training.batches import Rows
    from modalities.common.training.checkpoints import Checkpoints
    from modalities.common.training.loop import train
    from tasks.pretrain.pictures import draw

    torch.set_num_threads(params.training.threads)
    modality = params.modality_of(run)
    data = dataset.pool(Path("data") / modality)
    plan = plan_of(params, run)
    probe = _probe(modality, data)
    checkpoints = Checkpoints(f"pretrain-{run}", _fingerprint(params, run, data.items))
    free = free_labels.columns(params.run(run), len(data.items))

    def trained() -> "tuple[Objective, list[Row]]":
        made = construct(params, run, tell)
        return made, train(
            made, data.items, plan, tell, probe=probe, checkpoints=checkpoints,
            workers=params.machine.workers, free=free,
        )  # fmt: skip

    objective, history = deterministically(trained, tell.warn)
    if int(os.environ.get("RANK", "0")) == 0:
        draw(objective, Rows(data.items, free), plan.seed, folder, tell)
        _write(folder, params, run, objective, (history, plan, len(data.items)))


def construct(params: Params, run: str, tell: "Tell | None" = None) -> "Objective":
    """The objective of a run with its encoder, at its starting weights."""
    import torch

    from modalities.base import Objective

    chosen, modality = params.run(run), params.modality_of(run)
    torch.manual_seed(_seed(params, run))
    encoder = named.network(modality).build_encoder(chosen.encoder, **chosen.encoder_options)
    if chosen.start != NONE:
        _begin(encoder, params, run, tell)
    kind = named.method(modality, "objectives", chosen.objective, Objective)
    if wrong := options.mismatch(modality, chosen.objective, chosen.encoder):
        raise UserError(f"params.yaml: {modality}.runs.{run}.encoder: {wrong}")
    made: Objective = kind(encoder, **chosen.options)
    return made


def _begin(encoder: "Encoder", params: Params, run: str, tell: "Tell | None") -> None:
    """Give an encoder the weights that its run starts from."""
    start = params.run(run).start
    tensors = opened(start).tensors
    try:
        fitted = encoder.adopt(tensors)
    except UserError as mistake:
        keys = f"{params.modality_of(run)}.runs.{run}.start"
        text = f"the weights of {start!r} do not fit: {mistake}"
        raise UserError(f"params.yaml: {keys}: {text}") from None
    if tell:
        tell.log(f"begins with the weights of {start}")
        for each in fitted:
            tell.log(f"made to fit: {each}")


def _start_digest(params: Params, run: str) -> str | None:
    """Of the weights that a run starts from; UserError where there are none of that name."""
    start = params.run(run).start
    return None if start == NONE else opened(start).digest


def plan_of(params: Params, run: str) -> "Plan":
    from modalities.common.training.loop import Plan

    chosen = params.run(run)
    return Plan(
        epochs=chosen.epochs, batch_size=chosen.batch_size, seed=_seed(params, run),
        precision=params.training.precision, optimizer=chosen.optimizer,
        learning_rate=chosen.learning_rate, weight_decay=chosen.weight_decay,
        warmup=chosen.warmup, clip=chosen.clip,
    )  # fmt: skip


def _seed(params: Params, run: str) -> int:
    seed = params.run(run).seed
    return params.training.seed if seed is None else seed


def _probe(modality: str, data: "Labelled") -> "Tensor":
    """A fixed batch, ready for the encoder, spread evenly over the data."""
    import numpy as np
    import torch

    rows = np.linspace(0, len(data.items) - 1, min(PROBE, len(data.items))).astype(int)
    return named.network(modality).prepare(
        torch.from_numpy(data.items.batch(np.unique(rows))["items"])
    )


def _fingerprint(params: Params, run: str, items: "Items") -> str:
    """A checkpoint fits only the very same run: parameters, data, code."""
    import torch

    from modalities.common.training.checkpoints import fingerprint

    chosen = params.run(run)
    values = {
        "code": sources.digest(sources.roots(params, "pretrain", run=run)),
        "labels": free_labels.fingerprint(chosen),
        "run": chosen.model_dump(),
        "start": _start_digest(params, run),
        "training": params.training.model_dump(),
        "items": items.digest(),
        "torch": torch.__version__,
    }
    return fingerprint(values)


def _write(
    folder: Path, params: Params, run: str, objective: "Objective",
    found: "tuple[list[Row], Plan, int]",
) -> None:  # fmt: skip
    """What models/RUN holds; the same bytes for the same run."""
    from safetensors.torch import save_file

    from tasks.pretrain.pictures import about

    (history, plan, items), encoder = found, objective.encoder
    for name, module in objective.kept().items():
        weights = module.state_dict()
        path = folder / f"{name}.safetensors"
        save_file({key: weights[key].cpu().contiguous() for key in weights}, path)
    last = {key: value for row in history for key, value in row.items() if key != "step"}
    numbers = {
        **last, "steps": plan.steps(items), "items": items, "epochs": plan.epochs,
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "run": run, "objective": params.run(run).objective,
    }  # fmt: skip
    _curves(folder, history)
    write_json(folder / "metrics.json", numbers)
    write_json(
        folder / "config.json",
        _config(params, run, encoder)
        | {"about": about(objective), "sha256": sha256(folder / WEIGHTS)},
    )


def _config(params: Params, run: str, encoder: "Encoder") -> dict[str, Any]:
    """Everything that is needed to build the encoder again and to know where it comes from."""
    chosen, modality = params.run(run), params.modality_of(run)
    schema = options.schema(
        options.ROOT / modality / "objectives" / f"{chosen.objective}.py", "Objective"
    )
    described = chosen.model_dump() | {
        "options": schema.model_validate(chosen.options).model_dump(),
        "modality": modality, "run": run, "seed": _seed(params, run), "dim": encoder.dim,
        "start_digest": _start_digest(params, run),
        "labels_fingerprint": free_labels.fingerprint(chosen),  # other labels, another models/RUN
        "precision": params.training.precision, **params.section(modality).measures,
    }  # fmt: skip
    plain: dict[str, Any] = json.loads(json.dumps(described))
    return plain


def _curves(folder: Path, history: "list[Row]") -> None:
    """The curves as DVCLive writes them, for `dvc plots show`; from the history, so whole."""
    from dvclive.live import Live

    # DVCLive looks for a repository around the working folder, and fails in one without commits.
    home = str(folder.resolve())
    with (
        TemporaryDirectory() as nowhere,
        chdir(nowhere),
        Live(home, dvcyaml=None, save_dvc_exp=False, report=None, monitor_system=False) as live,
    ):
        for row in history:
            live.step = int(row["step"])
            for name, value in row.items():
                if name != "step":
                    live.log_metric(name, value, timestamp=False)
