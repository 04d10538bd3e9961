"""The flow as a person meets it: `glean run` in a project, and what the server's page shows."""

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tiny_project as tiny
from PIL import Image

from flows.dvc import selection
from flows.dvc.graph import Stage
from flows.prefect import server
from flows.prefect.pipeline import Run
from tasks.settings.params import Params


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One project with its own server for all tests of this file: starting one takes seconds."""
    root = tiny.make(tmp_path_factory.mktemp("flow") / "project")
    yield root
    for note in tiny.notes(root):  # a test failed and left its flow behind
        os.kill(note["pid"], signal.SIGKILL)
    server.stop(root)


def fail(root: Path, stage: str) -> None:
    (root / f"fail-{stage}").write_text("x")
    (root / "step.py").touch()


def change(root: Path, text: str) -> None:
    """Make every stage stale."""
    (root / "pictures" / "note.txt").write_text(text)


def slow(root: Path, stage: str) -> None:
    (root / "how" / stage).write_text("600")


def normal(root: Path) -> None:
    for path in [*root.glob("fail-*"), *root.glob("how/*"), *root.glob("child-*")]:
        path.unlink()


def child(root: Path, stage: str) -> int:
    """The process that a slow stage started, once it runs."""
    tiny.until((root / f"child-{stage}").exists)
    return int((root / f"child-{stage}").read_text())


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


def test_a_failing_branch(project: Path) -> None:
    """Names and edges mirror the plan; one branch fails, the other goes on; the page shows all."""
    fail(project, "pretrain-image-b")
    done = tiny.glean(project, "run", "--jobs", "2")
    assert done.returncode == 1
    assert "✓ transfer-image-a " in done.stdout
    told = "pretrain-image-b failed with exit code 3: pictures/0.png: not a picture"
    assert told in done.stderr and ".gleaner/logs/pretrain-image-b.log" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "prefect." not in done.stdout + done.stderr, "Prefect chatters"
    log = (project / ".gleaner/logs/pretrain-image-b.log").read_text()
    assert "hello from pretrain-image-b" in log and "\x1e" not in log

    run = tiny.flow_runs(project)[0]
    tasks = tiny.tasks_of(project, run["id"])
    assert tiny.edges_of(tasks) == tiny.EDGES
    states = {name: t["state"]["name"] for name, t in tasks.items()}
    assert states == {
        "ingest-image": "Completed",
        "pretrain-image-a": "Completed",
        "transfer-image-a": "Completed",
        "pretrain-image-b": "Failed",
        "transfer-image-b": "UpstreamFailed",
        "report": "UpstreamFailed",
    }
    assert run["state"]["type"] == "FAILED" and told in run["state"]["message"]
    assert not tiny.notes(project), "no process is left to be reaped"

    found = tiny.artifacts_of(project, run["id"])
    mine = [a for a in found if a["task_run_id"] == tasks["ingest-image"]["id"]]
    by_type = {(a["type"], a["key"]): a["data"] for a in mine}
    assert by_type["progress", None] == 100
    assert '"loss"' in by_type["table", "ingest-image-metrics"]
    assert "broken" in by_type["table", "ingest-image-rows-table"]
    assert by_type["image", "ingest-image-sample-picture"].startswith("data:image/png;base64,")
    chosen = {"logs": {"flow_run_id": {"any_": [run["id"]]}}}
    tiny.until(
        lambda: any("hello" in x["message"] for x in tiny.api(project, "/logs/filter", chosen))
    )


def test_the_next_run_goes_on_and_then_all_is_cached(project: Path) -> None:
    normal(project)
    done = tiny.glean(project, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    tasks = tiny.tasks_of(project, tiny.flow_runs(project)[0]["id"])
    cached = {n for n, t in tasks.items() if t["state"]["name"] == "Cached"}
    assert cached == {"ingest-image", "pretrain-image-a", "transfer-image-a"}

    before = len(tiny.flow_runs(project))
    done = tiny.glean(project, "run")
    assert "Everything is up to date (6 stages)." in done.stdout
    assert len(tiny.flow_runs(project)) == before, "answered without a flow"
    assert "Everything is up to date." in tiny.glean(project, "status").stdout


def test_targets_and_force(project: Path) -> None:
    done = tiny.glean(project, "run", "pretrain-image-a", "--force")
    assert done.returncode == 0, done.stderr
    assert "2 ran" in done.stdout
    done = tiny.glean(project, "run", "pretrian-image-a")
    assert done.returncode == 1 and "pretrain-image-a" in done.stderr
    assert "Traceback" not in done.stderr


ODD = {  # names of files that would be messages, or be obeyed by a terminal
    "picture": '\x1e{"kind": "picture", "name": "forged", "path": "..\\u002fsecret.png"}',
    "keys": '\x1e{"kind": "progress"}',
    "table": '\x1e{"kind": "table", "name": "forged", "rows": [{"file": "forged"}]}',
    "screen": "\x1b[2J\x1b]0;owned\x07\x9b31m\rwarning: forged\nerror: forged",
}


def test_a_files_name_is_no_message(project: Path) -> None:
    """Whatever names hold, they are log text, and nothing of them is obeyed by a terminal."""
    Image.new("RGB", (9, 9)).save(project.parent / "secret.png")
    odd = [project / "pictures" / f"odd-{key}\n{name}" for key, name in ODD.items()]
    for path in odd:
        path.touch()
    fail(project, "pretrain-image-b")
    with (project / "step.py").open("a") as code:
        code.write("\n")
    done = tiny.glean(project, "run", "pretrain-image-b")
    log = (project / ".gleaner/logs/ingest-image.log").read_text()
    normal(project)
    for path in odd:
        path.unlink()
    assert done.returncode == 1 and "✓ ingest-image " in done.stdout, done.stdout + done.stderr
    assert "failed with exit code 3: pictures/0.png: not a picture" in done.stderr
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", done.stdout + done.stderr + log)
    assert (
        r"warning: cannot read odd-screen\n\x1b[2J\x1b]0;owned\x07\x9b31m\rwarning" in done.stdout
    )
    assert log.count(r'\x1e{"kind": "picture"') == 3, "as printed, logged and warned of"
    found = tiny.artifacts_of(project, tiny.flow_runs(project)[0]["id"])
    assert {a["key"] for a in found if a["key"]} == {
        f"{stage}-{what}"
        for stage in ("ingest-image", "pretrain-image-b")
        for what in ("metrics", "rows-table", "sample-picture")
    }
    assert "forged" not in str([a["data"] for a in found])


def test_cancel_in_the_page_ends_the_tree(project: Path) -> None:
    """A run from the command line hears of it, too, and leaves a state to go on from."""
    change(project, "cancel")
    slow(project, "pretrain-image-a")
    flow = tiny.start(project, "run")
    pid = child(project, "pretrain-image-a")
    run = tiny.flow_runs(project)[0]
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    tiny.api(project, f"/flow_runs/{run['id']}/set_state", body)
    tiny.until(lambda: gone(pid), 5)
    text, _ = flow.communicate(timeout=30)
    assert flow.returncode == 130, text
    assert "cancelled" in text and "Traceback" not in text
    tiny.until(lambda: tiny.flow_runs(project)[0]["state"]["type"] == "CANCELLED", 10)
    states = {
        n: t["state"]["type"] for n, t in tiny.tasks_of(project, run["id"], complete=False).items()
    }
    assert states["pretrain-image-a"] == "CANCELLED"
    assert states["ingest-image"] == "COMPLETED"


def test_ctrl_c_ends_the_tree(project: Path) -> None:
    normal(project)
    slow(project, "pretrain-image-a")
    flow = tiny.start(project, "run")
    pid = child(project, "pretrain-image-a")
    os.killpg(flow.pid, signal.SIGINT)
    tiny.until(lambda: gone(pid), 5)
    text, _ = flow.communicate(timeout=30)
    assert flow.returncode == 130, text
    assert "Ctrl-C" in text and "Traceback" not in text
    assert tiny.flow_runs(project)[0]["state"]["type"] == "CANCELLED"
    assert server.running(project), "the server outlives it"


@pytest.mark.slow
def test_a_killed_flow_is_reaped_and_the_next_goes_on(project: Path) -> None:
    normal(project)
    slow(project, "pretrain-image-a")
    flow = tiny.start(project, "run")
    pid = child(project, "pretrain-image-a")
    run = tiny.flow_runs(project)[0]
    os.kill(flow.pid, signal.SIGKILL)
    flow.communicate(timeout=30)
    tiny.until(lambda: gone(pid), 5)
    assert tiny.notes(project)
    normal(project)
    done = tiny.glean(project, "run")
    assert done.returncode == 0, done.stdout + done.stderr
    state = tiny.api(project, f"/flow_runs/{run['id']}")["state"]
    assert (state["type"], state["message"]) == ("CRASHED", "its process was killed")
    left = tiny.tasks_of(project, run["id"], complete=False)
    assert all(t["state"]["type"] != "RUNNING" for t in left.values())
    assert not tiny.notes(project)


@pytest.mark.slow
def test_two_at_once_share_the_work(project: Path) -> None:
    normal(project)
    change(project, "two at once")
    both = [tiny.start(project, "run", "--jobs", "2") for _ in range(2)]
    texts = [flow.communicate(timeout=120)[0] for flow in both]
    assert [flow.returncode for flow in both] == [0, 0], texts
    ran = [sum(f"✓ {stage} " in text for text in texts) for stage in tiny.STAGES]
    assert ran[0] == 1 and max(ran) == 1, texts
    assert "up to date." in tiny.glean(project, "status").stdout


class Begun(Run):
    """A run whose stages are noted as running and never do."""

    def _submit(self, name: str, bad: list[str]) -> None:
        self.waiting.remove(name)
        self.running[name] = None  # type: ignore[assignment]

    def begin(self) -> set[str]:
        """Start what may start; who is running then."""
        self._start_ready()
        return set(self.running)

    def end(self, name: str) -> None:
        self.states[name] = self.running.pop(name)  # type: ignore[assignment]


def test_a_stage_that_takes_all_cores(tmp_path: Path) -> None:
    """It starts beside others, and none beside it; with Dask its work is elsewhere."""
    label = Stage("label", "", (), False, (), {"cores": "all", "seconds": 9})
    stages = [
        label,
        *(
            Stage(n, "", (), False, (), {"seconds": s})
            for n, s in zip("abc", (30, 5, 1), strict=True)
        ),
    ]
    here = {"image": {"source": "none", "labels": "none"}}
    wide = selection.wide(stages, Params.model_validate(here))
    assert wide == {"label"}

    run = Begun(tmp_path, stages, False, 3, wide)
    assert run.begin() == {"a", "label"}, "the longest first; nothing after the wide one"
    run.end("a")
    assert run.begin() == {"label"}
    run.end("label")
    assert run.begin() == {"b", "c"}

    elsewhere = Params.model_validate(here | {"machine": {"dask": "tcp://scheduler:8786"}})
    assert Begun(tmp_path, stages, False, 3, selection.wide(stages, elsewhere)).begin() == {
        "a",
        "label",
        "b",
    }
