"""The options of every method: names, types, constraints and defaults are what is written down.

option_schemas.txt beside this file has them. For a change that is meant, run this file by itself:
`python tests/tasks/settings/test_options.py`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from modalities import named
from modalities.base import Objective
from modalities.common.measuring.rows import Task
from modalities.items import UserError
from modalities.labels import Labeler
from tasks.settings import classes, options

WRITTEN = Path(__file__).with_name("option_schemas.txt")
MODALITIES = ("audio", "image", "shape", "video")
ENCODERS = ("small", "vit", "transformer", "resnet18", "timm/resnet18", f"timm/{options.VIT}")


def methods(kind: str) -> list[tuple[str, str]]:
    """(modality, name) of all that there are."""
    return [(m, name) for m in MODALITIES for name in options.names(m, kind)]


def schemas() -> Iterator[tuple[str, options.Lookup]]:
    for kind in ("objectives", "labelers", "tasks"):
        for modality, name in methods(kind):
            yield modality, options.method(modality, kind, name)
    for modality in MODALITIES:
        for name in ENCODERS:
            yield modality, options.encoder(modality, name)


def lines() -> list[str]:
    found = []
    for modality, each in schemas():
        where = f"{modality} {each.kind} {each.name}"
        fields = {} if each.schema is None else each.schema.model_fields
        for name, field in sorted(fields.items()):
            kind = f"{field.annotation} {field.metadata}".replace("typing.", "")
            found.append(f"{where}.{name}: {kind} = {field.default!r}")
    return sorted(found)


def test_every_option_is_as_written() -> None:
    assert lines() == WRITTEN.read_text("utf-8").splitlines()


BASE = """
from modalities.base import Objective

class Base(Objective):
    def __init__(self, encoder, *, width: int = 3, depth: Annotated[int, Gt(0)] = 1, last: str):
        pass
"""
NEAR = """
class Near(Base):
    pass
"""
OWN = """
class Own(Near):
    def __init__(self, encoder, *, size: float = 0.5, width: int = 5, last: str = "x", **options):
        super().__init__(encoder, width=width, last=last, **options)
"""
CLOSED = """
class Closed(Near):
    def __init__(self, encoder, *, size: float = 0.5):
        super().__init__(encoder, last="x")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Base classes in two files of another project than this one."""
    monkeypatch.setattr(classes, "PROJECT", tmp_path)
    folder = tmp_path / "modalities" / "common"
    folder.mkdir(parents=True)
    (folder / "base.py").write_text(BASE, "utf-8")
    (folder / "near.py").write_text(f"from modalities.common.base import Base\n{NEAR}", "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "start",
    [
        "from modalities.common.near import Near\n",
        "from modalities.common.near import Near as Farther\nclass Near(Farther): ...\n",
        "from modalities.common import near\n",
    ],
    ids=["the class", "by another name", "its module"],
)
def test_options_are_those_of_the_base_classes_too(project: Path, start: str) -> None:
    path = project / "own.py"
    source = OWN if "import near" not in start else OWN.replace("(Near)", "(near.Near)")
    path.write_text(start + source, "utf-8")
    found = options._model(classes.classes(path)[-1])
    assert found().model_dump() == {"width": 5, "depth": 1, "last": "x", "size": 0.5}
    with pytest.raises(ValueError, match="depth"):
        found.model_validate({"depth": 0})


def test_a_class_that_passes_nothing_on_has_its_own_options_only(project: Path) -> None:
    path = project / "closed.py"
    path.write_text(f"from modalities.common.near import Near\n{CLOSED}", "utf-8")
    assert options.schema(path, "Objective")().model_dump() == {"size": 0.5}


def test_a_base_class_s_option_needs_a_default_as_well(project: Path) -> None:
    path = project / "bare.py"
    path.write_text("from modalities.common.near import Near\nclass Bare(Near): ...\n", "utf-8")
    with pytest.raises(UserError, match="option last needs an annotation and a default"):
        options.schema(path, "Objective")


def read(kind: str, modality: str, name: str) -> str:
    """The source of a method's class and of its base classes but the contract."""
    base = options.BASES[kind]
    path = options.ROOT / modality / kind / f"{name}.py"
    (found,) = [c for c in classes.classes(path) if c.public and c.derives(base)]
    files = {each.path for each in found.line() if each.name != base}
    return "".join(file.read_text("utf-8") for file in files)


