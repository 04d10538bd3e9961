"""Flow runs whose process is gone: a killed one cannot say so and would stay Running for ever.

A flow notes its process in `.gleaner/flows/ID.json`; whoever starts next marks the dead as Crashed.
Nothing here imports Prefect.
"""

import json
import os
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from flows.prefect import server
from flows.prefect.api import Server, call

FLOWS = Path(".gleaner/flows")
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
CRASHED = {"type": "CRASHED", "name": "Crashed", "message": "its process was killed"}


@contextmanager
def noted(root: Path, flow_run: str) -> Iterator[None]:
    """Keep a note of this process while it runs the flow."""
    note = root / FLOWS / f"{flow_run}.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    pid = os.getpid()
    body = json.dumps({"pid": pid, "created": psutil.Process(pid).create_time()})
    part = note.with_suffix(".part")
    part.write_text(body + "\n", "utf-8")
    part.replace(note)
    yield
    # An exception (the process is being ended) leaves the note: Prefect may not get to say so.
    note.unlink(missing_ok=True)


def dead(root: Path) -> list[Path]:
    """The notes whose process is gone."""
    notes = []
    for note in sorted((root / FLOWS).glob("*.json")):
        try:
            there = server.alive(**json.loads(note.read_text("utf-8")))
        except (ValueError, TypeError, OSError):
            there = False
        if not there:
            notes.append(note)
    return notes


def reap(root: Path, found: Server) -> list[str]:
    """Mark the dead flow runs and their unfinished tasks as Crashed; what was done, a line each."""
    lines = []
    for note in dead(root):
        try:
            if _crash(found, note.stem):
                lines.append(f"marked the killed flow run {note.stem} as Crashed")
        except urllib.error.HTTPError as error:
            if error.code not in (404, 422):  # unknown to this server: nothing to mark
                continue
        except OSError:
            continue  # the server does not answer: next time
        note.unlink(missing_ok=True)
    return lines


def _crash(found: Server, flow_run: str) -> bool:
    state = (call(found, f"/flow_runs/{flow_run}").get("state") or {}).get("type")
    tasks = call(found, "/task_runs/filter", {"flow_runs": {"id": {"any_": [flow_run]}}})
    for task in tasks:
        if (task.get("state") or {}).get("type") not in FINAL:
            body = {"state": CRASHED, "force": True}
            call(found, f"/task_runs/{task['id']}/set_state", body)
    if state in FINAL:
        return False
    call(found, f"/flow_runs/{flow_run}/set_state", {"state": CRASHED, "force": True})
    return True
