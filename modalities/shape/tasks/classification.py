"""Classifying shapes with few labels; rules: common/measuring/classification.py."""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.shape.network.views import Change, prepare


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own and `scratch_factor` times the steps. `turn`:
    how shapes are turned while training, for all starts alike.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [  # noqa: B006
            1, 5, 10, "all",
        ],
        draws: Annotated[int, Ge(2)] = 5,
        protocols: Annotated[list[Literal["linear", "knn", "finetune"]], MinLen(1)] = [  # noqa: B006
            "linear", "knn", "finetune",
        ],
        strengths: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.0001, 0.001, 0.01, 0.1, 1.0, 10.0,
        ],
        neighbours: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = [1, 3, 5, 10, 20],  # noqa: B006
        learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [0.001, 0.003],  # noqa: B006
        scratch_learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.003, 0.01,
        ],
        scratch_factor: Annotated[float, Ge(1)] = 2.0,
        turn: Literal["none", "vertical", "any"] = "none",
        epochs: Annotated[int, Gt(0)] = 60,
        min_steps: Annotated[int, Gt(0)] = 40,
        max_steps: Annotated[int, Gt(0)] = 120,
        batch_size: Annotated[int, Gt(1)] = 16,
        weight_decay: Annotated[float, Ge(0)] = 0.01,
        smoothing: Annotated[float, Ge(0), Le(0.9)] = 0.1,
        evaluations: Annotated[int, Gt(0)] = 4,
        patience: Annotated[int, Gt(0)] = 3,
        encoder: str = "small",
        encoder_options: dict[str, bool | int | float | str | list[int]] = {},  # noqa: B006
    ) -> None:  # fmt: skip
        super().__init__(locals())
        self.change = Change(scale=0.2, shift=0.1, turn=turn)

    def build(self, name: str, **options: Any) -> Encoder:
        from modalities.shape.network.encoder import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        return Setting(prepare, self.change, precision, device)
