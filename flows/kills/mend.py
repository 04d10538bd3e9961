"""Mend what a SIGKILL of a flow or of plain `dvc` can leave behind, and nothing else.

DVC rewrites dvc.lock and .dvc/tmp/rwlock in place, so a kill can leave them empty or cut. Both are
looked at under DVC's own locks: a file that is only being written is never taken for a torn one.
DVC's repository lock itself is a `flock` and needs no mending: the file stays, the lock is gone.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from flows.kills import locks as leases
from flows.kills.orphans import alive, end_orphans, remove_partial_outputs

GOOD = Path(".gleaner/dvc.lock.good")  # the last dvc.lock that was whole
TORN = Path(".gleaner/dvc.lock.torn")
PATIENCE = 10.0  # seconds; whoever holds a lock longer is alive and at work


def repair(root: Path) -> list[str]:
    """Mend the checkout; what was done, one line each."""
    if not (root / ".dvc").is_dir():
        return []
    (root / ".dvc/tmp").mkdir(exist_ok=True)
    with ExitStack() as stack:
        if not stack.enter_context(_held(root / ".gleaner/heal.lock")):
            return []
        done = mend_rwlock(root)
        if done:  # someone was killed: plain `dvc` leaves its command running
            done += end_orphans(root, _writers(root))
        done += mend_lock(root)
        done += mend_run_cache(root)
        return done + remove_partial_outputs(root, _writers(root))


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Whether the lock could be had in time."""
    deadline = time.monotonic() + PATIENCE
    while (descriptor := leases.try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


# ------------------------------------------------------------------------------------- path locks


def mend_rwlock(root: Path) -> list[str]:
    """Remove a torn rwlock, and from a whole one the entries of processes that are dead."""
    path = root / ".dvc/tmp/rwlock"
    if not path.exists():
        return []
    with _held(path.with_name("rwlock.lock")) as held:
        if not held or not path.exists():
            return []
        try:
            locks = json.loads(path.read_bytes())
            kept, dead = _living(locks)
        except (ValueError, TypeError, KeyError, AttributeError):
            path.unlink()
            return ["removed .dvc/tmp/rwlock: it was cut off by a kill"]
        if dead:
            write_atomically(path, json.dumps(kept).encode())
    return [f"released the paths that a killed process held (pid {pid})" for pid in sorted(dead)]


def _living(locks: dict[str, dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], set[int]]:
    """The rwlock without the entries of the dead, and their pids."""
    readers, writers = locks.get("read", {}), locks.get("write", {})
    pids = {info["pid"] for infos in readers.values() for info in infos}
    pids |= {info["pid"] for info in writers.values()}
    dead = {pid for pid in pids if not alive(pid)}
    write = {path: info for path, info in writers.items() if info["pid"] not in dead}
    read = {path: [i for i in infos if i["pid"] not in dead] for path, infos in readers.items()}
    return {"write": write, "read": {path: infos for path, infos in read.items() if infos}}, dead


def _writers(root: Path) -> dict[str, int]:
    """Output path -> pid of the living process that is making it."""
    try:
        locks = json.loads((root / ".dvc/tmp/rwlock").read_bytes())
        return {path: info["pid"] for path, info in _living(locks)[0]["write"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


# ---------------------------------------------------------------------------------------- dvc.lock


def mend_lock(root: Path) -> list[str]:
    """Restore a torn dvc.lock from git or from our last good copy, whichever is newer.

    Stages that were finished after that copy come back through the run cache.
    """
    path, good = root / "dvc.lock", root / GOOD
    if not path.exists() or path.read_bytes() == _read(good):
        return []
    with _held(root / ".dvc/tmp/lock") as held:
        if not held:
            return []
        content = path.read_bytes()
        if is_whole(content):
            write_atomically(good, content)
            return []
        write_atomically(root / TORN, content)
        source, content = _last_good(root)
        if content:
            write_atomically(path, content)
        else:
            path.unlink()
    what = f"restored from {source}" if content else "removed, as no copy of it was whole"
    return [f"dvc.lock was cut off by a kill: {what}; later stages come back from the run cache"]


def mend_run_cache(root: Path) -> list[str]:
    """Remove entries of the run cache that were never filled: DVC fails on an empty one."""
    runs = root / ".dvc/cache/runs"
    if not any(_is_torn(entry) for entry in runs.glob("*/*")):
        return []  # a glance needs no lock, for which one may have to wait
    done: list[str] = []
    with _held(root / ".dvc/tmp/lock") as held:
        for entry in filter(_is_torn, runs.glob("*/*")) if held else ():
            for part in entry.glob("*.tmp"):
                part.unlink(missing_ok=True)
            if not any(entry.iterdir()):
                entry.rmdir()
                done.append(f"removed an empty entry of the run cache ({entry.name[:8]})")
    return done


def _is_torn(entry: Path) -> bool:
    """Whether there is nothing, or something that DVC had begun to write."""
    suffixes = [file.suffix for file in entry.iterdir()]
    return not suffixes or ".tmp" in suffixes


def looks_whole(root: Path) -> bool:
    """A glance that costs nothing: what DVC writes ends in a line end."""
    path = root / "dvc.lock"
    return not path.exists() or path.read_bytes()[-1:] == b"\n"


def is_whole(content: bytes) -> bool:
    """Whether these bytes are all of a dvc.lock."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if not content.endswith(b"\n"):
        return False
    try:
        lock = YAML(typ="safe").load(content.decode())
    except (YAMLError, UnicodeDecodeError):
        return False
    if not isinstance(lock, dict) or "schema" not in lock:
        return False
    stages = lock.get("stages", {})
    whole = isinstance(stages, dict) and all(
        isinstance(stage, dict) and "cmd" in stage for stage in stages.values()
    )
    return whole and b"\0" not in content


def _last_good(root: Path) -> tuple[str, bytes]:
    """The newest whole copy of dvc.lock and where it is from."""
    copies = []
    committed = _git(root, "show", "HEAD:./dvc.lock")
    if is_whole(committed):
        when = _git(root, "log", "-1", "--format=%ct", "--", "dvc.lock").strip()
        copies.append((float(when or 0), "git", committed))
    kept = _read(root / GOOD)
    if kept and is_whole(kept):
        copies.append(((root / GOOD).stat().st_mtime, str(GOOD), kept))
    return max(copies)[1:] if copies else ("", b"")


def _git(root: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, check=False
        ).stdout
    except OSError:  # no git
        return b""


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_atomically(path: Path, content: bytes) -> None:
    """All or nothing, also when the machine loses power."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
