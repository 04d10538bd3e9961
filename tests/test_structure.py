"""The shape of the code: what one can read at a glance."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(p for top in ("flows", "tasks", "modalities") for p in (ROOT / top).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= 260, f"{path}: split it"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 42, f"{path}:{node.lineno}: {node.name} has {length} lines"


def test_there_is_no_registry() -> None:
    """A method is found by its path: no other file may name it."""
    for method in (ROOT / "modalities/image/objectives").glob("[a-z]*.py"):
        name = f"objectives.{method.stem}"
        others = [p for p in SOURCES if p != method and name in p.read_text("utf-8")]
        assert not others


def test_nothing_of_this_machine_is_in_the_repository() -> None:
    here = re.compile(rf"(?<![\w.]){re.escape(str(ROOT.parent))}/")  # `.dvc/tmp/` is not `/tmp/`
    for path in SOURCES:
        assert not here.search(path.read_text("utf-8")), path
