import json
import os
import random
import subprocess
import sys
import time

import psutil
import pytest
from ruamel.yaml import YAML

from flows.dvc import graph
from flows.kills import locks as leases
from flows.kills import mend
from tests.dvc_project import ROOT, SIDES, Project


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GLEAN_GRACE", "0.2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


@pytest.fixture
def dead_pid():
    with subprocess.Popen(["true"]) as done:
        done.wait()
    return done.pid


def test_nothing_to_mend_is_nothing_done(project, tmp_path):
    assert mend.repair(tmp_path) == []  # no DVC here at all
    assert mend.repair(project.root) == []
    project.run("a")
    before = project.lock()
    assert mend.repair(project.root) == []
    assert project.lock() == before


# ------------------------------------------------------------------------------------- path locks


@pytest.mark.parametrize("content", ["", '{"read": {"/x": [{"pi', "[1]", '{"read": {"/x": [3]}}'])
def test_a_torn_rwlock_is_removed(project, content):
    path = project.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    assert len(mend.repair(project.root)) == 1
    assert not path.exists()
    assert project.run("a")["side@a"] == "ran"


def test_only_the_entries_of_the_dead_are_released(project, dead_pid):
    path = project.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    live = {"pid": os.getpid(), "cmd": "x"}
    gone = {"pid": dead_pid, "cmd": "y"}
    path.write_text(
        json.dumps({"write": {"/a": gone, "/b": live}, "read": {"/c": [gone, live], "/d": [gone]}})
    )
    assert mend.repair(project.root) == [
        f"released the paths that a killed process held (pid {dead_pid})"
    ]
    assert json.loads(path.read_text()) == {"write": {"/b": live}, "read": {"/c": [live]}}


