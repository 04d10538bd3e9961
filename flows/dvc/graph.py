"""DVC as a library: what would run and why, and bringing one stage up to date.

DVC is imported when it is needed (.3 s); what it keeps private is touched in `dvc_private` only.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from flows.dvc.private import (
    Call,
    StageFailed,
    bookkeeper,
    is_busy,
    params_read_once,
    repository,
    stages_in_order,
)
from flows.dvc.targets import leading_to
from flows.kills import mend, process
from flows.kills.process import Stopped
from modalities.items import UserError

__all__ = ["How", "Stage", "StageFailed", "Stopped", "plan", "reset", "run_stage", "stop_all"]

How = Literal["ran", "restored", "unchanged"]

LOOK_AGAIN = 0.5  # seconds between two looks at what another process holds
_SAID = {"deleted": "missing", "not in cache": "is not in the cache", "new": "is not recorded"}


@dataclass(frozen=True)
class Stage:
    """One stage of dvc.yaml as it stands now."""

    name: str
    cmd: str
    upstream: tuple[str, ...]  # stages whose outputs this one reads
    clean: bool  # nothing to do, here and in all that is upstream
    why: tuple[str, ...]  # human reasons why it would run; empty when clean
    meta: Mapping[str, Any] = field(default_factory=dict)  # cores, gpus, partial, retries...
    outs: tuple[str, ...] = ()  # paths relative to the root
    wdir: str = "."
    deps: tuple[str, ...] = ()  # paths relative to the root


# -------------------------------------------------------------------------------------------- plan


def plan(root: Path, targets: Sequence[str] = (), force: bool = False) -> list[Stage]:
    """Stages in topological order, restricted to what leads to the targets.

    A target is a stage's name, a group (`pretrain-image`), a part of a name after the @ (the run
    `rotation`), or the path of an output. UserError names an unknown one and the nearest match.
    """
    root = root.resolve()
    with bookkeeper, _told(), repository(root) as repo, params_read_once():
        order, upstream = stages_in_order(repo)
        outs = {s.name: tuple(_relative(out, root) for out in s.outs) for s in order}
        wanted = leading_to(targets, upstream, outs, root)
        why: dict[str, tuple[str, ...]] = {}
        intact: dict[str, Any] = {}
        for stage in order:
            if stage.name in wanted:
                own = ("forced",) if force else tuple(_reasons(stage, root, intact))
                dirty = tuple(f"upstream {up} would run" for up in upstream[stage.name] if why[up])
                why[stage.name] = own + dirty
        return [
            Stage(
                name=stage.name,
                cmd=stage.cmd if isinstance(stage.cmd, str) else "\n".join(stage.cmd),
                upstream=upstream[stage.name],
                clean=not why[stage.name],
                why=why[stage.name],
                meta=stage.meta or {},
                outs=outs[stage.name],
                wdir=os.path.relpath(stage.wdir, root),
                deps=tuple(_relative(dep, root) for dep in stage.deps),
            )
            for stage in order
            if stage.name in wanted
        ]


def _relative(item: Any, root: Path) -> str:
    return os.path.relpath(item.fs_path, root)


def _reasons(stage: Any, root: Path, intact: dict[str, Any]) -> Iterator[str]:
    """Why `dvc repro` would run this stage. Looks at the workspace without taking path locks.

    `intact` maps what is as recorded to what is recorded, so that a large folder, and code that
    many stages depend on, is looked at once.
    """
    lost = []
    for out in stage.outs:
        state = next(iter(out.status().values()), None)
        if state is None:
            intact[out.fs_path] = out.hash_info
        else:
            lost.append(f"output {_relative(out, root)} {_SAID.get(state, state)}")
    if not any(item.hash_info for item in [*stage.deps, *stage.outs]):
        yield "never ran"
        return
    if stage.cmd_changed:
        yield "its command changed"
    if stage.always_changed or stage.is_callback:
        yield "it always runs"
    for dep in stage.deps:
        yield from _changes(dep, root, intact)
    yield from lost


def _changes(dep: Any, root: Path, intact: dict[str, Any]) -> list[str]:
    if dep.hash_info and intact.get(dep.fs_path) == dep.hash_info:
        return []
    found = list(changes(dep, root))
    if not found:
        intact[dep.fs_path] = dep.hash_info
    return found


def changes(dep: Any, root: Path) -> Iterator[str]:
    """What differs between a dependency and its recorded hash, in words."""
    path = _relative(dep, root)
    for state in dep.status().values():
        if isinstance(state, str):
            yield f"{path} {_SAID.get(state, state)}"
            continue
        for key, change in state.items():  # of a params file: key -> what happened to it
            yield f"{path}: {key} {'changed' if change == 'modified' else change}"


# --------------------------------------------------------------------------------------------- run


def run_stage(
    root: Path,
    name: str,
    on_line: Callable[[str], None],
    env: Mapping[str, str] | None = None,
    force: bool = False,
    timeout: float | None = None,
) -> How:
    """Bring one stage up to date; its upstream must be. Thread-safe; StageFailed, Stopped.

    What another process holds is waited for. GPUs that `meta` asks for are leased, unless `env`
    already says which to use; without `timeout`, `meta` may set one, too (seconds).
    """
    root, told = root.resolve(), False
    call = Call(root, name, on_line, env or {}, timeout)
    while True:
        process.check()
        if not mend.looks_whole(root):  # a `dvc` beside us may have been killed
            for line in mend.mend_lock(root):
                on_line(f"warning: {line}")
        try:
            with bookkeeper, repository(root, call) as repo:
                changed = repo.reproduce(name, single_item=True, force=force and not call.ran)
            return "ran" if call.ran else "restored" if changed else "unchanged"
        except Exception as error:
            if not is_busy(error):
                raise _translated(error, f"{name}: ") from error
        if not told:
            on_line(f"{name}: waiting for another process that works on the same paths")
            told = True
        mend.mend_rwlock(root)
        process.pause(LOOK_AGAIN)


def stop_all() -> None:
    """End every running stage's process tree and refuse new ones until `reset`."""
    process.stop_all()


