import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.dvc import graph
from flows.kills import process
from modalities.items import UserError
from tests.dvc_project import ROOT, SIDES, Project

SIDE_NAMES = {f"side@{side}" for side in SIDES}


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("GLEAN_GRACE", "0.3")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.chdir(tmp_path)  # `plan` changes the working folder; this changes it back
    yield
    graph.reset()


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path / "project")


# -------------------------------------------------------------------------------------------- plan


def test_a_fresh_checkout_has_everything_to_do(project):
    stages = graph.plan(project.root)
    names = [stage.name for stage in stages]
    assert set(names) == {"first", "last"} | SIDE_NAMES
    by_name = {stage.name: stage for stage in stages}
    for stage in stages:
        assert all(names.index(up) < names.index(stage.name) for up in stage.upstream)
        assert not stage.clean
        assert stage.why[0] == "never ran"
    assert by_name["side@a"].upstream == ("first",)
    assert set(by_name["last"].upstream) == SIDE_NAMES
    assert "upstream first would run" in by_name["side@a"].why
    assert by_name["side@a"].outs == ("out/side_a",)
    assert by_name["side@a"].meta == {"gpus": 1}
    assert by_name["side@a"].cmd == "sh stage.sh side_a out/first 1"


def test_what_changed_is_named_and_only_what_depends_on_it_is_dirty(project):
    project.run()
    assert project.dirty() == {}

    project.params({"b": 2})
    dirty = project.dirty()
    assert set(dirty) == {"side@b", "last"}
    assert "its command changed" in dirty["side@b"]
    assert "params.yaml: sides.b changed" in dirty["side@b"]
    assert dirty["last"] == ("upstream side@b would run",)
    project.params({})

    (project.root / "c.txt").write_text("else")
    assert project.dirty()["side@c"] == ("c.txt modified",)
    (project.root / "c.txt").write_text("c\n")

    (project.root / "out/side_d/made").unlink()
    (project.root / "out/side_d").rmdir()
    dirty = project.dirty()
    assert dirty["side@d"] == ("output out/side_d missing",)
    assert set(dirty) == {"side@d", "last"}


def test_a_change_at_the_root_leaves_nothing_downstream_clean(project):
    project.run()
    (project.root / "source.txt").write_text("another\n")
    assert set(project.dirty()) == {"first", "last"} | SIDE_NAMES


def test_an_output_changed_by_hand_is_seen_by_its_readers_too(project):
    project.run()
    made = project.root / "out/first/made"
    made.unlink()
    made.write_text("by hand")
    dirty = project.dirty()
    assert dirty["first"] == ("output out/first modified",)
    assert "out/first modified" in dirty["side@a"]


def test_forced_means_all(project):
    project.run()
    stages = graph.plan(project.root, ["side@a"], force=True)
    assert [(s.name, s.clean, s.why[0]) for s in stages] == [
        ("first", False, "forced"),
        ("side@a", False, "forced"),
    ]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["first"], {"first"}),
        (["side"], {"first"} | SIDE_NAMES),
        (["a"], {"first", "side@a"}),
        (["out/side_b"], {"first", "side@b"}),
        (["out/side_b/made"], {"first", "side@b"}),
        (["a", "side@b"], {"first", "side@a", "side@b"}),
        (["out"], {"first", "last"} | SIDE_NAMES),
    ],
)
def test_targets(project, targets, expected):
    assert {stage.name for stage in graph.plan(project.root, targets)} == expected


def test_an_unknown_target_names_the_nearest(project):
    with pytest.raises(UserError, match=r"unknown target 'lost'.*did you mean 'last'"):
        graph.plan(project.root, ["lost"])


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("dvc.yaml", "stages:\n  a: [", r"dvc\.yaml.*line \d"),
        ("dvc.yaml", "stages:\n  a:\n    command: x\n", "stages -> a.*extra keys"),
        ("dvc.yaml", "stages:\n  a:\n    cmd: x ${nope}\n", "nope"),
        ("params.yaml", "sides: [", r"params\.yaml"),
    ],
)
def test_mistakes_in_the_files_are_the_users(project, file, text, message):
    (project.root / file).write_text(text)
    with pytest.raises(UserError, match=message):
        graph.plan(project.root)


def test_a_folder_that_dvc_does_not_know(tmp_path):
    with pytest.raises(UserError, match=r"(?i)not.*dvc repository"):
        graph.plan(tmp_path)


# --------------------------------------------------------------------------------------- two doors


