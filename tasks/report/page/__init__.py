"""The page: all views put into the template. One file, no request, readable without a script."""

import io
import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.channel import Channel
from tasks.report import drawn, words
from tasks.report.drawing import pictures
from tasks.report.facts import SPLITS, Data, Facts, Free
from tasks.report.page import by_task as results
from tasks.report.page import learnt, table
from tasks.report.verdict import Verdict, verdict
from tasks.settings.params import Params

HERE = Path(__file__).parent
PACKAGES = ("gleaner", "torch", "numpy", "scikit-learn", "prefect", "dvc", "pyarrow", "pillow")
REFUSED = 200  # quarantined files named on the page
LABELS = 12  # pictures of a set of free labels


def render(facts: Facts, spent: Callable[[], dict[str, Any]], tell: Channel) -> str:
    """The whole page; `spent` says what this stage has cost so far."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    runs = list(learnt.runs(facts, tell))
    tell.progress(0.85, "page")
    mine, shown = (facts.part(demonstration=which) for which in (False, True))
    own = spent()
    env = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return env.get_template("page.html").render(
        title=facts.params.report.title,
        scripts=drawn.scripts(facts.left),
        style=Markup((HERE / "style.css").read_text("utf-8")),
        verdict=opening(facts),
        elsewhere=_elsewhere(mine),
        figures=_figures(mine, own),
        several=len(facts.data) > 1,
        mine=_part(mine, runs, tell),
        demonstration=_part(shown, runs, tell),
        unmeasured=_unmeasured(mine),
        missing=[name for name in facts.asked if name not in {run.name for run in facts.runs}],
        left_out=facts.left_out,
        costs=_costs([*facts.stages, own]),
        total=learnt.total(facts, own),
        params=_yaml(facts.params),
        versions=_versions(),
        fingerprints={name: data.fingerprint for name, data in facts.data.items()},
    )


def _part(facts: Facts, runs: list[dict[str, Any]], tell: Channel) -> dict[str, Any]:
    """Results, data, free labels and runs: of the user's own, or of the demonstration beside it."""
    names = {run.name for run in facts.runs}
    mine = [run for run in runs if run["name"] in names]
    return {
        "results": results.tasks(facts),
        "data": [_data(data, tell) for data in facts.data.values()],
        "free": _free(facts),
        "runs": [(words.modality(m), list(those)) for m, those in groupby(mine, _modality)],
    }


def opening(facts: Facts) -> Verdict:
    """The verdict on the first task that was measured; the demonstration's beside them is none."""
    facts = facts.part(demonstration=False)
    groups = table.groups(facts)
    rows = groups[0]["rows"] if groups else []
    items = sum(len(data.where(("train",))) for data in facts.data.values())
    return verdict(rows, len(facts.runs), items, labelled=_labelled(facts))


def _modality(run: dict[str, Any]) -> str:
    return str(run["modality"])


def _elsewhere(facts: Facts) -> list[tuple[str, str]]:
    """The verdict on every other task, by its name."""
    found: dict[str, str] = {}
    for group in table.groups(facts):
        name = f"{words.modality(group['modality'])}, {group['task'].replace('_', ' ')}"
        found.setdefault(name, verdict(group["rows"], len(facts.runs), 0).text)
    return list(found.items())[1:]


def _free(facts: Facts) -> list[tuple[str, list[dict[str, Any]]]]:
    """Sets of free labels by modality: numbers, who learns from them, pictures, fragments."""
    found = [
        {"modality": free.modality, "name": free.name, "labeler": free.labeler, "runs": free.runs,
         "numbers": [(key.replace("_", " "), words.plain(value))
                     for key, value in (free.options | free.metrics | _pace(facts, free)).items()
                     if key != "fingerprint" and value is not None],
         "drawn": drawn.view(free.drawn, LABELS)}
        for free in facts.free
    ]  # fmt: skip
    return [(words.modality(m), list(those)) for m, those in groupby(found, _modality)]


