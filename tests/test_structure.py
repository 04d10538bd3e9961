"""The shape of the code: what one can read at a glance."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("flows", "tasks", "modalities", "benchmarks", "tests")
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


def folders(*tops: str) -> Iterator[Path]:
    for top in tops:
        yield ROOT / top
        yield from (p for p in (ROOT / top).rglob("*") if p.is_dir() and p.name[0] not in "._")


def test_no_folder_has_more_than_a_dozen_files() -> None:
    for folder in folders(*ROOMS, "docs", "profiles"):
        files = sorted(p.name for p in folder.iterdir() if p.is_file() and p.name[0] not in "._")
        assert len(files) <= 12, f"{folder}: split it: {files}"


def test_tests_mirror_the_rooms() -> None:
    """A folder of tests has the name of the package, or the module, that its tests are about."""
    for folder in folders(*(f"tests/{top}" for top in ROOMS[:-1])):
        room = ROOT / folder.relative_to(ROOT / "tests")
        assert room.is_dir() or room.with_suffix(".py").is_file(), f"{folder}: there is no {room}"
    names = [p.name for p in (ROOT / "tests").rglob("*.py")]
    assert len(names) == len(set(names)), "pytest wants names that differ"


PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("profiles/*.md")])
PATHS = re.compile(rf"(?<![\w./-])(?:{'|'.join(ROOMS)}|docs|profiles)/[\w./*-]*\w")
MODULES = re.compile(rf"python -m ((?:{'|'.join(ROOMS)})(?:\.\w+)*)")
README_TREE = re.compile(r"^    flows/.*?(?=^\S|\Z)", re.M | re.S)
EXAMPLES = {  # files that a page tells its reader to write
    "modalities/image/objectives/sketch.py", "modalities/image/objectives/halves.py",
    "modalities/audio/labelers/loudness.py", "tasks/census/__init__.py", "tasks/census",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_a_page_names_exists(page: Path) -> None:
    """Not docs/LOG.md, which is about what was."""
    if page.name == "LOG.md":
        return
    text = page.read_text("utf-8")
    for path in set(PATHS.findall(text)) - EXAMPLES:
        stands_for_any = re.search(r"\b(?:NAME|MODALITY)\b", path)
        assert stands_for_any or any(ROOT.glob(path)), f"{page.name}: there is no {path}"
    for module in MODULES.findall(text):
        place = ROOT / module.replace(".", "/")
        runs = place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
        assert runs, f"{page.name}: there is no {module}"


def test_the_tree_in_the_readme_is_true() -> None:
    tree = README_TREE.search((ROOT / "README.md").read_text("utf-8"))
    assert tree, "README.md has no tree"
    above: list[str] = []
    for line in tree[0].rstrip().splitlines():
        depth = (len(line) - len(line.lstrip())) // 4 - 1
        names = re.split(r" {2,}", line.strip())[0].split()
        for name in names:
            assert (ROOT / "/".join([*above[:depth], name])).exists(), f"there is no {name}: {line}"
        above[depth:] = names[:1]
