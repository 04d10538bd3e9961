"""What `glean run`, `status` and `serve` do. Prefect is imported only when something has to run."""

import asyncio
import shlex
import signal
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.dvc import reported, selection
from flows.dvc.choice import Choice, chosen
from flows.dvc.graph import Stage
from flows.kills.mend import repair
from flows.prefect import api, lost_runs, server
from flows.prefect.api import Server
from flows.screen import tables
from flows.screen.terminal import Terminal, duration
from modalities.items import UserError
from tasks.provenance import Now
from tasks.report.page import starts
from tasks.results import left_out, read
from tasks.settings.params import Params, load

DEPLOYMENT = "default"


def run(
    root: Path, choice: Choice, force: bool, jobs: int | None, *, out: Console, err: Console
) -> None:
    """Bring the project up to date and print the results; SystemExit says if that failed."""
    for line in repair(root):
        out.print(f"healed: {line}", markup=False)
    params = load()
    stages = chosen(root, choice, params, force)
    if told := choice.told(params):
        out.print(told, markup=False, style="dim")
    stale = [s for s in stages if force or not s.clean]
    if not stale:
        found = server.running(root) if lost_runs.dead(root) else None
        if found:
            lost_runs.reap(root, found)
        out.print(f"Everything is up to date ({len(stages)} stages).")
        show_results(root, params, out)
        return
    selection.check_sizes(params)
    number = params.machine.jobs if jobs is None else jobs
    asked = {"targets": list(choice.targets), "only": choice.only, "everything": choice.everything}
    code = _flow(root, {**asked, "force": force, "jobs": number}, out, err)
    if code == 0:
        show_results(root, params, out)
    sys.exit(code)


def _flow(root: Path, parameters: dict[str, Any], out: Console, err: Console) -> int:
    found = _server(root, out)
    for line in lost_runs.reap(root, found):
        out.print(line, markup=False)
    from flows.prefect import watch
    from flows.prefect.pipeline import pipeline

    signal.signal(signal.SIGHUP, _hang_up)
    with Terminal(out) as terminal:
        watch.follow(terminal)
        state = pipeline(**parameters, return_state=True)
    out.print(f"[dim]{terminal.told()}[/]")
    if state.is_completed():
        return 0
    if state.is_cancelled():
        err.print(str(state.message), markup=False, style="yellow")
        return 130
    for text in terminal.failed() or [str(state.message)]:
        err.print(f"error: {text}", markup=False, style="red")
    return 1


def _hang_up(*_: Any) -> None:
    """The terminal was closed: end as with Ctrl-C."""
    raise KeyboardInterrupt


def _server(root: Path, out: Console) -> Server:
    """The server, which this process uses from now on; while it starts, Prefect is imported."""
    if server.recorded(root) is None:
        out.print("[dim]starting the Prefect server (once)[/]")
    begun = server.begin(root)
    api.adopt(root, begun)
    import_module("flows.prefect.pipeline")
    found = server.ensure(root)
    if found != begun:
        raise UserError("the Prefect server had to be started anew: try again")
    out.print(f"[dim]watch it on {found.page} (`glean ui` opens it)[/]")
    return found


def show_results(root: Path, params: Params, out: Console) -> None:
    """The result table, what was left out, skipped and quarantined, and where the report is."""
    now = Now(params)
    rows, skipped = read(params, now)
    for title, table in tables.tables(rows):
        out.print(f"\n[bold]{title}[/]")
        out.print(table, soft_wrap=False)
    for entry in starts.worth(params, rows):
        out.print(starts.said(entry), markup=False)
    told = tables.left_out(left_out(now)) + tables.skipped(skipped)
    told += tables.quarantine(reported.summary(root) or {})
    for line in told:
        out.print(line, markup=False, style="yellow")
    page = root / reported.PAGE
    if page.is_file():
        out.print(f"\nReport: {page}", markup=False)


