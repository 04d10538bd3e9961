"""What a killed run leaves lying around or running: found, and taken away."""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from flows.kills import locks

GRACE = 2.0  # seconds between TERM and KILL


def alive(pid: int) -> bool:
    """A zombie is dead: it holds nothing, though its pid exists until its parent looks."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


# ---------------------------------------------------------------------- commands without a parent


def end_orphans(root: Path, writers: Mapping[str, int]) -> list[str]:
    """End stage commands whose `dvc` is dead: nobody would record what they still write."""
    owners = {os.getpid(), *writers.values()}
    found = [p for p in psutil.process_iter() if _is_orphan(p, root, owners)]
    for process in found:
        _signal(process, "terminate")
    for process in psutil.wait_procs(found, GRACE)[1]:
        _signal(process, "kill")
    psutil.wait_procs(found, GRACE)
    names = ", ".join(str(process.pid) for process in found)
    return [f"ended what a killed dvc left running (pid {names})"] if found else []


def _is_orphan(process: psutil.Process, root: Path, owners: set[int]) -> bool:
    try:
        environment = process.environ()
        if environment.get("DVC_ROOT") != str(root.resolve()) or "DVC_STAGE" not in environment:
            return False
        above = process.parents()
        if {process.pid, *(parent.pid for parent in above)} & owners:
            return False
        # Ours end by themselves when their flow does; a living dvc may not be in the rwlock yet.
        words = {Path(word).name for parent in above for word in parent.cmdline()[:4]}
        return not words & {"supervise.py", "dvc"}
    except psutil.Error:
        return False


def _signal(process: psutil.Process, what: str) -> None:
    with contextlib.suppress(psutil.Error):
        getattr(process, what)()


# --------------------------------------------------------------------------------------- leftovers


def remove_partial_outputs(root: Path, writers: Mapping[str, int]) -> list[str]:
    """Remove half-made outputs (see `tasks.stage.output`) and our own temporary files."""
    if _supervised(root):  # stages of a killed flow may take seconds to die
        return []
    done = []
    for pattern in _outputs(root):
        for part in root.glob(str(pattern.with_name(f".{pattern.name}.part"))):
            whole = part.with_name(part.name[1:].removesuffix(".part"))
            if part.is_dir() and str(whole.resolve()) not in writers:
                shutil.rmtree(part, ignore_errors=True)
                done.append(f"removed {part.relative_to(root)}: its stage was killed")
    for folder in (root, root / ".gleaner", root / ".gleaner/costs", root / ".dvc/tmp"):
        for file in folder.glob(".*.*"):
            owner = re.search(r"\.(\d+)\.(tmp|part)$", file.name)
            if owner and file.is_file() and not alive(int(owner[1])):
                file.unlink(missing_ok=True)
    return done


def _supervised(root: Path) -> bool:
    """Whether a stage of this checkout is running under a supervisor."""
    for path in (root / locks.RUNNING).glob("*"):
        descriptor = locks.try_lock(path)
        if descriptor is None:
            return True
        os.close(descriptor)
    return False


def _outputs(root: Path) -> set[Path]:
    """Patterns of all outputs in dvc.yaml: `models/${key}` -> `models/*`."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        stages = YAML(typ="safe").load((root / "dvc.yaml").read_bytes())["stages"].values()
        stages = [stage.get("do", stage) for stage in stages]
        outs = [out for stage in stages for out in stage.get("outs", [])]
    except (OSError, YAMLError, KeyError, TypeError, AttributeError):
        return set()  # `plan` tells what is wrong with it
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    return {Path(re.sub(r"\$\{[^}]*\}", "*", name)) for name in names if not name.startswith("/")}
