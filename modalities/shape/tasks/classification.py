"""Classifying shapes with few labels; rules: common/measuring/classification.py."""

from typing import Any, Literal

from modalities.base import Encoder
from modalities.common.measuring.classifier import ClassificationTask
from modalities.common.measuring.frozen import Setting
from modalities.shape.network.views import Change, prepare


class Classification(ClassificationTask):
    """Linear probe, k-NN and fine-tuning of an encoder, and the controls, at every budget.

    Random weights get learning rates of their own and `scratch_factor` times the steps. `turn`:
    how shapes are turned while training, for all starts alike.
    """

    scratch_factor = 2.0
    turn: Literal["none", "vertical", "any"] = "none"
    epochs = 60
    max_steps = 120
    batch_size = 16
    evaluations = 4

    def build(self, name: str, **options: Any) -> Encoder:
        from modalities.shape.network.encoder import build

        return build(name, **options)

    def setting(self, precision: str, device: str) -> Setting:
        change = Change(scale=0.2, shift=0.1, turn=self.turn)
        return Setting(prepare, change, precision, device)
