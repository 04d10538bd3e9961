"""The results as the template wants them: by task, each with its metrics and what was drawn."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Any

from tasks.report import drawn, words
from tasks.report.drawing import charts
from tasks.report.facts import Facts
from tasks.report.page import starts, table
from tasks.report.verdict import budgets, choose, headline_budget
from tasks.results import ExpectedResult

PICTURES = 4  # of one run or control
ANSWER, FOUND = "answer.png", "found.png"  # for all runs and controls in one figure


def tasks(facts: Facts) -> list[dict[str, Any]]:
    """One entry per modality and task: its metrics, the first one before all, and pictures."""
    found = []
    for (modality, task), groups in groupby(table.groups(facts), _key):
        metrics = [_result(facts, group) for group in groups]
        found.append({
            "modality": words.modality(modality), "task": task.replace("_", " "),
            "nouns": words.nouns(modality),
            "metrics": metrics, "compared": list(_compared(facts, modality, task)),
            "drawn": list(_drawn(facts, modality, task)),
        })  # fmt: skip
    return found


def _key(group: dict[str, Any]) -> tuple[str, str]:
    return group["modality"], group["task"]


def _result(facts: Facts, group: dict[str, Any]) -> dict[str, Any]:
    rows = group["rows"]
    trained = [row for row in rows if row["objective"] is not None]
    leader = None
    if trained:
        size = headline_budget(budgets(trained))
        best = choose(row for row in trained if row["budget"] == size)
        leader = best["run"] if best else None
    data = facts.data.get(group["modality"])
    every = None
    if data is not None and data.classes:
        every = len(data.where(("train",), labelled=True)) / len(data.classes)
    return {
        "task": group["task"], "metric": words.metric(group["metric"]),
        "unit": words.unit(group["metric"]), "draws": max(row["draws"] for row in rows),
        "wide": charts.scores(rows, leader, 960, every),
        "narrow": charts.scores(rows, leader, 350, every), **table.tables(group),
        "going_on": [starts.said(entry) for entry in starts.worth(facts.params, rows)],
    }  # fmt: skip


def _drawn(facts: Facts, modality: str, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and view of every run and control that left more pictures or fragments of a task."""
    for place, left in _of(facts, modality, task):
        others = [path for path in left.pictures if path.name not in (ANSWER, FOUND)]
        if others or left.fragments:
            yield place.run, drawn.view(replace(left, pictures=others), PICTURES)


def _compared(facts: Facts, modality: str, task: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The answer, which is the same for all, and what every run and control found: one each."""
    told = False
    for place, left in _of(facts, modality, task):
        pictures = {
            path.name: replace(left, pictures=[path], fragments=[]) for path in left.pictures
        }
        if not told and ANSWER in pictures:
            told = True
            yield "truth", drawn.view(pictures[ANSWER], 1)
        if FOUND in pictures:
            yield place.run, drawn.view(pictures[FOUND], 1)


def _of(facts: Facts, modality: str, task: str) -> list[tuple[ExpectedResult, drawn.Drawn]]:
    return [(p, left) for p, left in facts.drawn if (p.modality, p.task) == (modality, task)]
