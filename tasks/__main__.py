"""`python -m tasks NAME ...`: run one stage as a plain process."""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.channel import Channel

# name -> (what it does, its arguments)
STAGES = {
    "playroom": ("generate the default data", ["modality"]),
    "ingest": ("read a source folder", ["modality"]),
    "label": ("make free labels with an off-the-shelf tool", ["labels"]),
    "pretrain": ("train an encoder without labels", ["run"]),
    "checkpoint": ("take published weights in place of a run", ["checkpoint"]),
    "transfer": ("measure what an encoder is good for", ["run", "task"]),
    "control": ("measure what a control is good for", ["modality", "control", "task"]),
    "report": ("draw the report", []),
}

ROOMS = {"checkpoint": "published", "control": "transfer"}  # where a stage lies under another name


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    names = top.add_subparsers(dest="stage", required=True, metavar="NAME")
    for name, (text, arguments) in STAGES.items():
        stage = names.add_parser(name, help=text, description=text)
        for argument in arguments:
            stage.add_argument(argument)
    return top


def address(stage: str, values: dict[str, str]) -> str:
    """The stage's name in dvc.yaml: `transfer`, {run: a, task: b} -> `transfer-image@a-b`."""
    from tasks.settings.params import load

    names = list(values.values())
    if stage == "playroom":
        return f"playroom@{names[0]}"
    if stage == "report":
        return "report"
    if list(values) == ["modality"]:
        return f"{stage}-{names[0]}"
    if stage == "label":
        return f"label-{load().modality_of_labels(names[0])}@{names[0]}"
    params = load()
    modality = values["modality"] if stage == "control" else params.modality_of(names[0])
    if stage == "transfer" and names[0] in params.section(modality).published:
        stage = "transfer-checkpoint"
    return f"{stage}-{modality}@" + "-".join(v for k, v in values.items() if k != "modality")


def main() -> int:
    values = vars(parser().parse_args())
    stage = values.pop("stage")
    from modalities.items import UserError
    from tasks.channel import say_mistake
    from tasks.settings.params import load

    try:
        params = load()
        name = address(stage, values)
    except UserError as mistake:
        say_mistake(mistake)
        return 1
    # Before anything imports numpy: threads are part of the result, so they are set, not found.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(params.training.threads)
    from importlib import import_module

    from tasks.provenance import recorded
    from tasks.stage import run_stage

    module = import_module(f"tasks.{ROOMS.get(stage, stage)}")

    def body(tell: "Channel") -> None:
        with recorded(params, name):
            getattr(module, stage)(params, tell, **values)

    return run_stage(name, body)


if __name__ == "__main__":
    raise SystemExit(main())
