"""What programs read: report/summary.json, and report/inputs.json, which DVC tracks."""

import hashlib
import json
from pathlib import Path
from typing import Any

from tasks.report.facts import Facts
from tasks.report.page import starts
from tasks.results import KEYS
from tasks.settings.params import MODALITIES

# items.npy may be huge: meta.json's fingerprint is a digest of its content.
DATA = ("items.parquet", "meta.json", "quarantine.csv", "metrics.json")
SECTIONS = {"playroom", "training", "report", *MODALITIES}  # those that change what the page says


def summary(facts: Facts, own: dict[str, Any]) -> dict[str, Any]:
    """The form that programs rely on; `own` is this stage's cost."""
    quarantine = [
        {"modality": name, "count": len(data.quarantine), "reasons": data.reasons}
        for name, data in facts.data.items()
    ]
    rows = [{key: row[key] for key in KEYS} for row in facts.rows]
    return {
        "version": 1, "rows": rows, "stages": [*facts.stages, own], "quarantine": quarantine,
        "demonstration": sorted(facts.params.demonstration), "stale": facts.stale,
        "starts": starts.worth(facts.params, facts.rows),
    }  # fmt: skip


def inputs(facts: Facts) -> dict[str, Any]:
    """sha256 of every file that the page was made from (costs aside) and of the parameters."""
    paths = [Path("data") / name / file for name in facts.data for file in DATA]
    for run in facts.runs:
        paths += [path for path in run.folder.rglob("*") if path.is_file()]
    folders = [place.folder for place, _ in facts.drawn] + [free.folder for free in facts.free]
    paths += [folder / "metrics.json" for folder in folders]
    for drawn in [*(drawn for _, drawn in facts.drawn), *(free.drawn for free in facts.free)]:
        paths += [*drawn.pictures, *drawn.fragments]
    files = {path.as_posix(): _sha256(path) for path in sorted(set(paths)) if path.exists()}
    chosen = facts.params.model_dump(mode="json", include=SECTIONS)
    text = json.dumps(chosen, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return {"version": 1, "files": files, "params": digest, "stale": facts.stale}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