def test_a_zombie_holds_nothing(project):
    with subprocess.Popen(["sleep", "100"]) as shot:
        shot.kill()
        os.waitid(os.P_PID, shot.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has looked
        assert psutil.pid_exists(shot.pid)
        path = project.root / ".dvc/tmp/rwlock"
        path.parent.mkdir(exist_ok=True)
        out = str(project.root / "out/first")
        path.write_text(json.dumps({"write": {out: {"pid": shot.pid, "cmd": "glean run"}}}))
        assert graph.run_stage(project.root, "first", print) == "ran"


def test_the_file_that_a_killed_dvc_leaves_as_its_lock_does_not_matter(project, dead_pid):
    (project.root / ".dvc/tmp").mkdir(exist_ok=True)
    (project.root / ".dvc/tmp/lock").write_text(f" {dead_pid}\n")
    assert mend.repair(project.root) == []
    assert graph.run_stage(project.root, "first", print) == "ran"


# ---------------------------------------------------------------------------------------- dvc.lock

TEARS = [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: b"\0" * 64]


@pytest.mark.parametrize("tear", TEARS)
def test_a_torn_dvc_lock_comes_back_from_our_copy(project, tear):
    project.run("a")
    whole = project.lock()
    (project.root / "dvc.lock").write_bytes(tear(whole))
    (done,) = mend.repair(project.root)
    assert "restored from .gleaner/dvc.lock.good" in done
    assert project.lock() == whole
    assert set(project.run("a").values()) == {"clean"}


def test_the_newer_of_git_and_our_copy_is_taken(tmp_path):
    project = Project(tmp_path / "project", git=True)
    project.run("a")
    project.git("add", "dvc.lock")
    project.git("commit", "-q", "-m", "one")
    committed = project.lock()
    project.run("b")
    newer = project.lock()
    good = project.root / mend.GOOD
    later = time.time() + 60
    os.utime(good, (later, later))
    for content, said in [(newer, "dvc.lock.good"), (committed, "git")]:
        (project.root / "dvc.lock").write_bytes(b"")
        (done,) = mend.repair(project.root)
        assert f"restored from {'.gleaner/' if said != 'git' else ''}{said}" in done
        assert project.lock() == content
        os.utime(good, (1, 1))


def test_without_any_copy_the_run_cache_brings_everything_back(project):
    project.dvc("repro")
    ran = project.ran()
    (project.root / "dvc.lock").write_bytes(project.lock()[:100])
    (done,) = mend.repair(project.root)
    assert "no copy of it was whole" in done
    assert (project.root / mend.TORN).exists()
    assert set(project.run().values()) == {"restored"}
    assert project.ran() == ran


def test_a_whole_dvc_lock_that_we_did_not_write_is_kept_and_copied(project):
    project.run("a")
    project.dvc("repro", "side@b")
    lock = project.lock()
    assert mend.repair(project.root) == []
    assert project.lock() == lock == (project.root / mend.GOOD).read_bytes()


def test_a_dvc_lock_torn_beside_us_is_mended_before_the_next_stage(project):
    project.run("a")
    whole = project.lock()
    (project.root / "dvc.lock").write_bytes(b"")
    lines = []
    graph.run_stage(project.root, "side@b", lines.append)
    assert any("restored" in line for line in lines)
    assert project.lock() != whole
    assert set(project.run("a").values()) == {"clean"}


@pytest.mark.parametrize("left", [None, ".2crZglKhun3.tmp"])
def test_an_entry_of_the_run_cache_that_was_never_filled_is_no_obstacle(project, left):
    project.run()
    runs = project.root / ".dvc/cache/runs"
    for entry in runs.glob("*/*"):  # as a kill leaves it, between the folder and its file
        for file in entry.iterdir():
            file.unlink()
        if left:
            (entry / left).write_text("cut o")
    (project.root / "dvc.lock").unlink()
    (project.root / mend.GOOD).unlink(missing_ok=True)
    if left is None:
        assert set(project.run().values()) == {"ran"}  # not yet healed: no error either
        return
    assert any("empty entry of the run cache" in line for line in mend.repair(project.root))
    assert not list(runs.glob("*/*"))
    assert set(project.run().values()) == {"ran"}


def test_a_removed_dvc_lock_is_the_users_wish(project):
    project.run("a")
    (project.root / "dvc.lock").unlink()
    assert mend.repair(project.root) == []
    assert not (project.root / "dvc.lock").exists()


# --------------------------------------------------------------------------------------- leftovers


def test_half_made_outputs_are_removed_unless_someone_makes_them(project, dead_pid):
    half = project.root / "out/.first.part"
    busy = project.root / "out/.side_a.part"
    users = project.root / ".mine.part"
    for folder in (half, busy, users):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    (project.root / f".dvc.lock.{dead_pid}.tmp").write_text("x")
    (project.root / f".dvc.lock.{os.getpid()}.tmp").write_text("x")
    locks = {"write": {str(project.root / "out/side_a"): {"pid": os.getpid(), "cmd": "x"}}}
    (project.root / ".dvc/tmp").mkdir(exist_ok=True)
    (project.root / ".dvc/tmp/rwlock").write_text(json.dumps(locks))
    assert mend.repair(project.root) == ["removed out/.first.part: its stage was killed"]
    assert not half.exists()
    assert busy.exists()
    assert users.exists()
    assert [p.name for p in project.root.glob(".*.tmp")] == [f".dvc.lock.{os.getpid()}.tmp"]


def test_nothing_is_removed_while_a_stage_is_still_dying(project):
    half = project.root / "out/.first.part"
    half.mkdir(parents=True)
    with leases.lock(project.root / leases.RUNNING / "first", time.sleep):
        assert mend.repair(project.root) == []
        assert half.exists()
    assert len(mend.repair(project.root)) == 1


def test_what_a_killed_plain_dvc_left_running_is_ended(project):
    project.hook("echo $$ > pid.part; mv pid.part pid; sleep 600")
    command = [sys.executable, "-m", "dvc", "repro", "first"]
    with subprocess.Popen(command, cwd=project.root, stdout=subprocess.DEVNULL) as plain:
        until((project.root / "pid").exists)
        left = psutil.Process(int((project.root / "pid").read_text()))
        assert mend.repair(project.root) == []  # it is at work: leave it alone
        assert left.is_running()
        plain.kill()
    done = mend.repair(project.root)
    assert any("left running" in line for line in done)
    until(lambda: not left.is_running() or left.status() == psutil.STATUS_ZOMBIE)
    (project.root / "hook.sh").unlink()
    assert project.run("first")["first"] == "ran"


def until(condition):
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("never happened")


# ----------------------------------------------------------------------- killed at random moments

COMMANDS = {
    "glean": [sys.executable, str(ROOT / "tests/dvc_project.py")],
    "dvc": [sys.executable, "-m", "dvc", "repro"],
}


def finished(project: Project) -> set[str]:
    """The sides that dvc.lock or our copy know to be done, as they are noted in ran.txt."""
    found: set[str] = set()
    for path in (project.root / "dvc.lock", project.root / mend.GOOD):
        content = path.read_bytes() if path.exists() else b""
        if mend.is_whole(content):
            stages = YAML(typ="safe").load(content)["stages"].values()
            words = [stage["cmd"].split() for stage in stages]
            found |= {f"{word[2]}={word[4]}" for word in words if len(word) == 5}
    return found


def kill_once(project: Project, door: str, dice: random.Random) -> None:
    """Half of the kills come at any moment, half soon after a command has begun."""
    before = len(project.begun())
    run = subprocess.Popen(
        COMMANDS[door],
        cwd=project.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0, 2))
    else:
        until(lambda: len(project.begun()) > before or run.poll() is not None)
        time.sleep(dice.uniform(0, 0.6))
    run.kill()
    run.wait()


@pytest.mark.slow
@pytest.mark.parametrize("door", COMMANDS)
def test_fifteen_kills_at_random_moments_lose_no_finished_stage(project, door):
    dice = random.Random(f"kills of {door}")
    project.hook("sleep .1")
    value, kept_until = 1, {}  # a finished side -> how many commands had begun by then
    for _ in range(15):
        kill_once(project, door, dice)
        for side in finished(project):
            kept_until.setdefault(side, len(project.begun()))
        mend.repair(project.root)
        if sum(side.endswith(f"={value}") for side in kept_until) == len(SIDES):
            value += 1  # there is always something left to do
            project.params(dict.fromkeys(SIDES, value))
    mend.repair(project.root)
    ended = project.run()
    assert set(ended.values()) <= {"clean", "unchanged", "restored", "ran"}
    assert project.dirty() == {}
    for side, begun in kept_until.items():
        assert side not in project.begun()[begun:], f"{side} was finished and ran again"
    for side in SIDES:
        made = (project.root / f"out/side_{side}/made").read_text()
        assert made == f"source\nfirst\nside_{side} {value}\n"
    assert not list(project.root.glob("out/.*.part"))
