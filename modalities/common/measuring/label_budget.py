"""A task at label budgets: so many labels per class, or all, in several draws of them."""

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge, Gt, MinLen

from modalities.common.measuring.finetune import Recipe
from modalities.common.measuring.rows import Task


class LabelBudgetTask(Task):
    """What all tasks at label budgets may be told.

    `budgets`: labels per class, or all of them; `draws`: of a budget's labels, each of which is a
    value of the row. Learning rates are chosen on validation: `learning_rates` from pretrained
    weights, `scratch_learning_rates`, as many, from random ones, which take `scratch_factor` times
    the steps. Training takes `epochs`, and from `min_steps` to `max_steps`, in batches of
    `batch_size`; it is measured on validation `evaluations` times, and ends where `patience` of
    them in a row were no better.
    """

    budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [1, 5, 10, "all"]
    draws: Annotated[int, Ge(2)] = 5
    learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [0.001, 0.003]
    scratch_learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [0.003, 0.01]
    scratch_factor: Annotated[float, Ge(1)] = 2.0
    epochs: Annotated[int, Gt(0)] = 60
    min_steps: Annotated[int, Gt(0)] = 40
    max_steps: Annotated[int, Gt(0)] = 120
    batch_size: Annotated[int, Gt(1)] = 16
    weight_decay: Annotated[float, Ge(0)] = 0.01
    evaluations: Annotated[int, Gt(0)] = 4
    patience: Annotated[int, Gt(0)] = 3

    def recipe(self, rates: Sequence[float], factor: float, smoothing: float) -> Recipe:
        """How a network is trained, `factor` times as long as the options say."""
        return Recipe(
            learning_rates=rates,
            epochs=round(self.epochs * factor),
            min_steps=round(self.min_steps * factor),
            max_steps=round(self.max_steps * factor),
            batch_size=self.batch_size,
            weight_decay=self.weight_decay,
            smoothing=smoothing,
            evaluations=self.evaluations,
            patience=self.patience,
        )
