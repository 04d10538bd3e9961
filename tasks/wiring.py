"""dvc.yaml as stages and the report see it: what each stage reads and leaves, templates filled in.

It is the only place where stages are wired, so what a result depends on is read from there and
written nowhere else. DVC itself is not asked: a stage is a plain process.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.settings.templates import TEMPLATE, at

ROOT = Path(__file__).resolve().parents[1]  # dvc.yaml is code: it belongs to these very sources


@dataclass(frozen=True)
class Wired:
    """One stage with the paths and keys that dvc.yaml gives it."""

    name: str
    cmd: str
    deps: tuple[str, ...]
    params: tuple[str, ...]
    outs: tuple[str, ...]


def wired(values: Mapping[str, Any]) -> dict[str, Wired]:
    """Every stage that dvc.yaml has with these parameters, by its name."""
    found = {}
    for group, entry in _stages().items():
        for name, more in _instances(group, entry, values):
            scope, body = {**values, **more}, entry.get("do", entry)
            cmd = _filled(body["cmd"], scope)
            parts = (_lines(body, key, scope) for key in ("deps", "params", "outs"))
            found[name] = Wired(name, cmd, *parts)
    return found


@cache
def _stages() -> Mapping[str, Any]:
    found = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text("utf-8"))
    stages: Mapping[str, Any] = found["stages"]
    return stages


def _instances(
    group: str, entry: Mapping[str, Any], values: Mapping[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """A stage's name and what its templates may name besides the parameters, per instance."""
    if "foreach" in entry:
        over = _value(entry["foreach"], values)
        pairs = over.items() if isinstance(over, Mapping) else ((one, one) for one in over or ())
        for key, item in pairs:
            yield f"{group}@{key}", {"key": key, "item": item}
    elif "matrix" in entry:
        axes = {axis: list(_value(told, values) or ()) for axis, told in entry["matrix"].items()}
        for chosen in product(*axes.values()):
            item = dict(zip(axes, chosen, strict=True))
            yield f"{group}@{'-'.join(map(str, chosen))}", {"item": item, "key": item}
    else:
        yield group, {}


def _lines(body: Mapping[str, Any], key: str, scope: Mapping[str, Any]) -> tuple[str, ...]:
    told = [line if isinstance(line, str) else next(iter(line)) for line in body.get(key, ())]
    return tuple(dict.fromkeys(_filled(line, scope) for line in told))


def _filled(line: str, scope: Mapping[str, Any]) -> str:
    return TEMPLATE.sub(lambda match: str(at(scope, match[1], match[0])), line)


def _value(told: Any, values: Mapping[str, Any]) -> Any:
    """What a template that is all of a text stands for; anything else as it is."""
    match = TEMPLATE.fullmatch(told) if isinstance(told, str) else None
    return at(values, match[1]) if match else told
