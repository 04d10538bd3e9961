"""Results on disk as rows: what params.yaml names now, never what an earlier run left behind."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks import options
from tasks.params import MODALITIES, Params

KEYS = (
    "modality", "run", "objective", "task", "learner", "protocol", "budget", "metric",
    "higher_is_better", "draws", "mean", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where one run or control left what it reached on one task."""

    modality: str
    run: str  # a control goes by its bare name
    objective: str | None  # None: a control
    task: str
    folder: Path
    stage: str  # its stage's name in dvc.yaml

    @property
    def control(self) -> bool:
        return self.objective is None


def places(params: Params) -> list[Place]:
    """Every result that params.yaml asks for, in its order: runs, published weights, controls."""
    found = []
    for modality in MODALITIES:
        section = params.section(modality)
        for task in section.tasks:
            for run, made in section.runs.items():
                stage = f"transfer-{modality}@{run}-{task}"
                folder = Path("results") / run / task
                told = options.home(modality)
                found.append(Place(told, run, made.objective, task, folder, stage))
            for name in section.published:
                stage = f"transfer-checkpoint-{modality}@{name}-{task}"
                found.append(
                    Place(modality, name, None, task, Path("results") / name / task, stage)
                )
            for control in section.controls:
                stage = f"control-{modality}@{control}-{task}"
                folder = Path("results") / f"{modality}-{control}" / task
                found.append(Place(modality, control, None, task, folder, stage))
    return found


def finite(value: Any) -> Any:
    """The value, or None where it is a number that is not finite: JSON and pages have no NaN."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """A JSON file's finite content, or None without the file."""
    return finite(json.loads(path.read_text("utf-8"))) if path.exists() else None


def read(params: Params) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """All rows (KEYS, `chosen`, `other_encoder`); all skipped budgets (modality, run, task, budget,
    reason)."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for place in places(params):
        found = read_json(place.folder / "metrics.json") or {}
        head = {"modality": place.modality, "run": place.run, "task": place.task}
        for row in found.get("rows", []):
            if row.get("mean") is not None:
                full = {"low": None, "high": None, **row, **head, "objective": place.objective}
                chosen = row.get("chosen") or {}
                beside = {"chosen": chosen, "other_encoder": found.get("other_encoder")}
                rows.append({key: full[key] for key in KEYS} | beside)
        skipped += [{**head, **entry} for entry in found.get("skipped", [])]
    return rows, skipped


def summary_rows(params: Params) -> list[dict[str, Any]]:
    """The rows of report/summary.json."""
    return [{key: row[key] for key in KEYS} for row in read(params)[0]]
