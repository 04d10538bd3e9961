"""The mistakes in params.yaml, said so that they can be mended: line, key, value, nearest match."""

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from tasks.settings.options import Lookup

Keys = tuple[Any, ...]


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X? allowed: ...`."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    shown = names if len(names) <= 20 else close
    return f"{hint}; allowed: {', '.join(map(str, shown))}" if shown else hint


class Mistakes:
    """What is wrong with a file, `raw` being ruamel's round-trip view of it."""

    def __init__(self, path: Path, raw: Any) -> None:
        self.path, self.raw = path, raw
        self.found: list[str] = []

    def add(self, keys: Keys, text: str) -> None:
        """Say `text` of the key that `keys` leads to."""
        said = f"{self.path}{self._line(keys)}: {'.'.join(map(str, keys))}: {text}"
        if said not in self.found:
            self.found.append(said)

    def names(self, keys: Keys) -> bool:
        """Whether something is said of this very key."""
        start = f"{self.path}{self._line(keys)}: {'.'.join(map(str, keys))}: "
        return any(said.startswith(start) for said in self.found)

    def unknown(self, keys: Keys, kind: str, name: str, known: Iterable[str]) -> None:
        """Say that there is no `kind` called `name`."""
        self.add(keys, f"unknown {kind} {name!r}{nearest(name, known)}")

    def take(self, error: ValidationError, model: type[BaseModel], prefix: Keys = ()) -> None:
        """Say what pydantic found in the section that `prefix` leads to."""
        for problem in error.errors():
            keys = tuple(k for k in problem["loc"] if not _is_branch(k))
            self.add((*prefix, *keys), self._text(problem, keys, model))

    def method(self, keys: Keys, found: "Lookup", chosen: Any, option_keys: Keys) -> None:
        """Check the options chosen for a method that was looked for by its name."""
        if found.schema is None:
            self.unknown(keys, found.kind, found.name, found.known)
            return
        if not isinstance(chosen, dict | None):
            self.add(option_keys, f"found {chosen!r}; expected options, as `name: value`")
            return
        try:  # by way of JSON, whose lists may be tuples
            found.schema.model_validate_json(json.dumps(chosen or {}))
        except ValidationError as error:
            self.take(error, found.schema, option_keys)

    def _line(self, keys: Keys) -> str:
        """`:12` for the line that a key stands in, or nothing."""
        line, raw = None, self.raw
        for key in keys:
            try:
                line = (raw.lc.key if isinstance(key, str) else raw.lc.item)(key)[0]
                raw = raw[key]
            except (KeyError, AttributeError, IndexError, TypeError):
                break
        return "" if line is None else f":{line + 1}"

    @staticmethod
    def _text(problem: Any, keys: Keys, model: type[BaseModel]) -> str:
        found = problem["input"]
        if problem["type"] == "extra_forbidden":
            return f"unknown key{nearest(str(keys[-1]), _fields(model, keys[:-1]))}"
        if problem["type"] == "missing":
            return "missing"
        if problem["type"] == "literal_error":
            known = re.findall(r"'([^']*)'", problem["ctx"]["expected"])
            return f"unknown value {found!r}{nearest(str(found), known)}"
        return f"found {found!r}; {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _is_branch(key: Any) -> bool:
    """Is it pydantic's name for one branch of a union, which is no key of the user's?"""
    return isinstance(key, str) and (key in {"int", "str", "float", "bool"} or "[" in key)


def _fields(model: Any, keys: Keys) -> list[str]:
    """The keys allowed where `keys` leads to."""
    for key in keys:
        fields = getattr(model, "model_fields", {})
        kind = fields[key].annotation if key in fields else model
        inner = [a for a in getattr(kind, "__args__", ()) if hasattr(a, "model_fields")]
        model = inner[0] if inner else kind
    return list(getattr(model, "model_fields", {}))