def status(root: Path, choice: Choice, out: Console) -> None:
    """A table of the stages: fresh or stale, why, what they cost and how much they keep."""
    params = load()
    stages = chosen(root, choice, params)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("stage", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("took", "keeps"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    for stage in stages:
        state = "[green]fresh[/]" if stage.clean else "[yellow]stale[/]"
        seconds = selection.cost(root, stage.name)
        took = "" if seconds is None else duration(seconds)
        table.add_row(stage.name, state, took, _size(root, stage), escape(because(stage)))
    out.print(table, soft_wrap=False)
    stale = sum(not s.clean for s in stages)
    verdict = f"{stale} of {len(stages)} stages would run" if stale else "Everything is up to date"
    out.print(f"\n{verdict}.")
    if told := choice.told(params):
        out.print(told, markup=False)
    found = reported.summary(root)
    for line in tables.quarantine(found or {}):
        out.print(line, markup=False, style="yellow")


def because(stage: Stage) -> str:
    """Its own reasons to run; or, when it has none, what would run before it."""
    own = [reason for reason in stage.why if not reason.startswith("upstream ")]
    if own or not stage.why:
        return "; ".join(dict.fromkeys(own))
    more = f" and {len(stage.why) - 1} more" if len(stage.why) > 1 else ""
    return stage.why[0] + more


def _size(root: Path, stage: Stage) -> str:
    paths = [root / o for o in stage.outs]
    files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]
    if not files:
        return ""
    size = float(sum(f.stat().st_size for f in files))
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def serve(root: Path, cron: str | None, *, out: Console) -> None:
    """A deployment beside the server: on schedule, on demand, until Ctrl-C."""
    load()
    found = _server(root, out)
    for line in lost_runs.reap(root, found):
        out.print(line, markup=False)
    import httpx
    from prefect.exceptions import TerminationSignal
    from prefect.runner import Runner
    from prefect.types.entrypoint import EntrypointType

    from flows.prefect.pipeline import pipeline

    if cron is not None:
        _check_cron(cron)
    name = f"{pipeline.name}/{DEPLOYMENT}"
    out.print(f"serving {name}" + (f", scheduled {cron}" if cron else "") + "; Ctrl-C ends it")
    out.print(f"on demand: {on_demand(root, found, name)}", markup=False)
    runner = Runner(name=DEPLOYMENT, limit=1)  # one checkout, one run at a time
    deployment = runner.add_flow(
        pipeline, name=DEPLOYMENT, cron=cron, entrypoint_type=EntrypointType.MODULE_PATH
    )
    _refuse_unknown(found, str(deployment))
    try:
        with suppress(KeyboardInterrupt, TerminationSignal):
            asyncio.run(runner.start())
    except httpx.HTTPError as error:
        why = str(error).split(" - ")[0]
        text = f"the Prefect server was stopped or does not answer ({why}): `glean serve` again"
        raise UserError(text) from None


def on_demand(root: Path, found: Server, name: str) -> str:
    """The command for a shell that triggers a run; the key is in no command line that others see.

    `$(cat ...)` goes into the environment of the command, which is its owner's.
    """
    key, prefect = shlex.quote(str(root / api.KEY)), Path(sys.executable).parent / "prefect"
    where = f'PREFECT_API_URL={found.api} PREFECT_API_AUTH_STRING="$(cat {key})"'
    return f"{where} {shlex.quote(str(prefect))} deployment run '{name}'"


def _refuse_unknown(found: Server, deployment: str) -> None:
    """Prefect lets misspelt parameters pass, and the run then crashes."""
    path = f"/deployments/{deployment}"
    schema = api.call(found, path)["parameter_openapi_schema"]
    strict = {"parameter_openapi_schema": schema | {"additionalProperties": False}}
    api.call(found, path, strict, method="PATCH")


def _check_cron(cron: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron)
    except ValidationError:
        text = f"--cron: found {cron!r}; expected five fields such as '0 3 * * *'"
        raise UserError(text) from None
