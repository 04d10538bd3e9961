"""Measure what an encoder is good for, and what doing without one would have given.

Writes `metrics.json` (rows: one per protocol and budget, with the value of every draw),
`predictions.parquet` (what every row said about every test item) and a picture.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modalities import named
from modalities.common.network.trained import opened
from modalities.items import UserError
from tasks.channel import Channel
from tasks.data import free_labels
from tasks.settings import options
from tasks.settings.params import Params
from tasks.settings.strict import NONE
from tasks.stage import output, write_json

if TYPE_CHECKING:
    from modalities.base import Encoder, Labelled
    from modalities.common.measuring.rows import EncoderFactory, Row, Skipped, Task

SUMMARY = (
    "learner", "protocol", "budget", "metric", "higher_is_better", "draws", "mean", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class What:
    """Whose rows these are."""

    modality: str
    run: str  # a control goes by its bare name
    objective: str | None  # None: a control
    task: str
    other_encoder: str | None = None  # where it is not the controls', so that they do not compare


@dataclass(frozen=True)
class How:
    """What is measured, from where."""

    task: "Task"
    start: str
    encoder: "EncoderFactory | None"
    free: str  # the labeler whose free labels fine-tuning sees, too, or none


def transfer(params: Params, tell: Channel, run: str, task: str) -> None:
    """Measure a pretrained encoder: `results/RUN/TASK/`."""
    modality = params.modality_of(run)
    made = _task(params, modality, task)
    found = opened(run)
    config = found.config
    of_controls = (made.encoder, dict(made.encoder_options))
    other = None
    if (config["encoder"], config["encoder_options"]) != of_controls:
        other = config["encoder"]
        text = f"{other} {config['encoder_options']}"
        tell.warn(f"{run} has the encoder {text}, its controls have {made.encoder}: not comparable")
    what = What(options.home(modality), run, config["objective"], task, other)
    folder = Path("results") / run / task
    free = _learnt_from(config) if "joint" in getattr(made, "protocols", ()) else NONE
    _stage(params, tell, what, How(made, "pretrained", found.encoder, free), folder)


def _learnt_from(config: Mapping[str, Any]) -> str:
    """The free labels that a run learnt from, which joint training sees once more.

    dvc.yaml names models/RUN, which holds their fingerprint: with other labels it is another one.
    """
    name: str = config.get("labels", NONE)
    if name != NONE and free_labels.fingerprint_of(name) != config.get("labels_fingerprint"):
        text = f"has changed since models/{config['run']} learnt from it; run that first"
        raise UserError(f"{free_labels.LABELS / name}: {text}")
    return name


def control(params: Params, tell: Channel, modality: str, control: str, task: str) -> None:
    """Measure a control: `results/MODALITY-CONTROL/TASK/`."""
    made = _task(params, modality, task)
    what = What(modality, control, None, task)
    folder = Path("results") / f"{modality}-{control}" / task
    how = How(made, control, None, _joint(params, modality) if control == "joint" else NONE)
    if control == "supervised":
        how = replace(
            how, start="pretrained", encoder=supervised_encoder(params, tell, modality, made)
        )
    _stage(params, tell, what, how, folder)


def supervised_encoder(
    params: Params, tell: Channel, modality: str, made: Any
) -> "Callable[[], Encoder]":
    """Copies of an encoder that is trained with all labels when the first is asked for."""

    @cache
    def encoder() -> "Encoder":
        import torch

        from modalities.common.measuring.frozen import Setting
        from modalities.common.measuring.supervised import supervised
        from tasks.data.dataset import load

        network = named.network(modality)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        found, score = supervised(
            lambda: network.build_encoder(made.encoder, **made.encoder_options),
            load(Path("data") / modality),
            Setting(network.prepare, network.augment, params.training.precision, device),
            seed=params.training.seed,
        )
        if score is not None:
            tell.log(f"trained with all labels: accuracy {score:.3f} on validation")
        return found

    return lambda: deepcopy(encoder())


def _task(params: Params, modality: str, task: str) -> Any:
    """The task as params.yaml has it."""
    chosen = getattr(params, modality).tasks
    if task not in chosen:
        raise UserError(f"params.yaml: {modality}.tasks: no task {task!r}; there: {list(chosen)}")
    return kind(modality, task)(**chosen[task])


def kind(modality: str, task: str) -> Any:
    """The class of a task: its file's one class that is a Task."""
    from modalities.common.measuring.rows import Task

    return named.method(options.home(modality), "tasks", task, Task)


def _stage(params: Params, tell: Channel, what: What, how: How, folder: Path) -> None:
    import torch

    from modalities.common.steps import memory
    from modalities.common.steps.deterministic import deterministically
    from tasks.data.dataset import load

    memory.keep()
    torch.set_num_threads(params.training.threads)
    splits = load(Path("data") / what.modality)
    if how.free != NONE:
        free = free_labels.of(how.free, len(splits["train"].ids))["free_label"]
        splits["train"] = replace(splits["train"], free=free)

    def measured() -> "list[Row | Skipped]":
        return list(
            how.task.run(
                how.start, how.encoder, splits, tell,
                seed=params.training.seed, precision=params.training.precision,
            )
        )  # fmt: skip

    found = deterministically(measured, tell.warn)
    with output(folder) as out:
        metrics = write(out, what, found, splits)
        how.task.show(out)
    tell.progress(1.0, "done")
    _show(tell, metrics, folder)


def _joint(params: Params, modality: str) -> str:
    """The labeler whose free labels the control `joint` learns from."""
    name: str = getattr(params.section(modality), "joint", NONE)
    if name == NONE:
        text = "the control joint needs free labels; expected a labeler's name, found none"
        raise UserError(f"params.yaml: {modality}.joint: {text}")
    return name


def write(
    out: Path, what: What, found: "list[Row | Skipped]", splits: "dict[str, Labelled]"
) -> dict[str, Any]:
    """All files of a result; the content of its metrics.json."""
    from modalities.common.measuring.rows import Row, Skipped
    from tasks.transfer.measures import draw_picture, row_of, write_predictions

    rows = [each for each in found if isinstance(each, Row)]
    skipped = [each for each in found if isinstance(each, Skipped)]
    metrics = {
        "modality": what.modality,
        "run": what.run,
        "objective": what.objective,
        "task": what.task,
        "other_encoder": what.other_encoder,
        "rows": [row_of(row) for row in rows],
        "skipped": [{"budget": each.budget, "reason": each.reason} for each in skipped],
    }
    write_json(out / "metrics.json", metrics)
    write_predictions(out / "predictions.parquet", rows, splits.get("test"))
    if rows:
        draw_picture(out / "accuracy.png", metrics)
    return metrics


def _show(tell: Channel, metrics: dict[str, Any], folder: Path) -> None:
    from tasks.transfer.measures import leading

    for each in metrics["skipped"]:
        tell.log(f"budget {each['budget']}: skipped, {each['reason']}")
    if not metrics["rows"]:
        return
    rows = leading(metrics["rows"])
    tell.table(
        rows[0]["metric"],
        [
            {"protocol": row["protocol"], "budget": row["budget"]}
            | {key: round(row[key], 3) for key in ("mean", "low", "high")}
            for row in rows
        ],
    )
    tell.metrics({f"{row['protocol']} {row['budget']}": row["mean"] for row in rows})
    tell.picture(rows[0]["metric"], folder / "accuracy.png")


def summary_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of one metrics.json in the form of report/summary.json."""
    head = {key: metrics[key] for key in ("modality", "run", "objective", "task")}
    return [head | {key: row[key] for key in SUMMARY} for row in metrics["rows"]]
