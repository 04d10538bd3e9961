"""What going on from other weights was worth: a run held against its start, measured as it is."""

from collections.abc import Iterator
from typing import Any

from tasks.report import words
from tasks.report.verdict import budgets, choose, headline_budget, lead
from tasks.settings.params import MODALITIES, Params
from tasks.settings.strict import NONE
from tasks.transfer.measures import interval

Row = dict[str, Any]
GROUP = ("modality", "task", "metric", "demonstration")  # what may be compared


def worth(params: Params, rows: list[Row]) -> list[dict[str, Any]]:
    """By task and metric, an entry for each run among the results whose start is among them."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault(tuple(row[key] for key in GROUP), []).append(row)
    found = []
    for those in alike.values():
        for run, start in _started(params):
            if pair := _pair(those, run, start):
                found.append(_entry(start, *pair))
    return found


def said(entry: dict[str, Any]) -> str:
    """The entry as a sentence."""
    metric, half, draws = entry["metric"], entry["half"], entry["draws"]
    gain = words.gain(entry["worth"], metric)
    sure = f" ± {words.number(half, metric)}" if half is not None else ""
    doubt = ""
    if half is None:
        doubt = " Its draws of labels say nothing of how sure that is."
    elif abs(entry["worth"]) <= half:
        doubt = f" The interval includes 0, so {draws} draws cannot tell them apart."
    reached, base = (words.number(entry[key], metric) for key in ("run_mean", "start_mean"))
    unit = words.unit(metric)
    return (
        f"Going on from {entry['start']} was worth {gain}{sure}: with "
        f"{words.budget(entry['budget'])}, {entry['run']} reaches {reached}{unit} where "
        f"{entry['start']} as it is reaches {base}{unit}.{doubt}"
    )


def _started(params: Params) -> Iterator[tuple[str, str]]:
    """The runs that begin with the weights of others, and these."""
    for modality in MODALITIES:
        for name, run in params.section(modality).runs.items():
            if run.start != NONE:
                yield name, run.start


def _pair(rows: list[Row], run: str, start: str) -> tuple[Row, Row] | None:
    """What validation chose of both at the headline's budget; None where one was not measured."""
    mine, theirs = ([row for row in rows if row["run"] == name] for name in (run, start))
    shared = [size for size in budgets(mine) if size in budgets(theirs)]
    if not shared:
        return None
    size = headline_budget(shared)
    one, base = (choose(r for r in each if r["budget"] == size) for each in (mine, theirs))
    return (one, base) if one and base else None


def _entry(start: str, one: Row, base: Row) -> dict[str, Any]:
    mine, theirs = one["values"] or [], base["values"] or []
    half = None
    if len(mine) == len(theirs) >= 2:  # the same draws of labels: their number decides them
        mean, low, _ = interval([a - b for a, b in zip(mine, theirs, strict=True)])
        half = (mean - low) or None  # with all labels draws do not differ
    return {
        **{key: one[key] for key in GROUP}, "run": one["run"], "start": start,
        "budget": one["budget"], "draws": one["draws"], "worth": lead(one, base), "half": half,
        "run_mean": one["mean"], "start_mean": base["mean"],
    }  # fmt: skip
