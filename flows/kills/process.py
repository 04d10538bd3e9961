"""Run a stage's command under its supervisor, line by line, and end all of them at once."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SUPERVISOR = (sys.executable, "-IS", str(Path(__file__).with_name("supervise.py")))
TIMED_OUT = 124  # as of coreutils' `timeout`
LONGEST = 1 << 20  # characters; what is longer counts as several lines

_stop = threading.Event()
_live: set["subprocess.Popen[str]"] = set()
_guard = threading.RLock()  # a signal's handler may call `stop_all` in the thread that holds it


class Stopped(Exception):  # noqa: N818
    """The stage was ended by `stop_all`, or not begun because of it."""


def stop_all() -> None:
    """End the process tree of every running command and refuse new ones until `reset`."""
    _stop.set()
    with _guard:
        for process in _live:
            process.terminate()


def reset() -> None:
    """Allow commands again after `stop_all`."""
    _stop.clear()


def check() -> None:
    """Raise Stopped after `stop_all`."""
    if _stop.is_set():
        raise Stopped("stopped")


def pause(seconds: float) -> None:
    """Sleep, but raise Stopped as soon as `stop_all` is called."""
    _stop.wait(seconds)
    check()


def run(
    command: Sequence[str],
    on_line: Callable[[str], None],
    cwd: Path,
    env: Mapping[str, str],
    timeout: float | None = None,
    keep: Sequence[int] = (),
) -> int:
    """Run a command to its end; its exit code, or TIMED_OUT. Raises Stopped after `stop_all`.

    Every line of stdout and stderr goes to `on_line`; a carriage return ends a line too. `keep` are
    file descriptors (locks) that stay open until the last process of the command is dead.
    """
    late = threading.Event()
    process = _start([*SUPERVISOR, *command], cwd, env, keep)

    def expire() -> None:
        late.set()
        process.terminate()

    timer = threading.Timer(timeout, expire) if timeout else None
    try:
        if timer:
            timer.start()
        assert process.stdout is not None
        while line := process.stdout.readline(LONGEST):
            on_line(line.rstrip())
        code = process.wait()
    finally:
        if timer:
            timer.cancel()
        _end(process)
    if code and late.is_set():
        return TIMED_OUT
    if code:
        check()
    return code


def _start(
    command: list[str], cwd: Path, env: Mapping[str, str], keep: Sequence[int]
) -> "subprocess.Popen[str]":
    with _guard:  # so that `stop_all` finds it, or it finds `stop_all`
        check()
        process = subprocess.Popen(
            command, cwd=cwd, env=dict(env), text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, pass_fds=keep,
            start_new_session=True,  # Ctrl-C is for the flow to decide
        )  # fmt: skip
        _live.add(process)
        if _stop.is_set():
            process.terminate()
    return process


def _end(process: "subprocess.Popen[str]") -> None:
    """Leave nothing behind, also when `on_line` raised: closing stdin ends the tree."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.close()
    if process.poll() is None:
        for _ in process.stdout:  # a full pipe must not keep it alive
            pass
    process.wait()
    process.stdout.close()
    with _guard:
        _live.discard(process)


def stage_environment(base: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """`python` is this interpreter, whatever the caller's PATH; output arrives as it is written."""
    home = str(Path(sys.executable).parent)
    path = os.pathsep.join([home, base.get("PATH", os.defpath)])
    return {**base, "PATH": path, "PYTHONUNBUFFERED": "1", **extra}
