"""Which stages a run is about, in their order."""

from collections.abc import Set
from dataclasses import dataclass, replace
from pathlib import Path

from flows.dvc import graph, reported
from flows.dvc.graph import Stage
from flows.dvc.targets import leading_to
from modalities.items import UserError
from tasks.results import modality_of
from tasks.settings.mistakes import nearest
from tasks.settings.params import MODALITIES, Params


@dataclass(frozen=True)
class Choice:
    """What was asked for; if nothing was, all but what is left on the Playroom beside own data."""

    targets: tuple[str, ...] = ()
    only: str | None = None  # a modality
    everything: bool = False

    def __post_init__(self) -> None:
        if self.only is not None and self.only not in MODALITIES:
            text = f"unknown modality {self.only!r}{nearest(self.only, list(MODALITIES))}"
            raise UserError(text)
        if self.everything and (self.targets or self.only):
            raise UserError("--all is everything: leave targets and --only out")

    def without(self, params: Params) -> frozenset[str]:
        """The modalities of the demonstration, where nobody asked for them."""
        asked = self.targets or self.only or self.everything
        return frozenset() if asked else params.demonstration

    def told(self, params: Params) -> str:
        """What is left out and how to get it, or nothing."""
        names = [m for m in MODALITIES if m in self.without(params) and params.section(m).runs]
        if not names:
            return ""
        return (
            f"Left out: {', '.join(names)}, still on the Playroom, which is no data of yours. "
            f"--all takes everything, --only {names[0]} one of them."
        )


def chosen(root: Path, choice: Choice, params: Params, force: bool = False) -> list[Stage]:
    """The stages of a run in topological order.

    What is made of whatever is there (`meta: partial` in dvc.yaml: the report) ends every run, so
    that the page is of now, and waits for none but the stages of this run.
    """
    stages = graph.plan(root, force=force)
    by_name = {s.name: s for s in stages}
    upstream = {s.name: s.upstream for s in stages}
    among = leading_to(choice.targets, upstream, {s.name: s.outs for s in stages}, root)
    open_ = [s.name for s in stages if s.name in among and _asked(s, choice, params)]
    if choice.only and not open_:
        told = f"no stage of modality {choice.only!r} among the targets"
        raise UserError(f"{told} {', '.join(choice.targets)}")
    wanted: set[str] = set()
    while open_:
        name = open_.pop()
        if name not in wanted:
            wanted.add(name)
            open_ += [up for up in upstream[name] if up in by_name]
    wanted |= {s.name for s in stages if s.name in among or can_be_made(root, s) if partial(s)}
    return [_last(s, wanted, root, params) if partial(s) else s for s in stages if s.name in wanted]


def partial(stage: Stage) -> bool:
    return bool(stage.meta.get("partial"))


def can_be_made(root: Path, stage: Stage) -> bool:
    """Whether all that a stage reads is there."""
    return all((root / dep).exists() for dep in stage.deps)


def _asked(stage: Stage, choice: Choice, params: Params) -> bool:
    """By its modality; what it needs comes with it."""
    if partial(stage):
        return False
    about = modality_of(stage.name)
    if choice.only is not None:
        return about == choice.only
    held_against = stage.name.startswith("control-") and params.yardstick(about)
    return about not in choice.without(params) or held_against


def _last(stage: Stage, wanted: Set[str], root: Path, params: Params) -> Stage:
    """Without the stages that are not of this run; stale where its page is not of now."""
    others = {f"upstream {name} would run" for name in stage.upstream if name not in wanted}
    why = [reason for reason in stage.why if reason not in others]
    if not why and not reported.of_now(root, params):
        why.append("what it shows is not of now")
    return replace(stage, why=tuple(why), clean=not why)
