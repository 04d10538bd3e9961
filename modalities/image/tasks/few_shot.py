"""Few-shot learning with a pretext task beside it: see modalities/common/learners/few_shot.py."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, MinLen

from modalities import named
from modalities.base import Encoder, Labelled, Objective, Tell, UserError
from modalities.common.learners.few_shot import Episodes, Features, Study
from modalities.common.learners.few_shot_training import Schedule
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped, Task
from modalities.image.measuring.raw import alike, histogram, pixels

RAW: dict[str, Features] = {  # controls without an encoder
    "majority": lambda _, __, subset: alike(subset),
    "histogram": lambda _, __, subset: histogram(subset),
    "pixels": lambda _, __, subset: pixels(subset),
}


class FewShot(Task):
    """N-way K-shot episodes over held-out classes, after training with (1-w) L_sup + w L_ssl.

    Su, Maji, Hariharan, "When Does Self-supervision Improve Few-shot Learning?", ECCV 2020,
    arXiv:1910.03560. In each draw `novel` classes are held out. The encoder is trained on labelled
    pictures of the others: `head: prototypical` in episodes (Snell et al. 2017, arXiv:1703.05175),
    `cosine` as a classifier of all of them by cosine (Chen et al. 2019, arXiv:1904.04232); for each
    of `weights`, w, with the `pretext` task beside it, on these pictures and up to `unlabelled`
    unlabelled ones (-1: all of them; these may show any class). The unlabelled come from another
    domain where the data's do. Then `episodes` of `way` classes and `shots` pictures of each, drawn
    from the test split's held-out classes, are classified by the nearest prototype.

    `options`: of the pretext task; `steps`: of training, 0: the encoder as it is; `learning_rate`,
    `scratch_learning_rate`: from pretrained and from random weights. Nothing is chosen afterwards,
    so no validation split is needed.
    """

    way: Annotated[int, Gt(1)] = 5
    shots: Annotated[list[Annotated[int, Gt(0)]], MinLen(1)] = [1, 5]
    queries: Annotated[int, Gt(0)] = 15
    episodes: Annotated[int, Gt(0)] = 200
    novel: Annotated[int, Gt(1)] = 5
    draws: Annotated[int, Ge(2)] = 3
    head: Literal["prototypical", "cosine"] = "prototypical"
    pretext: Literal["rotation", "jigsaw"] = "rotation"
    options: dict[str, bool | int | float | str] = {}
    weights: Annotated[list[Annotated[float, Ge(0), Le(1)]], MinLen(1)] = [0.0, 0.3, 0.5]
    unlabelled: Annotated[int, Ge(-1)] = 0
    steps: Annotated[int, Ge(0)] = 300
    batch_size: Annotated[int, Gt(1)] = 64
    learning_rate: Annotated[float, Gt(0)] = 0.003
    scratch_learning_rate: Annotated[float, Gt(0)] = 0.01
    weight_decay: Annotated[float, Ge(0)] = 0.01

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked = Episodes(
            self.way, self.shots, self.queries, self.episodes, self.novel, self.draws
        )
        self._auxiliary(self._fresh())  # mistaken options are known before anything runs

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        from modalities.image.network.views import augment, prepare

        device = "cuda" if torch.cuda.is_available() else "cpu"
        setting = Setting(prepare, augment, precision, device)
        rates = {"pretrained": self.learning_rate, "scratch": self.scratch_learning_rate}
        schedule = Schedule(
            head=self.head, shots=max(self.shots), unlabelled=self.unlabelled, steps=self.steps,
            batch_size=self.batch_size, weight_decay=self.weight_decay,
            learning_rate=rates.get(start, 0.0),
        )  # fmt: skip
        study = Study(self.asked, schedule, setting, self._auxiliary, seed)
        features = RAW.get(start) or study.trained(encoder or self._fresh)
        weights = self.weights if start in rates and self.steps else [None]
        name = start if start in RAW else "prototypes"
        return study.rows(features, weights, splits, name, tell)

    def _fresh(self) -> Encoder:
        from modalities.image.network.factory import build

        return build(self.encoder, **self.encoder_options)

    def _auxiliary(self, encoder: Encoder) -> Objective:
        """The pretext task on an encoder, with a head of its own."""
        kind = named.method("image", "objectives", self.pretext, Objective)
        known = [p.name for p in inspect.signature(kind).parameters.values()
                 if p.kind is p.KEYWORD_ONLY]  # fmt: skip
        for key in self.options:
            if key not in known:
                raise UserError(
                    f"few_shot: {self.pretext} has no option {key!r}; it has {', '.join(known)}"
                )
        made: Objective = kind(encoder, **self.options)
        return made
