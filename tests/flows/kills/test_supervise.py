import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.kills import locks, process

SUPERVISE = Path(process.__file__).with_name("supervise.py")

# Writes the pid of a child, of a daemonised grandchild and its own, then waits for ever.
FAMILY = """
import os, subprocess, sys, time
sleep = [sys.executable, "-c", "{ignore}import time; time.sleep(600)"]
child = subprocess.Popen(sleep)
if os.fork() == 0:  # a daemon: its own session, its parent gone
    os.setsid()
    daemon = subprocess.Popen(sleep)
    open("daemon.part", "w").write(str(daemon.pid))
    os.rename("daemon.part", "daemon")
    os._exit(0)
while not os.path.exists("daemon"):
    time.sleep(0.01)
open("pids.part", "w").write(f"{{os.getpid()}} {{child.pid}} {{open('daemon').read()}}")
os.rename("pids.part", "pids")
{end}
"""
IGNORE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


def family(ignore="", end="time.sleep(600)"):
    return [sys.executable, "-c", FAMILY.format(ignore=ignore, end=end)]


def supervised(command, folder):
    return subprocess.Popen(
        [sys.executable, "-IS", str(SUPERVISE), *command],
        cwd=folder, stdin=subprocess.PIPE, env={**os.environ, "GLEAN_GRACE": "0.3"},
    )  # fmt: skip


def until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("never happened")


def pids(folder):
    until((folder / "pids").exists)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def dead(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_the_exit_code_is_forwarded(tmp_path, command, code):
    with supervised(["sh", "-c", command], tmp_path) as parent:
        assert parent.wait() == code


def test_a_command_that_does_not_exist(tmp_path):
    with supervised(["no-such-command"], tmp_path) as parent:
        assert parent.wait() == 127


@pytest.mark.parametrize("ignore", ["", IGNORE])
@pytest.mark.parametrize("how", ["stdin closes", "TERM", "HUP", "QUIT"])
def test_nothing_survives_being_ended(tmp_path, how, ignore):
    with supervised(family(ignore), tmp_path) as parent:
        everyone = pids(tmp_path)
        assert not any(map(dead, everyone))
        if how == "stdin closes":
            parent.stdin.close()
        else:
            parent.send_signal(getattr(signal, f"SIG{how}"))
        assert parent.wait() == 143
        assert all(map(dead, everyone))


def test_nothing_survives_the_commands_own_end(tmp_path):
    with supervised(family(end="sys.exit(5)"), tmp_path) as parent:
        everyone = pids(tmp_path)
        assert parent.wait() == 5
        assert all(map(dead, everyone))


def test_ctrl_c_is_for_the_flow_to_decide(tmp_path):
    command = "touch begun; while [ ! -e go ]; do sleep .02; done; exit 4"
    with supervised(["sh", "-c", command], tmp_path) as parent:
        until((tmp_path / "begun").exists)
        parent.send_signal(signal.SIGINT)
        (tmp_path / "go").touch()
        assert parent.wait() == 4


def test_the_command_dies_with_a_shot_supervisor(tmp_path):
    with supervised(family(), tmp_path) as parent:
        command, *others = pids(tmp_path)
        parent.kill()
        until(lambda: dead(command))
    for pid in others:  # these only the flow's next start can find
        os.kill(pid, signal.SIGKILL)


def test_all_ends_when_the_flow_is_shot(tmp_path):
    flow = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(SUPERVISE.parents[2])!r})
from flows.kills import process
process.run({family()!r}, print, Path({str(tmp_path)!r}), dict(os.environ))
"""
    with subprocess.Popen([sys.executable, "-c", flow]) as parent:
        everyone = pids(tmp_path)
        parent.kill()
        until(lambda: all(map(dead, everyone)))


# -------------------------------------------------------------------------------- running commands


def run(command, folder, **options):
    lines = []
    code = process.run(command, lines.append, folder, dict(os.environ), **options)
    return code, lines


def test_lines_of_both_streams_arrive_and_a_carriage_return_ends_one(tmp_path):
    code, lines = run(["sh", "-c", r"printf 'a\rb\n'; printf 'c\n' >&2; printf '\377'"], tmp_path)
    assert (code, lines) == (0, ["a", "b", "c", "\ufffd"])


def test_a_deadline(tmp_path):
    code, _ = run(family(), tmp_path, timeout=1.0)
    assert code == process.TIMED_OUT


def test_stop_all_ends_every_command_at_once(tmp_path):
    ended = []

    def work(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            run(family(), folder)
        except process.Stopped:
            ended.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    everyone = [pid for number in range(3) for pid in pids(tmp_path / str(number))]
    try:
        process.stop_all()
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == [0, 1, 2]
        assert all(map(dead, everyone))
        with pytest.raises(process.Stopped):
            run(["true"], tmp_path)
    finally:
        process.reset()
    assert run(["true"], tmp_path) == (0, [])


# ------------------------------------------------------------------------------------------ leases


@contextmanager
def lease(root, count):
    with locks.gpus(root, count, process.pause) as (env, _):
        yield env


def test_no_gpu_no_lease(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with lease(tmp_path, 1) as env:
        assert env == {}


def test_gpus_are_found_without_torch(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: H200 (UUID: GPU-a)'\necho 'GPU 1: H200 (UUID: b)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    locks._installed.cache_clear()
    try:
        assert locks.devices() == ("0", "1")
    finally:
        locks._installed.cache_clear()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-b,-1,4")
    assert locks.devices() == ("3", "GPU-b")


def test_a_gpu_is_leased_once_and_asking_for_more_than_there_are_gets_all(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with lease(tmp_path, 1) as one, lease(tmp_path, 1) as two:
        assert {one["CUDA_VISIBLE_DEVICES"], two["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
        assert locks._grab(tmp_path / locks.LEASES, ("0", "1"), 1) == {}
    with lease(tmp_path, 9) as everything:
        assert everything == {"CUDA_VISIBLE_DEVICES": "0,1"}


def test_who_waits_gets_it_when_it_is_free_or_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = lease(tmp_path, 1)
    first.__enter__()
    waits = []

    def pause(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            first.__exit__(None, None, None)

    with locks.gpus(tmp_path, 1, pause) as (env, _):
        assert env == {"CUDA_VISIBLE_DEVICES": "0"}
        assert len(waits) == 3
        process.stop_all()
        try:
            with pytest.raises(process.Stopped), lease(tmp_path, 1):
                pass
        finally:
            process.reset()


def test_a_lease_lasts_until_the_stages_tree_is_dead_and_not_longer(tmp_path, monkeypatch):
    """The flow is shot; the stage takes its time to die; only then is the GPU free."""
    flow = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(SUPERVISE.parents[2])!r})
from flows.kills import locks, process
folder = Path({str(tmp_path)!r})
with locks.gpus(folder, 1, process.pause) as (env, held):
    process.run({family(IGNORE)!r}, print, folder, dict(os.environ), keep=held)
"""
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "0", "GLEAN_GRACE": "1"}
    lock = tmp_path / locks.LEASES / "gpu-0"
    with subprocess.Popen([sys.executable, "-c", flow], env=env) as parent:
        everyone = pids(tmp_path)
        assert locks.try_lock(lock) is None
        parent.kill()
        parent.wait()
        found = []

        def free():
            descriptor = locks.try_lock(lock)
            if descriptor is not None:
                found.extend(map(dead, everyone))
                os.close(descriptor)
            return descriptor is not None

        until(free)
        assert all(found)
