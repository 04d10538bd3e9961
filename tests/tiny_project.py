"""A project with shell stages in a temporary folder, driven through the real command line."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from flows.prefect import server
from flows.prefect.api import call

ROOT = Path(__file__).resolve().parents[1]

STEP = """
import sys, time
from pathlib import Path
from tasks.channel import Channel

name, reads, writes = sys.argv[1:4]
tell = Channel(name)
how = Path("how") / name
seconds = float(how.read_text()) if how.exists() else 0.0
if seconds:
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"],
                             start_new_session=True)  # a child that would outlive a careless kill
    Path("part").write_text(str(child.pid))
    Path("part").rename("child-" + name)
    time.sleep(seconds)
    child.kill()
tell.log("hello from " + name)
for step in range(4):
    tell.progress((step + 1) / 4, "step")
tell.metrics({"loss": 0.5})
tell.table("rows", [{"file": "a.png", "reason": "broken"}])
for path in sorted(Path("pictures").glob("odd*")):
    print(path.name)  # as a tool does that knows nothing of the channel
    tell.log("read " + path.name)
    tell.warn("cannot read " + path.name)
    tell.progress(1, path.name)
Path(writes).mkdir(parents=True, exist_ok=True)
(Path(writes) / "sample.png").write_bytes(Path("pictures/0.png").read_bytes())
tell.picture("sample", Path(writes) / "sample.png")
if Path("fail-" + name).exists():
    tell.log("error: pictures/0.png: not a picture")
    sys.exit(3)
(Path(writes) / "out").write_text(name + "".join(
    str(p.stat().st_size) for r in reads.split(",") for p in sorted(Path(r).rglob("*"))))
"""

STAGES = {  # name: what it reads, what it writes
    "ingest-image": (["pictures"], "data"),
    "pretrain-image-a": (["data"], "models/a"),
    "pretrain-image-b": (["data"], "models/b"),
    "transfer-image-a": (["models/a"], "results/a"),
    "transfer-image-b": (["models/b"], "results/b"),
    "report": (["results/a", "results/b"], "report"),
}
EDGES = {
    ("ingest-image", "pretrain-image-a"), ("ingest-image", "pretrain-image-b"),
    ("pretrain-image-a", "transfer-image-a"), ("pretrain-image-b", "transfer-image-b"),
    ("transfer-image-a", "report"), ("transfer-image-b", "report"),
}  # fmt: skip


def make(root: Path) -> Path:
    """Write the project and make it a DVC repository."""
    (root / "pictures").mkdir(parents=True)
    for index in range(3):
        Image.new("RGB", (40, 30), (80 * index, 90, 20)).save(root / f"pictures/{index}.png")
    (root / "step.py").write_text(STEP)
    (root / "how").mkdir()
    (root / "params.yaml").write_text("image:\n  source: pictures\n  labels: pictures\n")
    lines = ["stages:"]
    for name, (reads, writes) in STAGES.items():
        lines += [
            f"  {name}:",
            f"    cmd: python step.py {name} {','.join(reads)} {writes}",
            f"    deps: [{', '.join(reads)}]",
            f"    outs: [{writes}]",
        ]
    (root / "dvc.yaml").write_text("\n".join(lines) + "\n")
    dvc = [sys.executable, "-m", "dvc", "init", "--no-scm", "-q"]
    subprocess.run(dvc, cwd=root, env=environment(), check=True, timeout=60)
    return root


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return os.environ | {"PYTHONPATH": path, "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}


def glean(root: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows", *arguments],
        cwd=root, env=environment(), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows", *arguments],
        cwd=root, env=environment(), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def until(found: Callable[[], Any], seconds: float = 60) -> Any:
    """What `found` returns as soon as that is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds} s")


def api(root: Path, path: str, body: Any = None) -> Any:
    found = server.recorded(root)
    assert found
    return call(found, path, body, timeout=30)


def flow_runs(root: Path) -> list[dict[str, Any]]:
    """The latest first."""
    runs: list[dict[str, Any]] = api(root, "/flow_runs/filter", {"sort": "START_TIME_DESC"})
    return [r for r in runs if r["start_time"]]


def tasks_of(root: Path, flow_run: str, complete: bool = True) -> dict[str, dict[str, Any]]:
    """Task runs by name; the server learns of them by events, a moment later."""
    chosen = {"flow_runs": {"id": {"any_": [flow_run]}}}

    def look() -> dict[str, dict[str, Any]]:
        found = {t["name"]: t for t in api(root, "/task_runs/filter", chosen)}
        final = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
        done = all((t["state"] or {}).get("type") in final for t in found.values())
        return found if (done and found.keys() == STAGES.keys()) or not complete else {}

    found: dict[str, dict[str, Any]] = until(look, 90)
    return found


def artifacts_of(root: Path, flow_run: str) -> list[dict[str, Any]]:
    chosen = {"artifacts": {"flow_run_id": {"any_": [flow_run]}}, "limit": 200}
    found: list[dict[str, Any]] = api(root, "/artifacts/filter", chosen)
    return found


def edges_of(tasks: dict[str, dict[str, Any]]) -> set[tuple[str, str]]:
    names = {t["id"]: name for name, t in tasks.items()}
    return {
        (names[i["id"]], name)
        for name, t in tasks.items()
        for i in t["task_inputs"].get("wait_for", [])
    }


def files_with(root: Path, text: str) -> set[str]:
    """The names of all files below that have it somewhere."""
    files = [p for p in root.rglob("*") if p.is_file()]
    return {p.name for p in files if text.encode() in p.read_bytes()}


def notes(root: Path) -> list[Any]:
    return [json.loads(p.read_text()) for p in (root / ".gleaner/flows").glob("*.json")]
