"""The options of a method, read from its source: importing it would import torch, for seconds.

A method is the file `modalities/MODALITY/KIND/NAME.py`; the keyword-only arguments of its class's
`__init__`, their annotations and defaults are the schema of its options in params.yaml.
"""

import ast
import re
import threading
import typing
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, ConfigDict, create_model

from modalities.items import UserError
from tasks.settings.strict import NONE

ROOT = Path(__file__).resolve().parents[2] / "modalities"
TIMM, VIT = "timm/", "vit_small_patch16_224"
_parsing = threading.Lock()
# What an option's annotation may be made of.
NAMES: dict[str, Any] = {
    **{kind.__name__: kind for kind in (int, float, bool, str, list, tuple, dict)},
    **{name: getattr(typing, name) for name in ("Annotated", "Literal")},
    **{
        name: getattr(annotated_types, name)
        for name in ("Gt", "Ge", "Lt", "Le", "MinLen", "MultipleOf")
    },
}


# What runs on clips learn is an encoder of pictures: they have pictures' encoders and tasks, and
# are measured on pictures. A full video modality will have its own.
HOMES = {"video": "image"}


def home(modality: str) -> str:
    """The modality whose encoders and tasks a modality's runs have: mostly its own."""
    return HOMES.get(modality, modality)


@dataclass(frozen=True)
class Found:
    """What a name stands for: the schema of its options, or None and the names there are."""

    kind: str  # objective, labeler, task, encoder
    name: str
    schema: type[BaseModel] | None
    known: tuple[str, ...]


def method(modality: str, kind: str, name: str) -> Found:
    """The method `name`, `kind` being its folder: objectives, labelers or tasks."""
    modality = home(modality) if kind == "tasks" else modality
    known = names(modality, kind)
    base = {"objectives": "Objective", "labelers": "Labeler", "tasks": "Task"}[kind]
    found = schema(ROOT / modality / kind / f"{name}.py", base) if name in known else None
    return Found(kind[:-1], name, found, known)


def names(modality: str, kind: str) -> tuple[str, ...]:
    """The methods that there are, `kind` being their folder."""
    found = (ROOT / modality / kind).glob("*.py")
    return tuple(sorted(p.stem for p in found if not p.stem.startswith("_") and p.stem != NONE))


def encoder(modality: str, name: str) -> Found:
    """The encoder `name`: one of the modality's own, a backbone of torchvision, or timm/NAME."""
    modality = home(modality)
    own = _encoders(modality)
    if name in own:
        return Found("encoder", name, _model(*own[name]), tuple(own))
    if name.startswith(TIMM):
        found = _of_timm(modality, name)
        return Found("encoder", name, _model(*found) if found else None, tuple(_timm()))
    path = ROOT / modality / "network" / "torchvision_nets.py"
    if not path.exists():
        return Found("encoder", name, None, tuple(own))
    tree = _tree(path)
    families = next(
        (ast.literal_eval(n.value) for n in tree.body
         if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "FAMILIES"), ()
    )  # fmt: skip
    known = tuple(b for b in _torchvision() if b.startswith(families)) if families else ()
    if name not in known:
        return Found("encoder", name, None, (*own, *known))
    backbone = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == "Backbone")
    return Found("encoder", name, _model(backbone, path), known)


def mismatch(modality: str, objective: str, encoder: str) -> str | None:
    """Why an objective cannot train an encoder, None: it can. Its `encoder: KIND` says what it can.

    A kind narrower than that of torchvision's backbones is a base of some of the modality's own.
    """
    tree = _tree(ROOT / modality / "objectives" / f"{objective}.py")
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and _derives(n, "Objective"))
    arguments = init.args.args if (init := _init(node)) else []
    kind = next((ast.unparse(a.annotation) for a in arguments if a.annotation), "Encoder")
    if kind in ("Encoder", "ImageEncoder", "ShapeEncoder", "SoundEncoder"):
        return None
    fit = [name for name, (n, _) in _encoders(home(modality)).items() if _derives(n, kind)]
    of_timm = _of_timm(home(modality), encoder)
    if of_timm and _derives(of_timm[0], kind):
        return None
    if encoder in fit:
        return None
    known = _of_timm(home(modality), f"{TIMM}{VIT}")
    others = ", or a vision transformer of timm" if known else ""
    allowed = f"{', '.join(fit)}{others}"
    return f"objective {objective} cannot train encoder {encoder!r}; allowed: {allowed}"


