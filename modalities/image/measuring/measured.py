"""One run of a task of places: from options and splits to rows, and the obstacles in between."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modalities.base import Encoder, Labelled, Tell
from modalities.common.measuring.problem import Problem, problem
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped
from modalities.image.measuring.annotations import Annotations, Kind, annotated, only
from modalities.image.measuring.contract import DenseTarget, Schedule, obstacle, setting
from modalities.image.measuring.protocol import Measuring, Shown

NO_CONTROL: Mapping[str, str] = {
    "majority": "a most frequent class has no place in the picture",
    "histogram": "a histogram of colours has no places",
    "pixels": "a nearest picture in pixels has no places of its own",
}
WORDS = {"boxes": "boxes", "masks": "masks of all objects", "keypoints": "keypoints"}


@dataclass(frozen=True)
class Budgets:
    """Whose start it is: "pretrained" or a control's name, its encoder, and what decides luck."""

    start: str
    encoder: EncoderFactory | None
    seed: int
    precision: str


@dataclass
class Measured:
    """A task while it is measured, and afterwards what its pictures are drawn from."""

    kind: Kind
    make: Callable[[Mapping[str, Annotations], Problem, int, dict[str, Any]], DenseTarget]
    options: dict[str, Any]
    places: Any = None
    shown: list[Shown] = field(default_factory=list)


def measured(
    task: Measured, how: Budgets, splits: Mapping[str, Labelled], tell: Tell
) -> Iterator[Row | Skipped]:
    """Rows for every budget that can be measured, and for the others why not."""
    options, what = task.options, WORDS[task.kind]
    if how.start in NO_CONTROL:
        yield from skipped(options["budgets"], f"no such control: {NO_CONTROL[how.start]}")
        return
    notes = annotated(splits, task.kind)
    if not notes:
        yield from skipped(options["budgets"], f"the data have no {what}: nothing to measure")
        return
    whole = problem(only(splits, notes, task.kind))
    possible = []
    for budget in dict.fromkeys(options["budgets"]):
        if reason := obstacle(whole, budget, what):
            yield Skipped(budget, reason)
        else:
            possible.append(budget)
    if not possible:
        return
    if not len(whole.val):
        tell.warn(f"no validation pictures with {what}: nothing can be chosen")
    size = len(next(whole.train.each()))
    task.places = task.make(notes, whole, size, options)
    make = how.encoder or _fresh(options)
    schedule = Schedule(**{key: options[key] for key in Schedule.__annotations__})
    made = Measuring(task.places, make, schedule, setting(how.precision), how.start)
    yield from made.run(whole, possible, options["draws"], options["protocols"], how.seed, tell)
    task.shown = made.shown


def _fresh(options: Mapping[str, Any]) -> EncoderFactory:
    def make() -> Encoder:
        from modalities.image.network.factory import build

        return build(options["encoder"], **options["encoder_options"])

    return make


def skipped(budgets: Sequence[int | str], reason: str) -> Iterator[Skipped]:
    """Every budget, for one reason."""
    for budget in dict.fromkeys(budgets):
        yield Skipped(budget, reason)