def reset() -> None:
    """Allow stages again after `stop_all`."""
    process.reset()


@contextmanager
def _told() -> Iterator[None]:
    """Mistakes in dvc.yaml, params.yaml or the set-up are the user's: one clear message."""
    try:
        yield
    except Exception as error:
        translated = _translated(error, "")
        if translated is error:
            raise
        raise translated from error


def _translated(error: BaseException, prefix: str) -> BaseException:
    """What a user is told: our own errors as they are, DVC's as one UserError."""
    from dvc.exceptions import DvcException, ReproductionError

    if isinstance(error, ReproductionError) and error.__cause__:  # DVC's frame around the real one
        error = error.__cause__
    causes = [error]
    while below := causes[-1].__cause__ or causes[-1].__context__:
        causes.append(below)
    for cause in causes:
        if isinstance(cause, (StageFailed, Stopped, UserError)):
            return cause
    if not isinstance(error, (DvcException, OSError)):
        return error
    texts = [_text(cause) for cause in causes if isinstance(cause, (DvcException, OSError))]
    return UserError(prefix + ": ".join(dict.fromkeys(texts)))


def _text(error: BaseException) -> str:
    """DVC's words with the details that it keeps for its own pages: which line, which key."""
    details = getattr(error, "exc", None)
    found = [
        f"{' -> '.join(map(str, one.path))}: {one.error_message}"
        for one in getattr(details, "errors", [])
    ]
    mark = getattr(getattr(details, "__cause__", None), "problem_mark", None)
    if mark is not None:
        found.append(f"line {mark.line + 1}, column {mark.column + 1}")
    text = str(error).replace(f"{Path.cwd()}/", "")
    return f"{text}: {'; '.join(found)}" if found else text