def needs_labels(modality: str, objective: str) -> bool:
    """Does an objective read the free labels of its batch?"""
    return '"free_label"' in (ROOT / modality / "objectives" / f"{objective}.py").read_text("utf-8")


def needs_run(modality: str, labeler: str) -> bool:
    """Does a labeler look at the features of a run?"""
    return "found.run" in (ROOT / modality / "labelers" / f"{labeler}.py").read_text("utf-8")


def _encoders(modality: str) -> dict[str, tuple[ast.ClassDef, Path]]:
    """The modality's own encoders by name: the classes whose options all are keyword-only."""
    return {
        node.name.lower(): (node, path)
        for path in sorted((ROOT / modality / "network").glob("*.py"))
        if "Encoder):" in path.read_text("utf-8")  # parsing takes longer than reading
        for node in _tree(path).body
        if isinstance(node, ast.ClassDef) and _derives(node, "Encoder")
        if (init := _init(node)) and len(init.args.args) == 1
    }


@cache
def _torchvision() -> tuple[str, ...]:
    """The names of torchvision's classifiers, from its source: importing it takes seconds."""
    spec = find_spec("torchvision")
    assert spec is not None and spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "models"
    text = "".join(p.read_text("utf-8") for p in sorted(folder.glob("*.py")))
    return tuple(re.findall(r"@register_model\(\)\n(?:@.*\n)*def (\w+)", text))


@cache
def _timm() -> dict[str, str]:
    """timm's names, with their prefix, and the file of each, from its source; empty without it."""
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        return {}
    files = sorted((Path(spec.submodule_search_locations[0]) / "models").glob("*.py"))
    return {
        TIMM + name: path.stem
        for path in files
        for name in re.findall(r"@register_model\ndef (\w+)", path.read_text("utf-8"))
    }


def _of_timm(modality: str, name: str) -> tuple[ast.ClassDef, Path] | None:
    """The class that wraps a network of timm, and its file."""
    path = ROOT / modality / "network" / "timm_nets.py"
    if not name.startswith(TIMM) or not path.exists() or name not in _timm():  # reading all is last
        return None
    wanted = "TimmViT" if _timm()[name] in ("vision_transformer", "deit") else "TimmBackbone"
    found = [n for n in _tree(path).body if isinstance(n, ast.ClassDef) and n.name == wanted]
    return found[0], path


@cache
def schema(path: Path, base: str) -> type[BaseModel]:
    """A pydantic model of the options of the file's one public class that derives from `base`."""
    found = [n for n in _tree(path).body if isinstance(n, ast.ClassDef) and _derives(n, base)]
    if len(found) != 1:
        raise UserError(f"{path}: expected one public {base} class, found {len(found)}")
    return _model(found[0], path)


def _tree(path: Path) -> ast.Module:
    try:
        return _parsed(path.read_text("utf-8"))
    except SyntaxError as error:
        raise UserError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from None


def _parsed(text: str) -> ast.Module:
    """CPython 3.11 counts the depth of all threads' parses as one (python/cpython#106905): ours
    wait for each other, and one that Prefect's got in the way of is done again."""
    with _parsing:
        try:
            return ast.parse(text)
        except SystemError:
            return ast.parse(text)


def _model(node: ast.ClassDef, path: Path) -> type[BaseModel]:
    init = _init(node)
    fields = _fields(init, path) if init else {}
    config = ConfigDict(extra="forbid", strict=True)
    model: type[BaseModel] = create_model(node.name, __config__=config, **fields)
    return model


def _init(node: ast.ClassDef) -> ast.FunctionDef | None:
    return next(
        (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None
    )


def _derives(node: ast.ClassDef, base: str) -> bool:
    written = [ast.unparse(b) for b in node.bases]
    return not node.name.startswith("_") and any(
        b.split(".")[-1].split("[")[0].endswith(base) for b in written
    )


def _fields(init: ast.FunctionDef, path: Path) -> dict[str, Any]:
    fields = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if argument.annotation is None or default is None:
            raise UserError(f"{path}: option {argument.arg} needs an annotation and a default")
        kind = eval(ast.unparse(argument.annotation), {"__builtins__": {}}, NAMES)
        fields[argument.arg] = (kind, ast.literal_eval(default))
    return fields
