"""What DVC keeps private is touched here and in `folders`; test_dvc_private.py pins it.

Eight things of DVC are replaced, and only for stages that run within `repository(root, call)`:

- the running of a command: under a supervisor, line by line, the bookkeeper's lock released;
- when dependencies are hashed: before the command, not after (treeverse/dvc#11058);
- how dvc.lock is written: atomically, a new entry where one `dvc repro` of all would have put it;
- who owns a path lock: process and stage, where DVC only knows the process;
- how the repository lock is waited for: until it is free or `stop_all`;
- what an empty entry of the run cache is taken for, which a kill leaves: nothing, not an error;
- how dependencies are hashed, and where stages are looked for: `dvc_folders`.

A ninth, how often params.yaml is parsed, is replaced within `params_read_once()`.
"""

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from flows.dvc import folders
from flows.kills import locks, mend, process
from tasks.channel import VARIABLE, split

TAIL = 40  # lines of a failed stage's output that are kept

bookkeeper = threading.Lock()  # DVC is not thread-safe: all of it runs under this lock
_here = threading.local()  # .call: what this thread is doing
_order: dict[Path, list[str]] = {}  # root -> stages in the order of one `dvc repro` of all


class StageFailed(Exception):  # noqa: N818
    """A stage's command failed: its name, exit code (124: timed out) and the end of its output."""

    def __init__(self, name: str, exit_code: int, tail: str) -> None:
        super().__init__(f"{name} failed with exit code {exit_code}")
        self.name, self.exit_code, self.tail = name, exit_code, tail


@dataclass
class Call:
    """One `run_stage` at work."""

    root: Path
    name: str
    on_line: Callable[[str], None]
    env: Mapping[str, str]
    timeout: float | None
    ran: bool = False
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

    def line(self, text: str) -> None:
        said, message = split(text, self.env.get(VARIABLE, ""))
        if said or message is None:
            self.tail.append(said)
        self.on_line(text)


@contextmanager
def repository(root: Path, call: Call | None = None) -> Iterator[Any]:
    """A DVC repository of the caller's own; hold the `bookkeeper`. Changes to the root folder."""
    if Path.cwd() != root:  # DVC's names are relative to the working folder
        os.chdir(root)
    kind, lock = _dvc()
    git = any((folder / ".git").exists() for folder in (root, *root.parents))
    config = {} if git else {"core": {"no_scm": True}}  # a copy without git is fine, too
    _here.call = call
    try:
        with folders.looking(), kind(str(root), config=config, _wait_for_lock=True) as repo:
            if type(repo.lock) is lock.__base__:  # core.hardlink_lock has one of its own
                repo.lock = lock(repo.lock.lockfile)
            yield repo
    finally:
        _here.call = None


def is_busy(error: BaseException | None) -> bool:
    """Whether another process is in the way, or was killed while it was."""
    from dvc.lock import LockError
    from dvc.rwlock import RWLockFileCorruptedError, RWLockFileFormatError

    while error is not None:
        if isinstance(error, (LockError, RWLockFileCorruptedError, RWLockFileFormatError)):
            return True
        error = error.__cause__ or error.__context__
    return False


def stages_in_order(repo: Any) -> tuple[list[Any], dict[str, tuple[str, ...]]]:
    """The stages of the root's dvc.yaml in the order of `dvc repro`; name -> direct upstream."""
    import networkx

    with repo.lock:
        graph = repo.index.graph
    file = str(Path(repo.root_dir) / "dvc.yaml")
    order = [s for s in networkx.dfs_postorder_nodes(graph) if s.cmd and s.path == file]
    names = {stage.name for stage in order}
    upstream = {
        stage.name: tuple(
            up.name for up in graph.successors(stage) if stage.name in names and up.cmd
        )
        for stage in order
    }
    _order[Path(repo.root_dir)] = [stage.name for stage in order]
    return order, upstream


@contextmanager
def params_read_once() -> Iterator[None]:
    """DVC parses params.yaml anew for every stage; within this, once. Hold the `bookkeeper`."""
    import dvc.dependency.param as module

    original = module.load_path
    module.load_path = cache(original)
    try:
        yield
    finally:
        module.load_path = original


