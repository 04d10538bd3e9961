"""Runs, free labels and published weights in params.yaml; their defaults decide results."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from tasks.settings.strict import NONE, Natural, Positive, Strict


class Training(Strict):
    """What holds for every training run."""

    seed: Natural = 0
    precision: Literal["fp32", "bf16"] = "bf16"
    threads: Positive = 1


class Run(Strict):
    """One pretraining run."""

    objective: str
    options: dict[str, Any] = {}
    encoder: str = "small"
    encoder_options: dict[str, Any] = {}
    epochs: Positive = 20
    batch_size: Positive = 256
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    learning_rate: Annotated[float, Gt(0)] = 2e-3
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    warmup: Annotated[float, Ge(0), Le(1)] = 0.05  # share of all steps
    clip: Annotated[float, Ge(0)] = 1.0  # gradient norm; 0: none
    seed: Natural | None = None  # in place of training.seed
    start: str = NONE  # the run or checkpoint whose weights it begins with; dvc.yaml wants it told


class TaughtRun(Run):
    """A run of a modality that has labelers: it says which free labels it learns from, or none."""

    labels: str  # a labeler's name, or none


class LabelerChoice(Strict):
    """One set of free labels."""

    labeler: str
    options: dict[str, Any] = {}
    run: str = "none"  # the run whose features labels are made from, where a labeler needs one


class RunLabelerChoice(LabelerChoice):
    """Free labels of a modality with labelers that need a run: all say which, or none."""

    run: str


class Checkpoint(Strict):
    """Published weights, measured as a run is: a control."""

    encoder: str
    file: str  # safetensors, or a state dict as torch saves it
    encoder_options: dict[str, Any] = {}