@pytest.mark.slow
def test_both_doors_leave_the_same_bytes_and_see_each_others_work(tmp_path):
    ours, theirs = (Project(tmp_path / name, git=True) for name in ("ours", "theirs"))
    assert set(ours.run().values()) == {"ran"}
    theirs.dvc("repro")
    assert ours.lock() == theirs.lock()
    assert theirs.dirty() == {}
    assert "Data and pipelines are up to date" in ours.dvc("status")
    assert len(ours.ran()) == len(theirs.ran()) == 8
    for project in (ours, theirs):
        project.params({"e": 7})
    assert ours.run()["side@e"] == "ran"
    theirs.dvc("repro")
    assert ours.lock() == theirs.lock()
    # DVC left no .gitignore files of its own: the root's names the outputs.
    found = [p for p in ours.root.rglob(".gitignore") if ".git" not in p.parts]
    assert {p.relative_to(ours.root) for p in found} == {
        Path(".gitignore"),
        Path(".dvc/.gitignore"),
    }
    assert ours.git("diff", "--cached", "--name-only") == ""  # nothing was staged either


def test_a_copy_without_git_runs_too(project):
    (project.root / ".dvc/config.local").unlink()
    assert set(project.run("a").values()) == {"ran"}
    assert set(project.run("a").values()) == {"clean"}


def test_git_ignores_every_output_of_ours_and_not_dvc_lock():
    """Else DVC writes .gitignore files all over, and refuses an ignored dvc.lock."""
    from ruamel.yaml import YAML

    def ignored(path):
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        return done.returncode == 0

    stages = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].values()
    outs = [out for stage in stages for out in stage.get("do", stage)["outs"]]
    names = [out if isinstance(out, str) else next(iter(out)) for out in outs]
    assert len(names) >= 6
    for name in names:
        assert ignored(name.replace("${", "").replace("}", "")), name
    for name in ("dvc.lock", ".dvc/config", ".dvc/.gitignore", ".dvcignore"):
        assert not ignored(name), name


def test_a_stage_runs_in_its_folder_with_this_python(project):
    project.hook("env > env.txt; pwd > pwd.txt; which python > python.txt")
    graph.run_stage(project.root, "first", lambda line: None, env={"MINE": "yes"})
    assert Path((project.root / "pwd.txt").read_text().strip()) == project.root
    seen = (project.root / "env.txt").read_text().splitlines()
    assert "MINE=yes" in seen
    assert "DVC_STAGE=first" in seen
    assert f"DVC_ROOT={project.root}" in seen
    here = (project.root / "python.txt").read_text().strip()
    assert Path(here).parent == Path(sys.executable).parent


def test_changing_back_restores_without_running(project):
    project.run()
    project.params({"b": 2})
    assert project.run()["side@b"] == "ran"
    before = len(project.ran())
    project.params({})
    ended = project.run()
    assert ended["side@b"] == ended["last"] == "restored"
    assert ended["side@a"] == "clean"
    assert len(project.ran()) == before
    assert (project.root / "out/side_b/made").read_text() == "source\nfirst\nside_b 1\n"


def test_up_to_date_is_unchanged_unless_forced(project):
    for force, how in [(False, "ran"), (False, "unchanged"), (True, "ran")]:
        assert graph.run_stage(project.root, "first", print, force=force) == how
    assert project.ran() == ["first", "first"]


# ------------------------------------------------------------------------------------ side by side

BARRIER = """
case $1 in side_*)
  touch began_$1
  n=0
  while [ $(ls began_side_* | wc -l) -lt 6 ]; do
    n=$((n + 1)); [ $n -lt 600 ] || exit 7; sleep .05
  done;;
esac
"""


def test_independent_stages_run_side_by_side_and_no_entry_is_lost(project):
    project.hook(BARRIER)  # no side ends before all six have begun
    assert set(project.run().values()) == {"ran"}
    (project.root / "hook.sh").unlink()
    assert project.dirty() == {}


def test_a_path_stays_locked_until_its_last_reader_is_done(project):
    """DVC tells owners apart by process only: the first thread to end would unlock the path."""
    import json

    project.run("first")
    project.hook("[ $1 != side_b ] || while [ ! -e go ]; do sleep .05; done")
    other = threading.Thread(
        target=graph.run_stage, args=(project.root, "side@b", lambda line: None)
    )
    other.start()
    while "side_b" not in project.ran():
        process.pause(0.05)
    graph.run_stage(project.root, "side@a", lambda line: None)
    locks = json.loads((project.root / ".dvc/tmp/rwlock").read_text())
    (project.root / "go").touch()
    other.join()
    readers = locks["read"][str(project.root / "out/first")]
    assert [reader["cmd"].split()[-1] for reader in readers] == ["[side@b]"]


