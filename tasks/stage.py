"""What every stage has in common: parameters in, one output folder out, what it cost beside it.

A stage writes into a temporary folder that is renamed when it is done, so a failed stage leaves
nothing. What it cost (seconds, peak memory) differs from run to run and therefore lies outside the
outputs, in `.gleaner/costs/`, so that both doors leave the same dvc.lock.
"""

import json
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modalities.items import UserError
from tasks.channel import Channel, say_mistake

COSTS = Path(".gleaner/costs")


@contextmanager
def output(folder: Path) -> Iterator[Path]:
    """A fresh folder that takes the place of `folder` when the block ends without an error."""
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def cost_file(stage: str) -> Path:
    """Where a stage leaves what it cost."""
    return COSTS / f"{stage.replace('/', '_')}.json"


def finite(value: Any) -> Any:
    """The value, or None where it is a number that is not finite: JSON and pages have no NaN."""
    if isinstance(value, dict):
        return {key: finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """A JSON file's finite content, or None without the file."""
    return finite(json.loads(path.read_text("utf-8"))) if path.exists() else None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically and always in the same order."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n", "utf-8")
    part.replace(path)


def peak_mb() -> float:
    """Peak resident memory of this process or the largest of its children, in MB."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status")
    if status.exists():  # Linux, where ru_maxrss counts what ran before exec, so whoever began us
        lines = status.read_text("utf-8").splitlines()
        own = next((int(ln.split()[1]) for ln in lines if ln.startswith("VmHWM:")), own)
    return max(own, children) / (1024**2 if sys.platform == "darwin" else 1024)


def run_stage(name: str, body: Callable[[Channel], None]) -> int:
    """Run one stage, tell and keep what it cost; the exit status."""
    channel = Channel(name)
    started = time.monotonic()
    try:
        body(channel)
    except UserError as mistake:
        channel.close()
        say_mistake(mistake)
        return 1
    except KeyboardInterrupt:
        channel.close()
        return 130
    channel.close()
    seconds = time.monotonic() - started
    COSTS.mkdir(parents=True, exist_ok=True)
    cost = {"seconds": round(seconds, 2), "peak_mb": round(peak_mb(), 1), "ended": time.time()}
    write_json(cost_file(name), {"stage": name, **cost})
    channel.log(f"{name}: done in {seconds:.1f} s, peak memory {cost['peak_mb']:.0f} MB")
    return 0
