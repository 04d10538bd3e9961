"""The options of a method, read from its source: importing it would import torch, for seconds.

A method is the file `modalities/MODALITY/KIND/NAME.py`. The schema of its options in params.yaml:

- the keyword-only arguments of its class's `__init__`, their annotations and defaults; a further
  argument `**options` stands for the options of its base class;
- of a task, which mostly has no `__init__`, the annotated attributes of its class and of its base
  classes. A value without an annotation is a new default for an option of a base class.
"""

import ast
import re
import typing
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel, ConfigDict, create_model

from modalities.items import UserError
from tasks.settings.classes import Written, classes, tree
from tasks.settings.strict import NONE

ROOT = Path(__file__).resolve().parents[2] / "modalities"
BASES = {"objectives": "Objective", "labelers": "Labeler", "tasks": "Task"}
TIMM, VIT = "timm/", "vit_small_patch16_224"
Option = tuple[ast.expr | None, ast.expr | None]  # annotation, default; None: not written
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
class Lookup:
    """What a name stands for: the schema of its options, or None and the names there are."""

    kind: str  # objective, labeler, task, encoder
    name: str
    schema: type[BaseModel] | None
    known: tuple[str, ...]


def method(modality: str, kind: str, name: str) -> Lookup:
    """The method `name`, `kind` being its folder: objectives, labelers or tasks."""
    modality = home(modality) if kind == "tasks" else modality
    known = names(modality, kind)
    path = ROOT / modality / kind / f"{name}.py"
    found = schema(path, BASES[kind]) if name in known else None
    return Lookup(kind[:-1], name, found, known)


def names(modality: str, kind: str) -> tuple[str, ...]:
    """The methods that there are, `kind` being their folder."""
    found = (ROOT / modality / kind).glob("*.py")
    return tuple(sorted(p.stem for p in found if not p.stem.startswith("_") and p.stem != NONE))


def encoder(modality: str, name: str) -> Lookup:
    """The encoder `name`: one of the modality's own, a backbone of torchvision, or timm/NAME."""
    modality = home(modality)
    own = _encoders(modality)
    if name in own:
        return Lookup("encoder", name, _model(own[name]), tuple(own))
    if name.startswith(TIMM):
        found = _of_timm(modality, name)
        return Lookup("encoder", name, _model(found) if found else None, tuple(_timm()))
    path = ROOT / modality / "network" / "torchvision_nets.py"
    if not path.exists():
        return Lookup("encoder", name, None, tuple(own))
    families = next(
        (ast.literal_eval(n.value) for n in tree(path).body
         if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "FAMILIES"), ()
    )  # fmt: skip
    known = tuple(b for b in _torchvision() if b.startswith(families)) if families else ()
    if name not in known:
        return Lookup("encoder", name, None, (*own, *known))
    backbone = next(each for each in classes(path) if each.name == "Backbone")
    return Lookup("encoder", name, _model(backbone), known)


def mismatch(modality: str, objective: str, encoder: str) -> str | None:
    """Why an objective cannot train an encoder, None: it can. Its `encoder: KIND` says what it can.

    A kind narrower than that of torchvision's backbones is a base of some of the modality's own.
    """
    init = _one(ROOT / modality / "objectives" / f"{objective}.py", "Objective").called()
    arguments = init.args.args if init else []
    kind = next((ast.unparse(a.annotation) for a in arguments if a.annotation), "Encoder")
    if kind in ("Encoder", "ImageEncoder", "ShapeEncoder", "SoundEncoder"):
        return None
    fit = [name for name, each in _encoders(home(modality)).items() if each.derives(kind)]
    of_timm = _of_timm(home(modality), encoder)
    if of_timm and of_timm.derives(kind):
        return None
    if encoder in fit:
        return None
    known = _of_timm(home(modality), f"{TIMM}{VIT}")
    others = ", or a vision transformer of timm" if known else ""
    allowed = f"{', '.join(fit)}{others}"
    return f"objective {objective} cannot train encoder {encoder!r}; allowed: {allowed}"


def fits(modality: str, encoder: str) -> tuple[str, ...]:
    """The options of an encoder that may differ where its weights come from: its class's `fits`."""
    home_ = home(modality)
    found = _encoders(home_).get(encoder) or _of_timm(home_, encoder)
    return tuple((found.value("fits") if found else None) or ())


def needs_labels(modality: str, objective: str) -> bool:
    """Does an objective learn from the free labels of its batch?"""
    return "free_label" in needs(modality, "objectives", objective)


def needs_run(modality: str, labeler: str) -> bool:
    """Does a labeler look at the features of a run?"""
    return "run" in needs(modality, "labelers", labeler)


def needs(modality: str, kind: str, name: str) -> tuple[str, ...]:
    """What a method declares that it needs, `kind` being its folder: objectives or labelers."""
    written = _one(ROOT / modality / kind / f"{name}.py", BASES[kind])
    return tuple(written.value("needs") or ())


def _encoders(modality: str) -> dict[str, Written]:
    """The modality's own encoders by name: the classes whose options all are keyword-only."""
    return {
        each.name.lower(): each
        for path in sorted((ROOT / modality / "network").glob("*.py"))
        if "Encoder):" in path.read_text("utf-8")  # parsing takes longer than reading
        for each in classes(path)
        if each.public and each.derives("Encoder")
        if (init := each.called()) and len(init.args.args) == 1
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


def _of_timm(modality: str, name: str) -> Written | None:
    """The class that wraps a network of timm."""
    path = ROOT / modality / "network" / "timm_nets.py"
    if not name.startswith(TIMM) or not path.exists() or name not in _timm():  # reading all is last
        return None
    wanted = "TimmViT" if _timm()[name] in ("vision_transformer", "deit") else "TimmBackbone"
    return next(each for each in classes(path) if each.name == wanted)


@cache
def schema(path: Path, base: str) -> type[BaseModel]:
    """A pydantic model of the options of the file's one public class that derives from `base`."""
    return _model(_one(path, base))


def _one(path: Path, base: str) -> Written:
    found = [each for each in classes(path) if each.public and each.derives(base)]
    if len(found) != 1:
        raise UserError(f"{path}: expected one public {base} class, found {len(found)}")
    return found[0]


def _model(written: Written) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, (annotation, default) in _options(written).items():
        if annotation is None or default is None:
            raise UserError(f"{written.path}: option {name} needs an annotation and a default")
        kind = eval(ast.unparse(annotation), {"__builtins__": {}}, NAMES)
        fields[name] = (kind, ast.literal_eval(default))
    config = ConfigDict(extra="forbid", strict=True)
    model: type[BaseModel] = create_model(written.name, __config__=config, **fields)
    return model


def _options(written: Written) -> dict[str, Option]:
    """Annotation and default of each option; a class's own stand for its base class's."""
    init = written.init
    found: dict[str, Option] = {}
    if init is None or init.args.kwarg:  # what is left goes to the base class
        for parent in reversed(written.parents()):
            found |= _options(parent)
        if written.name == "Task" or written.derives("Task"):
            found |= _declared(written, found)
    if init:
        for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
            found[argument.arg] = (argument.annotation, default)
    return found


def _declared(written: Written, known: dict[str, Option]) -> dict[str, Option]:
    """A task's: its annotated attributes, and new values of those of its base class."""
    found: dict[str, Option] = {}
    for name, value, annotation in written.attributes():
        if name in known or not (annotation is None or _private(name, annotation)):
            found[name] = (annotation or known[name][0], value)
    return found


def _private(name: str, annotation: ast.expr) -> bool:
    return name.startswith("_") or ast.unparse(annotation).startswith("ClassVar")