def _pace(facts: Facts, free: Free) -> dict[str, float]:
    """What the tool took for an item, with all cores that it had; nothing if it ran elsewhere."""
    stage, items = f"label-{free.modality}@{free.name}", free.metrics.get("items")
    took = next((each["seconds"] for each in facts.stages if each["stage"] == stage), None)
    return {f"seconds a {words.noun(free.modality)}": took / items} if took and items else {}


def _labelled(facts: Facts) -> bool:
    return any(data.where(("train",), labelled=True) for data in facts.data.values())


def _unmeasured(facts: Facts) -> str:
    """Why there is no result table."""
    if facts.data and not any(data.row for data in facts.data.values()):
        return "No item could be read, so there was nothing to measure."
    if facts.data and not _labelled(facts):
        return (
            "None of these items has a label, so nothing can be measured against one. "
            "A csv with the columns file, label is enough for some of them: "
            "glean data image PATH --labels labels.csv"
        )
    if not any(getattr(facts.params, m).tasks for m in facts.data):
        return "params.yaml names no task, so nothing was measured."
    return "No task has left a result yet."


def _figures(facts: Facts, own: dict[str, Any]) -> list[tuple[str, str]]:
    """The page in four numbers."""
    every = list(facts.data.values())
    labelled = sum(len(data.where(("train",), labelled=True)) for data in every)
    classes, refused = (sum(map(len, (getattr(d, what) for d in every)))
                        for what in ("classes", "quarantine"))  # fmt: skip
    among = f" in {len(every)} modalities" if len(every) > 1 else ""
    found = [
        (f"{sum(len(data.row) for data in every):,}", f"items read{among}"),
        (f"{labelled:,}", f"training labels in {classes} class{'es' * (classes != 1)}"),
    ]
    if refused:
        found.append((f"{refused:,}", "quarantined"))
    found.append((str(len(facts.runs)), "encoder" if len(facts.runs) == 1 else "encoders"))
    found.append((learnt.total(facts, own), "of computing"))
    return found


def _data(data: Data, tell: Channel) -> dict[str, Any]:
    tally = data.counts()
    kinds = [(split, sum(n for label, n in tally[split].items() if label is not None),
              tally[split][None]) for split in SPLITS]  # fmt: skip
    classes = [(name, [tally[split][name] for split in SPLITS]) for name in data.classes]
    gallery, problem = [], ""
    try:
        gallery = pictures.gallery(data)
    except Exception as error:  # the numbers must reach the reader, whatever a picture does
        problem = f"{type(error).__name__}: {error}"
        tell.warn(f"report: no pictures of data/{data.modality}: {problem}")
    return {
        "modality": data.modality, "head": words.modality(data.modality),
        "nouns": words.nouns(data.modality), "gallery": gallery, "problem": problem,
        "splits": kinds,
        "classes": classes, "reasons": data.reasons, "refused": data.quarantine[:REFUSED],
        "more": max(0, len(data.quarantine) - REFUSED), "count": len(data.row),
    }  # fmt: skip


def _costs(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    longest = max((s["seconds"] or 0 for s in stages), default=0) or 1
    return [
        {"stage": s["stage"], "state": s["state"],
         "share": round(100 * (s["seconds"] or 0) / longest, 1),
         "seconds": "" if s["seconds"] is None else words.seconds(s["seconds"]),
         "memory": "" if s["peak_mb"] is None else words.memory(s["peak_mb"])}
        for s in stages
    ]  # fmt: skip


def _yaml(params: Params) -> str:
    """Every parameter with its value, defaults written out."""
    from ruamel.yaml import YAML

    writer, text = YAML(), io.StringIO()
    writer.default_flow_style = None
    writer.width = 88
    writer.dump(params.model_dump(mode="json"), text)
    return text.getvalue()


def _versions() -> list[tuple[str, str]]:
    found = [("python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return [*found, ("platform", f"{platform.system()} {platform.machine()}")]
