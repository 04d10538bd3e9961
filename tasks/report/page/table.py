"""The result table as the template wants it: runs and controls down, budgets across."""

import json
from typing import Any

from tasks.report import words
from tasks.report.facts import Facts
from tasks.report.verdict import budgets, choose, validation

Row = dict[str, Any]


def groups(facts: Facts) -> list[dict[str, Any]]:
    """One result per modality, task and metric, in the order of params.yaml; the demonstration's
    apart and last."""
    found: dict[tuple[str, str, str, bool], list[Row]] = {}
    for row in facts.rows:
        key = row["modality"], row["task"], row["metric"], row["demonstration"]
        found.setdefault(key, []).append(row)
    return [
        {"modality": key[0], "task": key[1], "metric": key[2], "demonstration": key[3],
         "rows": rows, "skipped": _skipped(facts.skipped, key[0], key[1])}
        for key, rows in found.items()
    ]  # fmt: skip


def _skipped(entries: list[dict[str, Any]], modality: str, task: str) -> list[dict[str, Any]]:
    """Each skipped budget with its reason once."""
    mine = [e for e in entries if (e["modality"], e["task"]) == (modality, task)]
    once = {(str(e["budget"]), e["reason"]): e for e in mine}
    return [{"budget": e["budget"], "reason": e["reason"]} for e in once.values()]


def tables(group: dict[str, Any]) -> dict[str, Any]:
    """`short`: what validation chose, one line per run; `full`: every learner and protocol."""
    rows: list[Row] = group["rows"]
    skipped = [{"budget": entry["budget"]} for entry in group["skipped"]]
    sizes = budgets([*rows, *skipped])
    short, full = [], []
    names = {row["run"]: row["objective"] is None for row in rows}
    for name in sorted(names, key=names.__getitem__):  # runs, then controls
        mine = [row for row in rows if row["run"] == name]
        picks = [choose(r for r in mine if r["budget"] == size) for size in sizes]
        best = [_is_best(rows, pick) for pick in picks]
        cells = [_cell(p, b, named=True) for p, b in zip(picks, best, strict=True)]
        other = mine[0].get("other_encoder")
        note = f"encoder: {other}" if other else words.CONTROLS.get(name, "")
        short.append(_line(mine[0], note, cells))
        for key in dict.fromkeys((row["learner"], row["protocol"]) for row in mine):
            kin = [row for row in mine if (row["learner"], row["protocol"]) == key]
            here = [next((r for r in kin if r["budget"] == size), None) for size in sizes]
            several = len({(row["learner"], row["protocol"]) for row in mine}) > 1
            marks = [several and r is not None and r in picks for r in here]
            cells = [_cell(r, m, named=False) for r, m in zip(here, marks, strict=True)]
            full.append(_line(mine[0], words.protocol(kin[0]), cells))
    heads = [str(size) for size in sizes]
    return {"budgets": heads, "short": short, "full": full, "skipped": group["skipped"]}


def _line(row: Row, note: str, cells: list[dict[str, Any] | None]) -> dict[str, Any]:
    control = row["objective"] is None
    objective = "" if control or row["objective"] == row["run"] else row["objective"]
    return {"name": row["run"], "control": control, "objective": objective, "note": note,
            "cells": cells}  # fmt: skip


def _is_best(rows: list[Row], pick: Row | None) -> bool:
    """Whether validation prefers this run to every other one at its budget."""
    if pick is None or pick["objective"] is None:
        return False
    rivals = [r for r in rows if r["objective"] is not None and r["budget"] == pick["budget"]]
    return len({r["run"] for r in rivals}) > 1 and choose(rivals) is pick


def _cell(row: Row | None, best: bool, *, named: bool) -> dict[str, Any] | None:
    if row is None:
        return None
    return {
        "mean": words.number(row["mean"], row["metric"]),
        "half": words.half_width(row),
        "title": _title(row),
        "best": best,
        "protocol": words.protocol(row) if named else "",
    }


def _title(row: Row) -> str:
    """What stands behind a number, for a pointer at rest."""
    said = [words.interval(row)]
    score = validation(row)
    if score is not None:
        said.append(f"validation {words.number(score, row['metric'])}{words.unit(row['metric'])}")
    others = {key: value for key, value in row["chosen"].items() if key != "val"}
    if others:
        said.append(
            "chosen: " + json.dumps(others, ensure_ascii=False).strip("{}").replace('"', "")
        )
    return "; ".join(said)
