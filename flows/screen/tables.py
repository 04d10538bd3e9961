"""The result table: what each run and each control is worth, by budget, for a terminal."""

from typing import Any

from rich.table import Table

from tasks.results import LeftOut
from tasks.transfer.metrics import is_fraction

FEW = 3  # names, or reasons, in a line

Row = dict[str, Any]


def _validation(row: Row) -> float | None:
    """What the row reached on validation, the only figure that may choose between protocols."""
    value = (row.get("chosen") or {}).get("val")
    return float(value) if isinstance(value, int | float) else None


def lines(rows: list[Row]) -> dict[tuple[str, str, str], dict[str, Row]]:
    """(task, run, protocol) -> budget -> row: per run the protocol that validation prefers.

    Protocols whose validation figures are unknown are all kept: choosing by the test figures would
    flatter.
    """
    table: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        budgets = table.setdefault((row["task"], row["run"], row["protocol"]), {})
        budgets[str(row["budget"])] = row
    best: dict[tuple[str, str], tuple[float, str]] = {}
    for (task, run, protocol), budgets in table.items():
        scores = [s for r in budgets.values() if (s := _validation(r)) is not None]
        if scores:
            mine = sum(scores) / len(scores), protocol
            best[task, run] = max(best.get((task, run), mine), mine)
    return {k: v for k, v in table.items() if k[:2] not in best or best[k[:2]][1] == k[2]}


def _order(budget: str) -> tuple[int, int]:
    return (1, 0) if budget == "all" else (0, int(budget))


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    scale = 100 if is_fraction(row["metric"]) else 1
    mean = f"{scale * row['mean']:.1f}"
    if row["draws"] < 2 or row["low"] is None or row["high"] is None:
        return mean
    return f"{mean} ±{scale * (row['high'] - row['low']) / 2:.1f}"


def tables(rows: list[Row]) -> list[tuple[str, Table]]:
    """A title and a table per task, the runs first, each control after them; the demonstration's
    tables come last."""
    drawn = []
    for task in sorted(dict.fromkeys(map(_task, rows)), key=lambda task: task[3]):
        mine = [r for r in rows if _task(r) == task]
        percent = " in %" if is_fraction(task[2]) else ""
        told = "by labels per class, mean ± 95 % interval over draws"
        shown = "demonstration, not your data: " if task[3] else ""
        drawn.append((f"{shown}{task[0]} {task[1]}: {task[2]}{percent} {told}", _table(mine)))
    return drawn


def _task(row: Row) -> tuple[str, str, str, bool]:
    return row["modality"], row["task"], row["metric"], row.get("demonstration", False)


def _table(rows: list[Row]) -> Table:
    budgets = sorted({str(r["budget"]) for r in rows}, key=_order)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", no_wrap=True)
    table.add_column("by", no_wrap=True)
    for budget in budgets:
        table.add_column(budget, justify="right", no_wrap=True)
    better = max if rows[0]["higher_is_better"] else min
    top = {b: better(r["mean"] for r in rows if str(r["budget"]) == b) for b in budgets}
    controls = {r["run"] for r in rows if r["objective"] is None}
    found = sorted(lines(rows).items(), key=lambda item: item[0][1] in controls)
    for (_, run, protocol), by_budget in found:
        cells = []
        for budget in budgets:
            row = by_budget.get(budget)
            text = _cell(row)
            cells.append(f"[bold]{text}[/]" if row and row["mean"] == top[budget] else text)
        style = "dim" if run in controls else None
        table.add_row(run, "" if protocol == run else protocol, *cells, style=style)
    return table


def skipped(entries: list[Row]) -> list[str]:
    """What could not be measured, a line per reason."""
    told = [f"{e['modality']} {e['task']}, budget {e['budget']}: {e['reason']}" for e in entries]
    return [f"skipped: {line}" for line in dict.fromkeys(told)]


def left_out(found: list[LeftOut]) -> list[str]:
    """What is on disk and not of now: what, why, and the command that renews it."""
    told = []
    for each in found:
        names, reasons = _few(each.stages, ", "), _few(each.reasons, "; ")
        told.append(f"left out: {names}: {reasons}. Renew: {each.renew}")
    return told


def _few(found: tuple[str, ...], between: str) -> str:
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return between.join(found[:FEW]) + more


def quarantine(found: dict[str, Any]) -> list[str]:
    """`image: 3 files quarantined (2 truncated, 1 empty)`."""
    told = []
    for entry in found.get("quarantine", []):
        if entry.get("count"):
            reasons = entry.get("reasons") or {}
            detail = ", ".join(f"{n} {reason}" for reason, n in sorted(reasons.items()))
            text = f"{entry['modality']}: {entry['count']} files quarantined"
            told.append(f"{text} ({detail})" if detail else text)
    return told
