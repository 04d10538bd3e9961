"""Detection, segmentation and keypoints as tasks: what they share. Rules: protocol.py."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Gt, MinLen

from modalities.base import Labelled, Tell
from modalities.common.measuring.label_budget import LabelBudgetTask
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped
from modalities.image.measuring.measured import Budgets, Measured, measured


class DenseTask(LabelBudgetTask):
    """A head on a feature pyramid at every budget, with a frozen and a fine-tuned encoder.

    `validation`: pictures at most that choose; `width`: of the pyramid.
    """

    budgets = [5, 50]
    draws = 3
    protocols: Annotated[list[Literal["frozen", "finetune"]], MinLen(1)] = ["frozen", "finetune"]
    learning_rates = [0.003, 0.006]
    scratch_learning_rates = [0.008, 0.02]
    min_steps = 100
    max_steps = 160
    batch_size = 32
    patience = 4
    validation: Annotated[int, Gt(0)] = 200
    width: Annotated[int, Gt(0)] = 64

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.result: Measured | None = None  # of the last run

    def begin(self) -> Measured:
        """What is measured, before it is."""
        raise NotImplementedError

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        self.result = self.begin()
        yield from measured(self.result, Budgets(start, encoder, seed, precision), splits, tell)
