"""What a task is, and the numbers that it gives.

The contract of `modalities/MODALITY/tasks/NAME.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

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


class Task(Protocol):
    """Something an encoder is good for. Keyword-only options with defaults are the schema."""

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        """Yield rows for a `start`: "pretrained", or a control's name (scratch, random, ...).

        `encoder` may be None with controls: the task then makes its own, with random weights.
        """
        ...

    def show(self, folder: Path) -> None:
        """Called after `run`: pictures (*.png) of what was predicted, into the result's folder."""
