"""Leases by file locks in `.gleaner/`: freed by the kernel the moment the last holder is dead.

A lease is an open file descriptor with an exclusive `flock`. Handed to a stage's supervisor
(`process.run(keep=...)`) it lasts until the stage's whole tree is dead, even if the flow is shot.
"""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

LEASES = Path(".gleaner/leases")
RUNNING = Path(".gleaner/running")


def try_lock(path: Path) -> int | None:
    """A descriptor that holds the lock on `path`, or None while someone else does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def lock(path: Path, pause: Callable[[float], None]) -> Iterator[int]:
    """Wait for the lock on `path`; `pause(seconds)` is called between two looks."""
    while (descriptor := try_lock(path)) is None:
        pause(0.05)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def devices() -> tuple[str, ...]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES would list them."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return _installed()
    names = []
    for name in chosen.split(","):
        if not name.strip() or name.strip().startswith("-"):  # CUDA stops at the first invalid one
            break
        names.append(name.strip())
    return tuple(names)


@cache
def _installed() -> tuple[str, ...]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    try:
        listing = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = [line for line in listing.stdout.splitlines() if line.startswith("GPU ")]
    return tuple(map(str, range(len(found))))


@contextmanager
def gpus(
    root: Path, count: int, pause: Callable[[float], None]
) -> Iterator[tuple[dict[str, str], list[int]]]:
    """Lease `count` GPUs: the environment for the stage, and the descriptors to keep open.

    Where there are fewer GPUs the stage gets them all; where there are none it just runs.
    """
    names = devices()
    count = min(count, len(names))
    if count < 1:
        yield {}, []
        return
    while not (held := _grab(root / LEASES, names, count)):
        pause(0.1)
    try:
        yield {"CUDA_VISIBLE_DEVICES": ",".join(held)}, list(held.values())
    finally:
        for descriptor in held.values():
            os.close(descriptor)


def _grab(folder: Path, names: tuple[str, ...], count: int) -> dict[str, int]:
    """All or nothing, so that two stages never wait for each other's half."""
    held: dict[str, int] = {}
    for name in names:
        descriptor = try_lock(folder / f"gpu-{name.replace('/', '_')}")
        if descriptor is not None:
            held[name] = descriptor
        if len(held) == count:
            return held
    for descriptor in held.values():
        os.close(descriptor)
    return {}
