"""The keys that dvc.yaml's templates read: DVC takes no default, so params.yaml must have them."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.settings.mistakes import Keys, Mistakes

TEMPLATE = re.compile(r"\$\{([^}]+)\}")


def at(values: Mapping[str, Any], key: str, otherwise: Any = None) -> Any:
    """The value at `a.b.c`."""
    found: Any = values
    for part in key.strip().split("."):
        if not isinstance(found, Mapping) or part not in found:
            return otherwise
        found = found[part]
    return found


def check(wired: Path, raw: Any, defaults: Any, mistakes: Mistakes) -> None:
    """Name each key that the stages in `wired` need and params.yaml, `raw`, does not have.

    `defaults`: params.yaml with its defaults written out, from which a hint is taken.
    """
    try:
        found = YAML(typ="safe").load(wired.read_text("utf-8")) if wired.exists() else None
    except YAMLError:  # DVC says what is wrong with it
        return
    for stage in ((found or {}).get("stages") or {}).values():
        for keys in _read(stage, raw):
            missing = _missing(raw, keys)
            if not missing or mistakes.names(missing):
                continue
            text = f"missing, and {wired.name} reads it"
            if len(missing) == 1:
                text = f"missing, and {wired.name} has stages of it; "
                text += "copy the section from profiles/default.yaml"
            elif isinstance(default := at(defaults, ".".join(missing)), str | int | float):
                text += f"; write `{missing[-1]}: {default}`"
            mistakes.add(missing, text)


def _read(stage: Any, raw: Any) -> Iterator[Keys]:
    """What a stage's templates stand for; `${item.KEY}` once for each member of its group."""
    told = [tuple(found.strip().split(".")) for found in TEMPLATE.findall(_text(stage))]
    yield from (keys for keys in told if keys[0] not in ("item", "key"))
    match = TEMPLATE.fullmatch(str(stage.get("foreach", "")))
    members = at(raw, match[1]) if match else None
    if not match or not isinstance(members, dict):
        return  # not of named members, or said elsewhere
    group = match[1].strip().split(".")
    for member in members:
        yield from ((*group, member, *keys[1:]) for keys in told if keys[0] == "item")


def _text(part: Any) -> str:
    """All that is written below a part of dvc.yaml."""
    if isinstance(part, dict):
        return "\n".join(_text(each) for pair in part.items() for each in pair)
    return "\n".join(map(_text, part)) if isinstance(part, list) else str(part)


def _missing(raw: Any, keys: Keys) -> Keys | None:
    """The first of the keys on the way down that is not there; None if all are."""
    for depth, key in enumerate(keys):
        if not isinstance(raw, dict):  # said elsewhere
            return None
        if key not in raw:
            return keys[: depth + 1]
        raw = raw[key]
    return None
