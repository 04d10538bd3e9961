"""Classifying pictures with few labels; rules: common/measuring/classification.py."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.knn import NearestItem
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method
from modalities.image.measuring.raw import histogram


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own, as many of them, and `scratch_factor` times the
    steps; augmentation, schedule, batch and weight decay are the same. The defaults were chosen on
    validation (docs/TUNING.md), within the time that the default run has; with 50 labels per class
    and more, more steps than these still help: raise `max_steps` where time allows.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [  # noqa: B006
            1, 5, 10, 50, "all",
        ],
        draws: Annotated[int, Ge(2)] = 5,
        protocols: Annotated[list[Literal["linear", "knn", "finetune"]], MinLen(1)] = [  # noqa: B006
            "linear", "knn", "finetune",
        ],
        strengths: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.0001, 0.001, 0.01, 0.1, 1.0, 10.0,
        ],
        neighbours: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = [1, 3, 5, 10, 20],  # noqa: B006
        learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.001, 0.003,
        ],
        scratch_learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.015, 0.03,
        ],
        scratch_factor: Annotated[float, Ge(1)] = 3.0,
        epochs: Annotated[int, Gt(0)] = 150,
        min_steps: Annotated[int, Gt(0)] = 40,
        max_steps: Annotated[int, Gt(0)] = 130,
        batch_size: Annotated[int, Gt(1)] = 48,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
        smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.1,
        evaluations: Annotated[int, Gt(0)] = 6,
        patience: Annotated[int, Gt(0)] = 3,
        encoder: str = "small",
        encoder_options: dict[str, bool | int | float | str | list[int]] = {},  # noqa: B006
    ) -> None:  # fmt: skip
        super().__init__(locals())

    def build(self, name: str, **options: Any) -> Encoder:
        from modalities.image.network.factory import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        from modalities.image.network.views import augment, prepare

        return Setting(prepare, augment, precision, device)

    def controls(self) -> dict[str, Callable[[], Method]]:
        return super().controls() | {
            "histogram": lambda: LinearProbe(histogram, self.told["strengths"], repeats=True),
            "pixels": NearestItem,
        }
