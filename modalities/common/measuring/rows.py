"""What a task is, and the numbers that it gives.

The contract of `modalities/MODALITY/tasks/NAME.py`.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias, dataclass_transform, get_origin

from modalities.base import Encoder, Labelled, Tell


@dataclass(frozen=True)
class Row:
    """One measured number: the value per draw of one protocol at one budget."""

    learner: str  # supervised, self_training, fixmatch, ...
    protocol: str  # linear, knn, finetune, or the control's name
    budget: int | str  # labels per class, or "all"
    metric: str
    values: list[float]
    higher_is_better: bool = True
    chosen: Mapping[str, Any] = field(default_factory=dict)  # what validation selected
    predictions: list[Any] = field(default_factory=list)  # per draw: (N_test,) codes, -1 = left out


@dataclass(frozen=True)
class Skipped:
    """A budget that could not be measured, and why."""

    budget: int | str
    reason: str


EncoderFactory: TypeAlias = Callable[[], Encoder]  # a fresh copy, with its starting weights


@dataclass_transform(kw_only_default=True)
class Task:
    """Something an encoder is good for.

    Its options, and their schema in params.yaml, are the annotated attributes of the class and of
    its base classes, each with a default. A value without an annotation is a new default for an
    option of a base class; what starts with _ or is a ClassVar is no option.

    `encoder`, `encoder_options`: of controls, which have random weights.
    """

    encoder: str = "small"
    encoder_options: dict[str, bool | int | float | str | list[int]] = {}

    def __init__(self, **options: Any) -> None:
        known = self.defaults()
        if unknown := options.keys() - known.keys():
            raise TypeError(f"{type(self).__name__}: no such options: {sorted(unknown)}")
        vars(self).update(known | options)

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """All options and their defaults, copied."""
        return {
            name: copy.deepcopy(getattr(cls, name))
            for each in reversed(cls.__mro__)
            for name, kind in vars(each).get("__annotations__", {}).items()
            if not name.startswith("_") and get_origin(kind) is not ClassVar
        }

    def chosen(self) -> dict[str, Any]:
        """All options as they are."""
        return {name: getattr(self, name) for name in self.defaults()}

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        """Yield rows for a `start`: "pretrained", or a control's name (scratch, random, ...).

        `encoder` may be None with controls: the task then makes its own, with random weights.
        """
        raise NotImplementedError

    def show(self, folder: Path) -> None:
        """Called after `run`: pictures (*.png) of what was predicted, into the result's folder."""
