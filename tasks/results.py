"""Results on disk as rows: what params.yaml names and what is of now, never what an earlier run
left behind. The report, the terminal and the model card all ask here, so they say the same.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.provenance import Now
from tasks.settings import options
from tasks.settings.params import MODALITIES, Params
from tasks.stage import read_json

KEYS = (
    "modality", "run", "objective", "task", "learner", "protocol", "budget", "metric",
    "higher_is_better", "draws", "mean", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class ExpectedResult:
    """Where one run or control left what it reached on one task."""

    modality: str  # whose items it was measured on
    run: str  # a control goes by its bare name
    objective: str | None  # None: a control
    task: str
    folder: Path
    stage: str  # its stage's name in dvc.yaml
    demonstration: bool  # of the Playroom, beside the user's own data

    @property
    def control(self) -> bool:
        return self.objective is None


def expected_results(params: Params) -> list[ExpectedResult]:
    """Every result that params.yaml asks for, in its order: runs, published weights, controls."""
    found = []
    for modality in MODALITIES:
        section, made = params.section(modality), modality in params.demonstration
        # Controls on the Playroom's pictures are what the user's own clips are held against.
        beside = made and not params.yardstick(modality)
        for task in section.tasks:
            for run, chosen in section.runs.items():
                stage = f"transfer-{modality}@{run}-{task}"
                folder = Path("results") / run / task
                told, kind = options.home(modality), chosen.objective
                found.append(ExpectedResult(told, run, kind, task, folder, stage, made))
            for name in section.published:
                stage = f"transfer-checkpoint-{modality}@{name}-{task}"
                folder = Path("results") / name / task
                found.append(ExpectedResult(modality, name, None, task, folder, stage, made))
            for control in section.controls:
                stage = f"control-{modality}@{control}-{task}"
                folder = Path("results") / f"{modality}-{control}" / task
                found.append(ExpectedResult(modality, control, None, task, folder, stage, beside))
    return found


def read(params: Params, now: Now) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Of all results that are current, the demonstration's last: rows (KEYS, `chosen`, `values`
    of the draws, `other_encoder`, `demonstration`); skipped budgets (modality, run, task, budget,
    reason, `demonstration`)."""
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for place in sorted(current(params, now), key=lambda place: place.demonstration):
        found = read_json(place.folder / "metrics.json") or {}
        head = {"modality": place.modality, "run": place.run, "task": place.task,
                "demonstration": place.demonstration}  # fmt: skip
        for row in found.get("rows", []):
            if row.get("mean") is not None:
                full = {"low": None, "high": None, **row, **head, "objective": place.objective}
                chosen = row.get("chosen") or {}
                beside = {"chosen": chosen, "other_encoder": found.get("other_encoder")}
                beside |= {"demonstration": place.demonstration, "values": row.get("values")}
                rows.append({key: full[key] for key in KEYS} | beside)
        skipped += [{**head, **entry} for entry in found.get("skipped", [])]
    return rows, skipped


def current(params: Params, now: Now) -> list[ExpectedResult]:
    """The places whose results were measured on what is there now, if on anything."""
    return [place for place in expected_results(params) if now.current(place.stage)]


@dataclass(frozen=True)
class LeftOut:
    """Outputs that are there and not of now, for one and the same reasons."""

    stages: tuple[str, ...]
    reasons: tuple[str, ...]

    @property
    def renew(self) -> str:
        """The command that makes them anew."""
        if len(self.stages) == 1:
            return f"glean run {self.stages[0]}"
        about = {modality_of(stage) for stage in self.stages}
        return f"glean run --only {about.pop()}" if len(about) == 1 else "glean run --all"


def left_out(now: Now) -> list[LeftOut]:
    """What a person is told of all that is stale."""
    shared: dict[tuple[str, ...], list[str]] = {}
    for entry in now.stale():
        shared.setdefault(tuple(entry["reasons"]), []).append(entry["stage"])
    return [LeftOut(tuple(stages), reasons) for reasons, stages in shared.items()]


def modality_of(stage: str) -> str:
    """`image` of `ingest-image`, `transfer-image@a-b` and `playroom@image`."""
    group, _, instance = stage.partition("@")
    return instance if group == "playroom" else group.rpartition("-")[2]
