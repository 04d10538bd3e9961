"""The parent of one stage command: `python -IS supervise.py COMMAND...`, standard library only.

It forwards the exit code and sees to it that nothing of the stage outlives it: the whole tree,
daemonised children too, is ended (TERM, then KILL after a grace) when the command ends, when stdin
closes (whoever started the stage is dead, SIGKILL included), or on TERM, HUP and QUIT. INT is
ignored: what Ctrl-C means is for the flow to decide.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = float(os.environ.get("GLEAN_GRACE", "3"))  # seconds between TERM and KILL
ENDED = 128 + signal.SIGTERM  # exit code of a stage that was told to end
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def prctl(option: int, value: int) -> None:
    """Linux only; elsewhere a daemonised child can escape, and nothing else changes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:  # gone meanwhile
        pass
    return found


def descendants(pid: int) -> list[int]:
    below = children(pid)
    return below + [deep for child in below for deep in descendants(child)]


def send(number: signal.Signals, group: int) -> None:
    """Signal everything below this process, and the command's own process group."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            os.kill(pid, number)
    if sys.platform != "linux":  # no /proc to walk: at least the command's own group
        with contextlib.suppress(OSError):
            os.killpg(group, number)


def reap() -> bool:
    """Bury dead children; whether any are left alive."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end_tree(group: int) -> None:
    """End what is left of the stage: politely for `GRACE` seconds, then for certain."""
    if not reap():
        return
    send(signal.SIGTERM, group)
    deadline = time.monotonic() + GRACE
    while reap() and time.monotonic() < deadline:
        time.sleep(0.02)
    deadline = time.monotonic() + 5  # only the kernel can hold a killed process so long
    while reap() and time.monotonic() < deadline:
        send(signal.SIGKILL, group)
        time.sleep(0.02)


def wait_for(command: "subprocess.Popen[bytes]", wake: int, ending: list[int]) -> int | None:
    """The command's exit code, or None when it must be ended first."""
    while not ending:
        code = command.poll()
        if code is not None:
            return code if code >= 0 else 128 - code
        ready, _, _ = select.select([0, wake], [], [])
        if wake in ready:
            os.read(wake, 512)
        if 0 in ready and not os.read(0, 512):
            return None
    return None


def main() -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    ending: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda got, _: ending.append(got))

    def begin() -> None:  # SIG_IGN would be inherited; and the command dies if this process is shot
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        command = subprocess.Popen(
            sys.argv[1:],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=begin,  # noqa: PLW1509 (there are no threads here)
        )
    except OSError as error:
        sys.stderr.write(f"error: cannot run {sys.argv[1]}: {error.strerror}\n")
        return 127
    code = wait_for(command, wake, ending)
    end_tree(command.pid)
    return ENDED if code is None else code


if __name__ == "__main__":
    sys.exit(main())
