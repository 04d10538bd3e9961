"""Asking a process of its own to decompose a mesh: no mesh can hang or kill the run.

Each of our processes keeps one such helper and starts another when it is lost.
"""

import atexit
import os
import pickle
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Piece: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]  # vertices, faces
SCRIPT = Path(__file__).with_name("decomposer.py")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Limits:
    """Seconds of processor time (ten times as many on the clock) and megabytes for one mesh."""

    seconds: float
    megabytes: int


@dataclass(frozen=True)
class Answer:
    """Pieces, or why there are none; processor seconds, None where the helper was lost."""

    pieces: list[Piece]
    failure: str | None
    seconds: float | None


class Helper:
    """The other process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=os.environ | dict.fromkeys(THREADS, "1"),
        )  # fmt: skip

    def ask(self, task: Any) -> Any:
        """The answer; OSError when the helper ends before it has one."""
        assert self.process.stdin is not None and self.process.stdout is not None
        said = pickle.dumps(task)
        self.process.stdin.write(struct.pack("<q", len(said)) + said)
        self.process.stdin.flush()
        head = self.process.stdout.read(8)
        if len(head) < 8:
            raise OSError("ended")
        return pickle.loads(self.process.stdout.read(struct.unpack("<q", head)[0]))

    def end(self) -> int:
        """Stop it; how it ended."""
        self.process.kill()
        status = self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was left to write to a process that is gone
                    pipe.close()
        return status


_helpers: dict[int, Helper] = {}  # by process id: a fork must not share its parent's


def _stop() -> None:
    if helper := _helpers.pop(os.getpid(), None):
        helper.end()


atexit.register(_stop)


def decompose(
    tool: str, vertices: NDArray[np.float64], faces: NDArray[np.int64], options: dict[str, Any],
    limits: Limits,
) -> Answer:  # fmt: skip
    """Convex pieces of a mesh by `vhacd` or `coacd`, within limits; never raises for a mesh."""
    helper = _helpers.get(os.getpid()) or _helpers.setdefault(os.getpid(), Helper())
    try:
        task = (tool, vertices, faces, options, limits.seconds, limits.megabytes)
        state, found, seconds = helper.ask(task)
    except (OSError, EOFError, pickle.UnpicklingError):
        helper.process.stdin.close() if helper.process.stdin else None
        status = _ended(helper)
        _helpers.pop(os.getpid(), None)
        return Answer([], _reason(status), None)
    return Answer(found, None, seconds) if state == "ok" else Answer([], found, seconds)


def _ended(helper: Helper) -> int:
    """How a helper that answers no more ended, by itself where it did so."""
    try:
        status = helper.process.wait(5)
    except subprocess.TimeoutExpired:
        status = 0
    helper.end()
    return status


def _reason(status: int) -> str:
    if -status in (signal.SIGPROF, signal.SIGALRM):
        return "time limit"
    return "memory limit" if -status == signal.SIGKILL else f"crashed ({status})"
