"""Classifying sounds with few labels; rules: common/measuring/classification.py."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le, MinLen

from modalities.audio.sound import mfcc
from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.linear import LinearProbe
from modalities.common.measuring.problem import Method, Pick
from modalities.items import item


class MeanMfcc:
    """The mean over time of 13 MFCC of each item, (m, 13) float32; computed once."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], np.ndarray] = {}

    def __call__(self, pick: Pick, draw: int = 0) -> np.ndarray:
        del draw
        for at in pick.at.tolist():
            if (pick.split, at) not in self.kept:
                self.kept[pick.split, at] = mfcc.mean(item(pick.items, at))
        return np.stack([self.kept[pick.split, at] for at in pick.at.tolist()])


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Controls: `scratch`, `random`, `majority`, and `mfcc`, logistic regression on mean MFCC. Random
    weights get learning rates of their own, as many of them, and `scratch_factor` times the steps;
    augmentation, schedule, batch and weight decay are the same. The defaults were chosen on
    validation (docs/sound.md).
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [  # noqa: B006
            1, 5, 20, "all",
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
            0.005, 0.015,
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
        from modalities.audio.network.encoder import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        from modalities.audio.network.views import augment, log_mel, prepare

        return Setting(prepare, augment, precision, device, once=log_mel)

    def controls(self) -> dict[str, Callable[[], Method]]:
        return super().controls() | {
            "mfcc": lambda: LinearProbe(MeanMfcc(), self.told["strengths"], repeats=True)
        }
