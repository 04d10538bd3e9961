"""A pretext task as an auxiliary loss beside that of labels: L = a L_sup + b L_ssl.

With (a, b) = (1 - w, w) Su, Maji, Hariharan, "When Does Self-supervision Improve Few-shot
Learning?", ECCV 2020, arXiv:1910.03560; with (1, lambda) and convex pieces Gadelha et al., ECCV
2020, arXiv:2003.13834, section 4.2.
"""

from collections.abc import Mapping

import torch

from modalities.base import Batch, Objective, Progress, Randomness, Step
from modalities.common.learners.contract import Learner, of_stream


class Auxiliary(Learner):
    """Two objectives on one encoder, each with a stream of its own: `labelled`, `unlabelled`.

    A loss of weight 0 is not computed: its stream is not among `streams`. Without `auxiliary` only
    labels are learnt from.
    """

    needs = ("label",)

    def __init__(
        self, supervised: Objective, auxiliary: Objective | None,
        weights: tuple[float, float], streams: Mapping[str, int],
    ) -> None:  # fmt: skip
        super().__init__()
        self.supervised, self.auxiliary = supervised, auxiliary
        self.encoder, self.weights = supervised.encoder, weights
        sizes = zip(streams.items(), weights, strict=True)
        self.streams = {name: size for (name, size), weight in sizes if weight}

    def begin(self, items: int) -> None:
        if self.auxiliary is not None:
            self.auxiliary.begin(items)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        """Of one stream."""
        if self.auxiliary is None or self.labelled(batch):
            return self.supervised.views(batch, rng)
        return self.auxiliary.views(batch, rng)

    def forward(self, batch: Batch) -> Step:
        """The weighted sum over the streams that the batch has."""
        losses = []
        for name, part, weight in zip(
            ("labelled", "unlabelled"), (self.supervised, self.auxiliary), self.weights, strict=True
        ):
            views = of_stream(batch, name)
            if views and part is not None:
                losses.append(weight * part(views).loss)
                # Else both losses' gradients of a weight would be added up in bf16.
                torch.clear_autocast_cache()
        return Step(torch.stack(losses).sum())

    def after_step(self, progress: Progress) -> None:
        if self.auxiliary is not None:
            self.auxiliary.after_step(progress)
