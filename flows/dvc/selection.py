"""Where a project is, what its stages cost, and what is checked before any of them."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from flows.dvc.graph import Stage
from modalities import named
from modalities.items import UserError
from tasks.settings.params import MODALITIES, Params
from tasks.stage import cost_file

LOGS = Path(".gleaner/logs")


def project(start: Path) -> Path:
    """The folder with dvc.yaml and params.yaml, here or above."""
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            return folder
    raise UserError(f"no dvc.yaml and params.yaml in {start} or above: start from the project")


def log_file(stage: str) -> Path:
    """Where a stage's full output goes, relative to the project."""
    return LOGS / f"{stage.replace('/', '_')}.log"


def cores(jobs: int) -> int:
    """`jobs`, or one per core that this process may use."""
    return jobs or len(os.sched_getaffinity(0))


def urgency(root: Path, stages: Sequence[Stage]) -> dict[str, float]:
    """Seconds from a stage's start to the end of the longest chain behind it, as far as known.

    The longest chain first keeps all cores busy until the end. A stage that never ran here counts
    what `meta: seconds:` says of it in dvc.yaml, else a second.
    """
    after = {s.name: 0.0 for s in stages}
    for stage in reversed(stages):
        after[stage.name] += cost(root, stage.name) or hint(stage)
        for name in stage.upstream:
            if name in after:
                after[name] = max(after[name], after[stage.name])
    return after


def wide(stages: Sequence[Stage], params: Params) -> set[str]:
    """The stages with `meta: cores: all` in dvc.yaml, unless Dask does their work elsewhere."""
    if params.machine.dask:
        return set()
    return {s.name for s in stages if s.meta.get("cores") == "all"}


def cost(root: Path, stage: str) -> float | None:
    """The seconds that a stage took when it last ran here."""
    try:
        told = json.loads((root / cost_file(stage)).read_text("utf-8"))
        return float(told["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def hint(stage: Stage) -> float:
    """`meta: seconds:` of a stage: a number, or one for each part of the names after the @."""
    told = stage.meta.get("seconds", 1.0)
    if isinstance(told, Mapping):
        parts = stage.name.partition("@")[2].split("-")
        told = next((told[part] for part in parts if part in told), 1.0)
    return float(told)


def check_sizes(params: Params) -> None:
    """Refuse a batch that is larger than the data, as far as one can know without reading it."""
    problems = []
    for modality in MODALITIES:
        section = getattr(params, modality)
        if not section.runs:
            continue
        count = item_count(params, modality)
        problems += [
            f"params.yaml: {modality}.runs.{name}.batch_size: found {run.batch_size}, but "
            f"{section.source} has {count} items; allowed: 1 to {count}"
            for name, run in section.runs.items()
            if run.batch_size > count
        ]
    if problems:
        raise UserError("\n".join(problems))


def item_count(params: Params, modality: str) -> int:
    """How many items pretraining may see at most."""
    section = getattr(params, modality)
    made = f"raw/playroom/{modality}"
    if section.source.rstrip("/") == made and modality in params.playroom.make:
        made_by = import_module(f"tasks.playroom.{modality}")
        return int(made_by.training_items(params))  # counted without making them
    if not Path(section.source).exists():
        raise UserError(
            f"params.yaml: {modality}.source: {section.source} does not exist; "
            f"point elsewhere with `glean data {modality} PATH`"
        )
    return len(named.reading(modality).find(Path(section.source), Path(section.labels)))
