"""Which code decides this: the import closure of some modules, read from their source.

One answer for dvc.yaml (a test holds its lists against `reached(roots(...))`), for the fingerprint
of a checkpoint and for the keys of the caches of items and labels. Nothing is imported: every
`import` counts, those within functions too, but for those that only type checkers see.

What a module imports by a name that is made while it runs cannot be read: `roots` names it.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from tasks.settings import options
from tasks.settings.params import Params
from tasks.settings.strict import NONE

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tasks", "modalities")
# They check values and pass them on, find a module by its name, say how it goes: they decide no
# result.
PLUMBING = frozenset((
    "modalities.named", "tasks.__main__", "tasks.channel",
    "tasks.provenance", "tasks.settings.classes", "tasks.settings.methods",
    "tasks.settings.mistakes", "tasks.settings.options", "tasks.settings.params",
    "tasks.settings.starts", "tasks.settings.strict", "tasks.settings.templates", "tasks.sources",
    "tasks.stage", "tasks.wiring",
))  # fmt: skip


def roots(params: Params, stage: str, **values: str) -> list[str]:
    """Where the code of a stage begins, `values` being the arguments of `python -m tasks STAGE`."""
    if stage == "playroom":
        return _inside("tasks.playroom")
    if stage == "report":
        return _inside("tasks.report")
    if stage == "ingest":
        modality = values["modality"]
        return ["tasks.ingest", f"modalities.{modality}.reading", "tasks.settings.sections"]
    return [*_of_training(params, stage, values), "tasks.settings.runs"]


def _of_training(params: Params, stage: str, values: dict[str, str]) -> list[str]:
    """The roots of the stages that name a run, labels or a control."""
    if stage == "label":
        name = values["labels"]
        modality = params.modality_of_labels(name)
        return ["tasks.label", *of_labels(modality, params.section(modality).choices[name].labeler)]
    named = values.get("run") or values.get("checkpoint", "")
    modality = values.get("modality") or params.modality_of(named)
    home = options.home(modality)
    if stage == "pretrain":
        objective = params.run(values["run"]).objective
        return [*_inside("tasks.pretrain"), *of_pretraining(modality, objective)]
    if stage == "checkpoint":
        return ["tasks.published", f"modalities.{home}.published"]
    found = [f"modalities.{home}.tasks.{values['task']}", f"modalities.{modality}.network"]
    beside = getattr(params.section(modality), "auxiliary", NONE)
    if beside != NONE:
        found.append(f"modalities.{home}.objectives.{beside}")
    return ["tasks.transfer", *found]


def of_labels(modality: str, labeler: str) -> list[str]:
    """The roots of what decides an item's free label."""
    network = [f"modalities.{modality}.network"] if options.needs_run(modality, labeler) else []
    return [f"modalities.{modality}.labelers.{labeler}", *network]


def of_pretraining(modality: str, objective: str) -> list[str]:
    """The roots of what decides a step of a pretraining run."""
    return [f"modalities.{modality}.network", f"modalities.{modality}.objectives.{objective}"]


def reached(start: Iterable[str]) -> frozenset[Path]:
    """The files, relative to the project, of these modules and of all that they import."""
    found: set[str] = set()
    left = [name for name in start if name not in PLUMBING]
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        left += _imported(name) - found
    files = (_file(name) for name in found)
    return frozenset(
        path.relative_to(ROOT) for path in files if path and _has_code(path.read_text("utf-8"))
    )


def digest(start: Iterable[str]) -> str:
    """sha256 of the code that `start` reaches; other names of files are other code."""
    told = hashlib.sha256()
    for path in sorted(reached(start)):
        told.update(f"{path.as_posix()}\n".encode())
        told.update(hashlib.sha256((ROOT / path).read_bytes()).digest())
    return told.hexdigest()


def _inside(package: str) -> list[str]:
    """All modules of a package: what it imports by names made while it runs is its own."""
    folder = ROOT / package.replace(".", "/")
    found = (path.relative_to(ROOT).with_suffix("") for path in sorted(folder.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in found]


def _file(name: str) -> Path | None:
    """The file of a module; None if there is none, as for a name within a module."""
    path = ROOT / name.replace(".", "/")
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def _imported(name: str) -> set[str]:
    """The modules that a module imports, and the packages that Python runs on the way to it."""
    path = _file(name)
    assert path, f"{name}: there is no such module"
    parts = name.split(".")
    above = {".".join(parts[:i]) for i in range(1, len(parts))}
    wanted = above | {_module(each) for each in _names(path.read_text("utf-8"))}
    return {each for each in wanted if each and each not in PLUMBING}


def _module(name: str) -> str:
    """`package.module.name` -> `package.module`, where the name is not a module itself."""
    return name if _file(name) else name.rpartition(".")[0]


@cache
def _names(text: str) -> tuple[str, ...]:
    """Everything of the project that a module's text imports, as dotted names."""
    found: list[str] = []
    for node in _run(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{each.name}" for each in node.names]
    return tuple(name for name in found if name.split(".")[0] in PACKAGES)


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from (other, *_run(other))
            continue
        yield node
        yield from _run(node)


@cache
def _has_code(text: str) -> bool:
    """Not just a docstring, as most packages have."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(text).body)
