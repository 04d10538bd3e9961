"""Classes of the project and their base classes, read from source: nothing is imported.

A base class is found in the same file, or through its imports: `from modalities.x import Base`,
or `from modalities import x` and `x.Base`.
"""

import ast
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from modalities.items import UserError

PROJECT = Path(__file__).resolve().parents[2]
_parsing = threading.Lock()


@dataclass(frozen=True)
class Written:
    """A class where it is written."""

    node: ast.ClassDef
    path: Path

    @property
    def name(self) -> str:
        return self.node.name

    @property
    def public(self) -> bool:
        return not self.name.startswith("_")

    @property
    def init(self) -> ast.FunctionDef | None:
        """Its own `__init__`."""
        own = (n for n in self.node.body if isinstance(n, ast.FunctionDef))
        return next((n for n in own if n.name == "__init__"), None)

    def bases(self) -> list[str]:
        """The names of its base classes as they are written, less type arguments."""
        return [ast.unparse(base).split("[")[0] for base in self.node.bases]

    def line(self) -> "list[Written]":
        """The class and those of its base classes, near ones first, that the project has."""
        above = [each for parent in self.parents() for each in parent.line()]
        return list(dict.fromkeys([self, *above]))

    def parents(self) -> "list[Written]":
        """Those of its base classes that the project has."""
        above = {c.name: c for c in classes(self.path) if c.node.lineno < self.node.lineno}
        found = (above.get(base) or _imported(self.path, base) for base in self.bases())
        return [each for each in found if each is not None]

    def derives(self, base: str) -> bool:
        """Is a class of this name among its base classes, near or far?"""
        written = (name for each in self.line() for name in each.bases())
        return base in {name.split(".")[-1] for name in written}

    def called(self) -> ast.FunctionDef | None:
        """The `__init__` that it has: its own, or that of the nearest base class with one."""
        return next((each.init for each in self.line() if each.init), None)

    def value(self, name: str) -> Any:
        """A class attribute, which must be a literal: the nearest that is written, or None."""
        for each in self.line():
            for target, value, _ in each.attributes():
                if target == name and value is not None:
                    return ast.literal_eval(value)
        return None

    def attributes(self) -> Iterator[tuple[str, ast.expr | None, ast.expr | None]]:
        """Its own: name, value and annotation; None for what is not written."""
        for node in self.node.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.value, node.annotation
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                yield node.targets[0].id, node.value, None


def classes(path: Path) -> list[Written]:
    """The classes at the top of a file."""
    return [Written(node, path) for node in tree(path).body if isinstance(node, ast.ClassDef)]


def tree(path: Path) -> ast.Module:
    """What a file says; UserError where it is not Python."""
    try:
        return _parsed(path, path.read_text("utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None


def _imported(path: Path, name: str) -> Written | None:
    """The class of the project that a file imports by this name: `Base`, or `module.Base`."""
    first, _, rest = name.partition(".")
    for node in tree(path).body:
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == first:
                    module, wanted = node.module, alias.name
                    return _in(f"{module}.{wanted}", rest) if rest else _in(module, wanted)
    return None


def _in(module: str, name: str) -> Written | None:
    """The class of this name that a module has, or has from elsewhere."""
    if not (path := _file(module)):
        return None
    own = {each.name: each for each in classes(path)}
    return own.get(name) or _imported(path, name)


def _file(module: str) -> Path | None:
    """The file of a module of the project."""
    path = PROJECT.joinpath(*module.split("."))
    files = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in files if file.is_file()), None)


@cache
def _parsed(path: Path, text: str) -> ast.Module:  # noqa: ARG001
    """CPython 3.11 counts the depth of all threads' parses as one (python/cpython#106905): ours
    wait for each other, and one that Prefect's got in the way of is done again."""
    with _parsing:
        try:
            return ast.parse(text)
        except SystemError:
            return ast.parse(text)
