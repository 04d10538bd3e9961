"""An encoder that was told every label of the train split, as ImageNet's encoders have been.

The control `supervised`: what labels are worth to pretrain from, beside signals that are free.
"""

from collections.abc import Mapping

from modalities.base import Encoder, Labelled, UserError
from modalities.common.measuring.finetune import FineTuning, Recipe
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import FewLabels, problem
from modalities.common.measuring.rows import EncoderFactory

RECIPE = Recipe(
    learning_rates=[0.015], epochs=60, min_steps=500, max_steps=20_000, batch_size=48,
    weight_decay=0.01, smoothing=0.1, evaluations=6, patience=3,
)  # fmt: skip


def supervised(
    make: EncoderFactory,
    splits: Mapping[str, Labelled],
    setting: Setting,
    *,
    seed: int,
    recipe: Recipe = RECIPE,
) -> tuple[Encoder, float | None]:
    """The encoder and its accuracy on validation, which chose its length. UserError: no labels."""
    whole = problem(splits)
    if len(whole.known) < 2:
        text = f"the control needs labels of two classes or more, found {len(whole.known)}"
        raise UserError(f"params.yaml: controls: supervised: {text}")
    few = FewLabels(whole.train, whole.val, len(whole.known), "all", 0, seed)
    model, trial, _ = FineTuning(make, recipe, setting, None).trained(few, lambda _: None)
    return model.encoder.cpu().eval(), trial.score
