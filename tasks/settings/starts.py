"""Do the weights that a run begins with exist before it does, and do they fit?"""

import json
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ValidationError

from tasks.settings import options
from tasks.settings.methods import part
from tasks.settings.mistakes import Keys, Mistakes
from tasks.settings.strict import NONE

NEEDS = {"runs": {"start": "runs", "labels": "labelers"}, "labelers": {"run": "runs"}}
Node = tuple[str, str]  # kind, name
Known = dict[str, tuple[str, str, dict[str, Any]]]  # name: modality, runs or checkpoints, settings


def check(sections: Mapping[str, Any], mistakes: Mistakes) -> None:
    """A run starts from a run or checkpoint of its kind, with its encoder, and in no circle."""
    known: Known = {
        str(name): (modality, kind, chosen)
        for modality, section in sections.items()
        for kind in ("checkpoints", "runs")
        for name, chosen in part(section, kind).items()
        if isinstance(chosen, dict)
    }
    for name, (modality, kind, run) in known.items():
        start = run.get("start", NONE)
        if kind == "runs" and isinstance(start, str) and start != NONE:
            _check_start((modality, "runs", name, "start"), start, known, mistakes)
    _check_circles(sections, mistakes)


def _check_start(keys: Keys, start: str, known: Known, mistakes: Mistakes) -> None:
    modality, _, name, _ = keys
    home = options.home(modality)
    kin = [n for n, (owner, *_) in known.items() if options.home(owner) == home and n != name]
    if start == name:
        mistakes.add(keys, f"a run cannot start from itself; allowed: {', '.join([NONE, *kin])}")
    elif start not in known:
        mistakes.unknown(keys, "run or checkpoint", start, [NONE, *kin])
    elif start not in kin:
        text = f"{start!r} is an encoder for {known[start][0]}, and {modality} needs one for {home}"
        mistakes.add(keys, f"{text}; allowed: {', '.join([NONE, *kin])}")
    else:
        _check_encoder(keys, (start, known[start][2]), known[name][2], mistakes)


def _check_encoder(
    keys: Keys, start: tuple[str, dict[str, Any]], run: dict[str, Any], mistakes: Mistakes
) -> None:
    """The same network; some of its options may differ, to which weights are made to fit."""
    modality, name = keys[0], start[0]
    mine, theirs = (str(each.get("encoder", "small")) for each in (run, start[1]))
    keys = keys[:-1]
    if mine != theirs:
        text = f"found {mine!r}, whose weights are not those of its start {name!r}"
        mistakes.add((*keys, "encoder"), f"{text}; expected {theirs!r}")
        return
    own, found = (_whole(modality, mine, each.get("encoder_options")) for each in (run, start[1]))
    free = options.fits(modality, mine)
    if own is None or found is None:
        return
    for option in own:
        if own[option] != found[option] and option not in free:
            text = f"found {own[option]!r}, and its start {name!r} has {found[option]!r}"
            allowed = f"; only {', '.join(free)} may differ" if free else ""
            told = (*keys, "encoder_options", option)
            mistakes.add(told, f"{text}; expected the same{allowed}")


def _whole(modality: str, encoder: str, chosen: Any) -> dict[str, Any] | None:
    """An encoder's options with defaults; None where one is wrong, which is said elsewhere."""
    schema = options.encoder(modality, encoder).schema
    if schema is None:
        return None
    try:
        return schema.model_validate_json(json.dumps(chosen or {})).model_dump()
    except ValidationError:
        return None


def _check_circles(sections: Mapping[str, Any], mistakes: Mistakes) -> None:
    """Runs start from runs and learn from labels, which may be made from a run."""
    needs = {owner: dict(wanted) for owner, wanted in _needs(sections)}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = [*reversed(error.args[1])]  # each needs the next one
        first = next(owner for owner in needs if owner in circle)  # as they are written
        at = circle.index(first)
        circle = [*circle[at:-1], *circle[: at + 1]]
        modality = next(m for m, s in sections.items() if first[1] in part(s, first[0]))
        way = " -> ".join(name for _, name in circle)
        text = f"a circle, in which each needs the next one first: {way}; expected none"
        mistakes.add((modality, *first, needs[first][circle[1]]), text)


def _needs(sections: Mapping[str, Any]) -> Iterator[tuple[Node, Iterator[tuple[Node, str]]]]:
    """What has to be there before each run and each set of labels, and the key that says so."""
    for section in sections.values():
        for kind, keys in NEEDS.items():
            for name, chosen in part(section, kind).items():
                told = chosen if isinstance(chosen, dict) else {}
                wanted = ((key, found, told.get(key, NONE)) for key, found in keys.items())
                yield (
                    (kind, str(name)),
                    (
                        ((found, other), key)
                        for key, found, other in wanted
                        if isinstance(other, str) and other not in (NONE, name)
                    ),
                )
