"""`glean serve`: a schedule fires, a trigger with parameters runs, bad ones are refused."""

import os
import shlex
import signal
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tiny_project as tiny

from flows.prefect import server
from flows.screen import launch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An up-to-date project that is served, with a schedule of a run each minute."""
    root = tiny.make(tmp_path_factory.mktemp("serve") / "project")
    done = tiny.glean(root, "run")
    assert done.returncode == 0, done.stderr
    process = tiny.start(root, "serve", "--cron", "* * * * *")
    try:
        tiny.until(lambda: tiny.api(root, "/deployments/filter", {}))
        yield root
    finally:
        os.killpg(process.pid, signal.SIGINT)
        text, _ = process.communicate(timeout=60)
        server.stop(root)
    assert "prefect deployment run 'gleaner/default'" in text
    assert "Traceback" not in text


def deployment(root: Path) -> dict[str, Any]:
    found: list[dict[str, Any]] = tiny.api(root, "/deployments/filter", {})
    return found[0]


def trigger(root: Path, **parameters: Any) -> str:
    path = f"/deployments/{deployment(root)['id']}/create_flow_run"
    return str(tiny.api(root, path, {"parameters": parameters})["id"])


def ended(root: Path, flow_run: str) -> dict[str, Any]:
    def look() -> Any:
        run = tiny.api(root, f"/flow_runs/{flow_run}")
        return run if run["end_time"] else None

    run: dict[str, Any] = tiny.until(look, 90)
    return run


def test_the_schedule_fires_and_every_stage_is_cached(served: Path) -> None:
    def look() -> Any:
        return [r for r in tiny.flow_runs(served) if r["auto_scheduled"] and r["end_time"]]

    run = tiny.until(look, 120)[0]
    assert run["state"]["name"] == "Cached", run["state"]
    tasks = tiny.tasks_of(served, run["id"])
    assert {t["state"]["name"] for t in tasks.values()} == {"Cached"}


def test_a_trigger_with_parameters(served: Path) -> None:
    """The command that `glean serve` prints, from a shell that knows nothing else."""
    wanted = 'targets=["pretrain-image-a"]'
    found = server.running(served)
    assert found
    command = f"{launch.on_demand(served, found, 'gleaner/default')} --param {shlex.quote(wanted)}"
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        ["sh", "-c", command],
        env=outside, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    chosen = [
        r
        for r in tiny.api(served, "/flow_runs/filter", {})
        if r["parameters"].get("targets") == ["pretrain-image-a"]
    ]
    run = ended(served, chosen[0]["id"])
    assert run["state"]["name"] == "Cached", run["state"]


@pytest.mark.parametrize(
    "wrong", [{"jobs": -1}, {"only": "smell"}, {"force": "perhaps"}, {"target": ["report"]}]
)
def test_wrong_parameters_are_refused_before_a_run_exists(
    served: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        trigger(served, **wrong)
    assert caught.value.code in (409, 422)
    runs = tiny.api(served, "/flow_runs/filter", {})  # the schedule goes on making its own
    assert not [r for r in runs if wrong.items() <= r["parameters"].items()]


def test_an_unknown_target_is_named(served: Path) -> None:
    run = ended(served, trigger(served, targets=["pretrian-image-a"]))
    assert run["state"]["type"] == "FAILED"
    assert "pretrain-image-a" in run["state"]["message"]


def test_cancel_in_the_page_ends_the_tree(served: Path) -> None:
    (served / "how/pretrain-image-b").write_text("600")
    flow_run = trigger(served, targets=["pretrain-image-b"], force=True)
    child = served / "child-pretrain-image-b"
    tiny.until(child.exists, 90)
    pid = int(child.read_text())
    body = {"state": {"type": "CANCELLING", "name": "Cancelling"}}
    tiny.api(served, f"/flow_runs/{flow_run}/set_state", body)
    tiny.until(lambda: not psutil.pid_exists(pid), 5)
    assert ended(served, flow_run)["state"]["type"] == "CANCELLED"
    (served / "how/pretrain-image-b").unlink()
    run = ended(served, trigger(served))
    assert run["state"]["type"] == "COMPLETED", run["state"]


def test_the_key_is_in_no_log(served: Path) -> None:
    found = server.running(served)
    assert found
    assert tiny.files_with(served, found.key) == {"server.key"}