@pytest.mark.slow
def test_two_flows_and_a_plain_dvc_at_once_are_safe(project):
    project.hook("sleep .2")
    command = [sys.executable, str(ROOT / "tests/dvc_project.py")]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    flows = [
        subprocess.Popen(command, cwd=project.root, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    # Plain DVC gives up when a path is taken; it must not harm the flows.
    project.dvc("repro", "--keep-going", check=False)
    for flow in flows:
        output, _ = flow.communicate(timeout=120)
        assert flow.returncode == 0, output
    assert sorted(project.ran()) == sorted(set(project.ran()))  # each stage ran once
    assert len(project.ran()) == 8
    assert project.dirty() == {}


# ------------------------------------------------------------------- what changes during a command


def test_a_dependency_edited_while_its_stage_runs_makes_it_dirty(project):
    """DVC itself hashes after the command and would call the old output up to date (#11058)."""
    project.run("first")
    project.hook("[ $1 != side_a ] || echo edited > a.txt")
    lines = []
    assert graph.run_stage(project.root, "side@a", lines.append) == "ran"
    assert any(line.startswith("warning: a.txt changed while side@a ran") for line in lines)
    assert project.dirty()["side@a"] == ("a.txt modified",)
    # Which of the two versions the command saw is unknown: the run cache must not offer it.
    (project.root / "a.txt").write_text("a\n")
    (project.root / "hook.sh").unlink()
    (project.root / "dvc.lock").unlink()
    assert graph.run_stage(project.root, "side@a", lines.append) == "ran"


def test_no_warning_without_an_edit(project):
    lines = []
    graph.run_stage(project.root, "first", lines.append)
    assert not any("warning" in line for line in lines)


def test_a_failure_while_dvc_lock_is_written_leaves_the_old_one(project, monkeypatch):
    project.run("first")
    before = project.lock()

    def full(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(UserError, match=r"side@a: .*No space left"):
            graph.run_stage(project.root, "side@a", lambda line: None)
    assert project.lock() == before
    assert graph.run_stage(project.root, "side@a", lambda line: None) == "restored"


# -------------------------------------------------------------------------------- failing, stopping


def test_a_failing_stage_fails_alone(project):
    project.hook("[ $1 != side_c ] || { echo the reason; exit 3; }")
    ended = project.run()
    failure = ended["side@c"]
    assert isinstance(failure, graph.StageFailed)
    assert (failure.name, failure.exit_code, failure.tail) == ("side@c", 3, "the reason")
    assert isinstance(ended["last"], graph.StageFailed)
    assert {ended[f"side@{side}"] for side in "abdef"} == {"ran"}
    assert not (project.root / "out/side_c").exists()
    assert set(project.dirty()) == {"side@c", "last"}


def test_a_missing_dependency_is_named(project):
    (project.root / "source.txt").unlink()
    with pytest.raises(UserError, match=r"first: .*source\.txt"):
        graph.run_stage(project.root, "first", lambda line: None)


def test_a_stage_that_takes_too_long_is_ended(project):
    project.hook("sleep 100")
    with pytest.raises(graph.StageFailed) as failure:
        graph.run_stage(project.root, "first", lambda line: None, timeout=0.2)
    assert failure.value.exit_code == process.TIMED_OUT


def test_stop_all_ends_what_runs_and_refuses_more_until_reset(project):
    project.hook("echo begun; sleep 100")

    def stop(line):
        if line == "begun":
            threading.Thread(target=graph.stop_all).start()

    with pytest.raises(graph.Stopped):
        graph.run_stage(project.root, "first", stop)
    with pytest.raises(graph.Stopped):
        graph.run_stage(project.root, "first", lambda line: None)
    graph.reset()
    (project.root / "hook.sh").unlink()
    assert graph.run_stage(project.root, "first", lambda line: None) == "ran"


def test_a_listener_that_raises_leaves_no_process(project):
    project.hook("echo $$ > pid.txt; echo line; sleep 100")

    def broken(line):
        raise RuntimeError("broken listener")

    with pytest.raises(RuntimeError, match="broken listener"):
        graph.run_stage(project.root, "first", broken)
    pid = int((project.root / "pid.txt").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# -------------------------------------------------------------------------------------------- GPUs


def test_a_stage_gets_the_gpus_that_it_asks_for(project, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    project.run("first")
    project.hook("echo gpu:$CUDA_VISIBLE_DEVICES")
    lines = []
    graph.run_stage(project.root, "side@a", lines.append)
    assert "gpu:5" in lines
    graph.run_stage(project.root, "side@b", lines.append, env={"CUDA_VISIBLE_DEVICES": "7"})
    assert "gpu:7" in lines
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert graph.run_stage(project.root, "side@c", lines.append) == "ran"
