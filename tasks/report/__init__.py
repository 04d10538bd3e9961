"""The stage `report`: one page for people, one JSON file for programs, one digest for DVC."""

import time
from typing import TYPE_CHECKING, Any

from tasks.channel import Channel
from tasks.settings.params import Params

if TYPE_CHECKING:
    from tasks.report.facts import Facts


def report(params: Params, tell: Channel) -> None:
    """Draw report/ from what the other stages left; each file takes its place only when whole."""
    from pathlib import Path

    from tasks.report.facts import gather
    from tasks.report.page import opening, render
    from tasks.report.summary import inputs, summary
    from tasks.stage import peak_mb, write_json

    started = time.monotonic()

    def own() -> dict[str, Any]:
        seconds, peak = round(time.monotonic() - started, 2), round(peak_mb(), 1)
        return {"stage": "report", "state": "ran", "seconds": seconds, "peak_mb": peak}

    tell.progress(0.02, "reading results")
    facts = gather(params)
    folder = Path("report")
    folder.mkdir(exist_ok=True)
    # Hashed first: inputs that change meanwhile must not pass for those that the page was made of.
    made_of = inputs(facts)
    tell.progress(0.15, "drawing")
    page = render(facts, own, tell)
    part = folder / ".index.html.part"
    part.write_text(page, "utf-8")
    part.replace(folder / "index.html")
    write_json(folder / "summary.json", summary(facts, own()))
    write_json(folder / "inputs.json", made_of)
    tell.progress(1, "done")
    _tell(facts, opening(facts).text, tell)


def _tell(facts: "Facts", sentence: str, tell: Channel) -> None:
    """The same table and sentence for whoever watches the stage."""
    from tasks.report.page import starts, table

    for group in table.groups(facts):
        shown = table.tables(group)
        rows = []
        for line in shown["short"]:
            cells = [f"{c['mean']} ±{c['half']}" if c else "-" for c in line["cells"]]
            cells = [cell.removesuffix(" ±") for cell in cells]
            rows.append({"run": line["name"], **dict(zip(shown["budgets"], cells, strict=True))})
        shown_as = "demonstration: " if group["demonstration"] else ""
        tell.table(shown_as + f"{group['task']} {group['metric']}".replace("_", " "), rows)
    for entry in starts.worth(facts.params, facts.rows):
        tell.log(starts.said(entry))
    tell.log(sentence)