@cache
def _dvc() -> tuple[Any, Any]:
    """Import DVC, quiet, and put our parts in place; (Repo, our repository lock)."""
    import dvc.dvcfile
    import dvc.rwlock
    import dvc.stage.run
    from dvc.repo import Repo
    from dvc.stage.cache import StageCache, _get_stage_hash

    logging.getLogger("dvc").setLevel(logging.ERROR)
    run_original, rwlock_original = dvc.stage.run.cmd_run, dvc.rwlock.rwlock
    modify_original = dvc.dvcfile.modify_yaml
    load_original = StageCache._load

    def cmd_run(stage: Any, dry: bool = False, run_env: Any = None) -> None:
        call = _current()
        if call is None or dry:
            run_original(stage, dry=dry, run_env=run_env)
        else:
            _run(stage, call, run_env)

    def rwlock(tmp_dir: str, fs: Any, cmd: str, read: Any, write: Any, hardlink: bool) -> Any:
        call = _current()
        owner = cmd if call is None else f"{cmd} [{call.name}]"
        return rwlock_original(tmp_dir, fs, owner, read, write, hardlink)

    def modify_yaml(path: Any, fs: Any = None) -> Any:
        call = _current()
        return modify_original(path, fs=fs) if call is None else _modify(Path(path), call.root)

    def load_run(runs: Any, stage: Any) -> Any:
        key = _get_stage_hash(stage)
        folder = Path(runs._get_cache_dir(key)) if key else Path()
        filled = key and folder.exists() and any(folder.iterdir())
        return load_original(runs, stage) if filled else None

    StageCache._load = load_run
    folders.install()
    dvc.stage.run.cmd_run, dvc.rwlock.rwlock = cmd_run, rwlock
    dvc.dvcfile.modify_yaml = modify_yaml
    return Repo, _patient_lock()


def _current() -> Call | None:
    """What this thread's `run_stage` is doing, if it is in one."""
    return getattr(_here, "call", None)


def _patient_lock() -> Any:
    from dvc.lock import Lock, LockError

    class PatientLock(Lock):  # type: ignore[misc]
        """Looks ten times as often as DVC. What has been computed is recorded even if stopped."""

        def lock(self) -> None:
            while True:
                with contextlib.suppress(LockError):
                    self._do_lock()
                    return
                call = _current()
                if call is None or not call.ran:
                    process.check()
                time.sleep(0.05)

    return PatientLock


def _run(stage: Any, call: Call, run_env: Any) -> None:
    """Run the stage's commands. DVC has released its repository lock and takes it again after."""
    from dvc.stage import run

    for dep in stage.deps:
        dep.save()
    settings = run.prepare_kwargs(stage, run_env=run_env)
    meta = stage.meta or {}
    timeout = call.timeout if call.timeout is not None else meta.get("timeout")
    gpus = 0 if "CUDA_VISIBLE_DEVICES" in call.env else int(meta.get("gpus", 0))
    with ExitStack() as stack:
        bookkeeper.release()
        stack.callback(bookkeeper.acquire)
        # Of a killed flow this very stage may still be dying: wait until its tree is gone.
        running = call.root / locks.RUNNING / call.name
        mine = stack.enter_context(locks.lock(running, process.pause))
        chosen, held = stack.enter_context(locks.gpus(call.root, gpus, process.pause))
        extra = {"DVC_STAGE": call.name, **chosen, **call.env}
        env = process.stage_environment(settings["env"], extra)
        for cmd in run._enforce_cmd_list(stage.cmd):
            shell = run._make_cmd(run.get_executable(), cmd)
            cwd = Path(settings["cwd"])
            code = process.run(shell, call.line, cwd, env, timeout, [mine, *held])
            if code:
                raise StageFailed(call.name, code, "\n".join(call.tail))
        call.ran = True
    folders.forget()  # the command took its time
    stage.save_deps = partial(_keep_hashes, stage, call)


def _keep_hashes(stage: Any, call: Call, **_: Any) -> None:
    """In place of hashing the dependencies again: the hashes from before the command stay."""
    changed = [dep.def_path for dep in stage.deps if dep.status()]
    for path in changed:
        call.on_line(
            f"warning: {path} changed while {call.name} ran, so it will run again next time"
        )
    if changed:
        # Which version the command saw is unknown: never offer its result again from the run cache.
        stage.repo.stage_cache.save = lambda _: None


@contextmanager
def _modify(file: Path, root: Path) -> Iterator[Any]:
    """In place of DVC's `modify_yaml`, which empties the file before it writes."""
    from dvc.utils.serialize import dumps_yaml, parse_yaml_for_update

    content = parse_yaml_for_update(file.read_text("utf-8"), file) if file.exists() else {}
    known = set(content.get("stages", {}))
    yield content
    for name in [name for name in content["stages"] if name not in known]:
        _place(content["stages"], name, _order.get(root, []))
    text = dumps_yaml(content).encode()
    mend.write_atomically(file, text)
    mend.write_atomically(root / mend.GOOD, text)


def _place(stages: Any, name: str, order: list[str]) -> None:
    """Move a new entry before the first one that comes after it in `order`."""
    if name not in order:
        return
    later = set(order[order.index(name) + 1 :])
    where = next((i for i, other in enumerate(stages) if other in later), None)
    if where is not None:
        stages.insert(where, name, stages.pop(name))