@pytest.mark.parametrize(("modality", "name"), methods("objectives"))
def test_an_objective_declares_the_labels_that_it_reads(modality: str, name: str) -> None:
    reads = '["free_label"]' in read("objectives", modality, name)
    assert options.needs(modality, "objectives", name) == ("free_label",) * reads


@pytest.mark.parametrize(("modality", "name"), methods("labelers"))
def test_a_labeler_declares_the_run_that_it_reads(modality: str, name: str) -> None:
    reads = "found.run" in read("labelers", modality, name)
    assert options.needs(modality, "labelers", name) == ("run",) * reads


TASK = """
class Mine({base}):
    width: Annotated[int, Gt(0)] = 8
    draws = 7
    _kept: int = 3
    where: ClassVar[str] = "here"

    def __init__(self, **options):
        super().__init__(**options)
"""


def test_a_task_s_options_are_its_annotated_attributes(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(TASK.format(base="Task"), "utf-8")
    assert options.schema(path, "Task")().model_dump() == {"width": 8}
    path = tmp_path / "dense.py"
    start = "from modalities.image.measuring.dense_task import DenseTask\n"
    path.write_text(start + TASK.format(base="DenseTask"), "utf-8")
    found = options.schema(path, "Task")
    assert {"draws": 7, "width": 8, "patience": 4, "epochs": 60}.items() <= dict(found()).items()
    with pytest.raises(ValueError, match="draws"):
        found.model_validate({"draws": 1})


@pytest.mark.parametrize(("modality", "name"), methods("tasks"))
def test_a_task_has_the_options_that_its_source_says(modality: str, name: str) -> None:
    found = options.method(modality, "tasks", name).schema
    kind = named.method(options.home(modality), "tasks", name, Task)
    assert found is not None and kind.defaults() == found().model_dump()
    made = kind(encoder_options={"widths": [8, 8]})
    assert made.chosen() == kind.defaults() | {"encoder_options": {"widths": [8, 8]}}
    with pytest.raises(TypeError, match="no such options"):
        kind(drwas=3)


def test_no_task_changes_the_defaults_of_another() -> None:
    kind = named.method("image", "tasks", "classification", Task)
    kind().budgets.append(7)
    assert 7 not in kind().budgets and 7 not in kind.budgets


@pytest.mark.parametrize(("modality", "name"), methods("objectives"))
def test_an_objective_takes_the_options_that_its_source_says(modality: str, name: str) -> None:
    found = options.method(modality, "objectives", name).schema
    fitting = (e for e in ENCODERS[:3] if not options.mismatch(modality, name, e))
    encoder = named.network(options.home(modality)).build_encoder(next(fitting))
    kind = named.method(modality, "objectives", name, Objective)
    assert found is not None and kind(encoder, **found().model_dump()).encoder is encoder


@pytest.mark.parametrize(("modality", "name"), methods("labelers"))
def test_a_labeler_takes_the_options_that_its_source_says(modality: str, name: str) -> None:
    found = options.method(modality, "labelers", name).schema
    kind = named.method(modality, "labelers", name, Labeler)
    assert found is not None and kind(**found().model_dump()).needs == kind.needs


def test_needs_of_a_base_class_are_needs(project: Path) -> None:
    base = project / "modalities" / "common" / "base.py"
    base.write_text(base.read_text("utf-8") + '    needs = ("free_label",)\n', "utf-8")
    path = project / "own.py"
    path.write_text(f"from modalities.common.near import Near\n{OWN}", "utf-8")
    (own,) = classes.classes(path)
    assert own.value("needs") == ("free_label",)
    path.write_text(f"from modalities.common.near import Near\n{OWN}    needs = ()\n", "utf-8")
    (own,) = classes.classes(path)
    assert own.value("needs") == ()


if __name__ == "__main__":
    WRITTEN.write_text("\n".join(lines()) + "\n", "utf-8")
