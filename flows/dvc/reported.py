"""The report, and whether what it says is of now."""

import json
from pathlib import Path
from typing import Any

from tasks.provenance import Now
from tasks.results import KEYS, read
from tasks.settings.params import Params

SUMMARY = Path("report/summary.json")
PAGE = Path("report/index.html")

Row = dict[str, Any]


def summary(root: Path) -> dict[str, Any] | None:
    """report/summary.json, or None when there is none that can be read."""
    try:
        found = json.loads((root / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def of_now(root: Path, params: Params) -> bool:
    """Whether the report, if there is one, says what is so: the same rows, the same left out."""
    found = summary(root)
    if found is None or "stale" not in found:
        return found is None
    now = Now(params)
    rows = [{key: row[key] for key in KEYS} for row in read(params, now)[0]]
    there = [{key: row.get(key) for key in KEYS} for row in found.get("rows", [])]
    return found["stale"] == now.stale() and _sorted(rows) == _sorted(there)


def _sorted(rows: list[Row]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
