"""What a user may call the stages that a run is about."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from modalities.items import UserError
from tasks.settings.mistakes import nearest


def leading_to(
    targets: Sequence[str],
    upstream: Mapping[str, Sequence[str]],
    outs: Mapping[str, Sequence[str]],
    root: Path,
) -> set[str]:
    """The named stages and all that is upstream of them; without targets, every stage."""
    if not targets:
        return set(upstream)
    wanted: set[str] = set()
    waiting = [name for target in targets for name in _named(target, upstream, outs, root)]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += upstream[name]
    return wanted


def _named(
    target: str,
    upstream: Mapping[str, Sequence[str]],
    outs: Mapping[str, Sequence[str]],
    root: Path,
) -> list[str]:
    """A stage, a group, a part after the @, or an output's path (inside or above it counts too)."""
    if target in upstream:
        return [target]
    group = [name for name in upstream if name.startswith(f"{target}@")]
    part = [name for name in upstream if f"-{target}-" in f"-{name.partition('@')[2]}-"]
    path = Path(os.path.normpath(root / target))
    made = [n for n in upstream if any(_on_one_line(path, root / out) for out in outs[n])]
    found = group or part or (made if path != root else [])
    if not found:
        raise UserError(f"unknown target {target!r}{nearest(target, _known(upstream))}")
    return found


def _on_one_line(path: Path, out: Path) -> bool:
    return path == out or path in out.parents or out in path.parents


def _known(names: Mapping[str, Sequence[str]]) -> list[str]:
    groups = {name.partition("@")[0] for name in names}
    parts = {part for name in names for part in name.partition("@")[2].split("-") if part}
    return sorted({*names, *groups, *parts})
