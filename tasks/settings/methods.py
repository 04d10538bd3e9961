"""Are the methods that params.yaml names there, and do their options fit?"""

import re
from collections.abc import Mapping
from typing import Any

from tasks.settings import options
from tasks.settings.mistakes import Keys, Mistakes
from tasks.settings.strict import NONE


def check(modality: str, section: Any, mistakes: Mistakes) -> None:
    """What needs the methods' files: objectives, encoders, tasks and their options."""
    runs, labelers, tasks = (part(section, key) for key in ("runs", "labelers", "tasks"))
    for name, run in runs.items():
        keys = (modality, "runs", str(name))
        _check_name(keys, "run", name, mistakes)
        if isinstance(run, dict):
            _check_run(modality, run, keys, mistakes)
            check_labels(modality, run, keys, labelers, mistakes)
    for name, chosen in labelers.items():
        keys = (modality, "labelers", str(name))
        _check_name(keys, "labeler", name, mistakes)
        if isinstance(chosen, dict) and isinstance(labeler := chosen.get("labeler"), str):
            find = options.method(modality, "labelers", labeler)
            mistakes.method((*keys, "labeler"), find, chosen.get("options"), (*keys, "options"))
            check_run_of(modality, chosen, keys, runs, mistakes)
    _check_checkpoints(modality, part(section, "checkpoints"), mistakes)
    for task, chosen in tasks.items():
        keys = (modality, "tasks", str(task))
        mistakes.method(keys, options.method(modality, "tasks", str(task)), chosen, keys)
    _check_auxiliary(modality, section, tasks, mistakes)


def _check_auxiliary(
    modality: str, section: Any, tasks: dict[Any, Any], mistakes: Mistakes
) -> None:
    """dvc.yaml reads in `auxiliary` whose code few_shot depends on; so both name the same."""
    chosen = part(tasks, "few_shot")
    wanted = chosen.get("pretext", "rotation") if "few_shot" in tasks else NONE
    found = section.get("auxiliary", NONE) if isinstance(section, dict) else NONE
    if found != wanted:
        why = f"tasks.few_shot trains {wanted} beside" if wanted != NONE else "no task trains one"
        mistakes.add((modality, "auxiliary"), f"found {found!r}; {why}; expected {wanted!r}")


def _check_checkpoints(modality: str, checkpoints: dict[Any, Any], mistakes: Mistakes) -> None:
    for name, chosen in checkpoints.items():
        keys = (modality, "checkpoints", str(name))
        _check_name(keys, "checkpoint", name, mistakes)
        if isinstance(chosen, dict) and isinstance(encoder := chosen.get("encoder"), str):
            find = options.encoder(modality, encoder)
            told = chosen.get("encoder_options")
            mistakes.method((*keys, "encoder"), find, told, (*keys, "encoder_options"))


def check_names(sections: Mapping[str, Any], mistakes: Mistakes) -> None:
    """Runs and checkpoints share the folder models/, labels have labels/: a name is used once."""
    for kinds in (("runs", "checkpoints"), ("labelers",)):
        owners: dict[str, str] = {}
        for kind in kinds:
            for modality, section in sections.items():
                for name in map(str, part(section, kind)):
                    mine = f"{modality}.{kind}.{name}"
                    first = owners.setdefault(name, mine)
                    if first != mine:
                        text = f"the name is taken by {first}; expected another"
                        mistakes.add((modality, kind, name), text)


def _check_name(keys: Keys, kind: str, name: Any, mistakes: Mistakes) -> None:
    if not re.fullmatch(r"[a-z0-9_]+", str(name)):
        mistakes.add(keys, f"{kind} {name!r}: expected small letters, digits and _ only")
    if name == NONE:
        mistakes.add(keys, f"{NONE!r} stands for no {kind}; expected another name")


def _check_run(modality: str, run: dict[str, Any], keys: Keys, mistakes: Mistakes) -> None:
    if isinstance(objective := run.get("objective"), str):
        find = options.method(modality, "objectives", objective)
        mistakes.method((*keys, "objective"), find, run.get("options"), (*keys, "options"))
    encoder = str(run.get("encoder", "small"))
    find = options.encoder(modality, encoder)
    chosen = run.get("encoder_options")
    mistakes.method((*keys, "encoder"), find, chosen, (*keys, "encoder_options"))
    _check_pair(modality, run.get("objective"), find, (*keys, "encoder"), mistakes)


def check_labels(
    modality: str, run: dict[str, Any], keys: Keys, labelers: dict[Any, Any], mistakes: Mistakes
) -> None:
    """A run names free labels just when its objective learns from some."""
    chosen, objective = str(run.get("labels", NONE)), run.get("objective")
    keys = (*keys, "labels")
    if chosen != NONE and chosen not in labelers:
        mistakes.unknown(keys, "labeler", chosen, [NONE, *map(str, labelers)])
    if objective in options.names(modality, "objectives"):  # else it is said elsewhere
        lacks = f"{objective} needs free labels; expected a labeler's name"
        needs = options.needs_labels(modality, str(objective))
        _check_use(keys, chosen, needs, (lacks, f"{objective} learns from no labels"), mistakes)


def check_run_of(
    modality: str, chosen: dict[str, Any], keys: Keys, runs: dict[Any, Any], mistakes: Mistakes
) -> None:
    """A labeler names a run just when it looks at the features of one."""
    run, labeler = str(chosen.get("run", NONE)), chosen["labeler"]
    keys = (*keys, "run")
    if run != NONE and run not in runs:
        mistakes.unknown(keys, "run", run, [NONE, *map(str, runs)])
    if labeler in options.names(modality, "labelers"):
        lacks = f"{labeler} needs a run's features; expected its name"
        needs = options.needs_run(modality, labeler)
        _check_use(keys, run, needs, (lacks, f"{labeler} looks at no run"), mistakes)


def _check_use(
    keys: Keys, chosen: str, needs: bool, words: tuple[str, str], mistakes: Mistakes
) -> None:
    """What is needed is named, and nothing else is; `words` for what is lacking, and for idle."""
    lacks, idle = words
    if needs and chosen == NONE:
        mistakes.add(keys, lacks)
    if not needs and chosen != NONE:
        mistakes.add(keys, f"found {chosen!r}; {idle}; expected {NONE}")


def _check_pair(
    modality: str, objective: Any, encoder: options.Lookup, keys: Keys, mistakes: Mistakes
) -> None:
    """Some objectives need an encoder of a certain kind."""
    if encoder.schema is None or objective not in options.names(modality, "objectives"):
        return  # said elsewhere
    if wrong := options.mismatch(modality, objective, encoder.name):
        mistakes.add(keys, wrong)


def part(section: Any, key: str) -> dict[Any, Any]:
    """A part of what the user wrote; empty where it is malformed, which is said elsewhere."""
    found = section.get(key) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}
