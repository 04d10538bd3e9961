"""Two views of a shape find each other, as wholes and point by point.

Points: Xie et al., "PointContrast", ECCV 2020, arXiv:2007.10985. Shapes: Chen et al., "SimCLR",
ICML 2020, arXiv:2002.05709.

Shapes: B clouds, Q points shown, M of them compared, D width, W of the projection.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn import functional as F

from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.network.heads import mlp
from modalities.common.pretraining.contrast import nt_xent, unit
from modalities.shape.network.encoder import ShapeEncoder
from modalities.shape.network.views import Change, some, taken


class Contrastive(Objective):
    """The same points, turned, scaled, shifted and jittered in two ways.

    `level`: `points`: of `compared` points of a shape each finds itself in the other view among
    them; `shapes`: each shape finds itself among the batch; `both`: the sum of the two.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: ShapeEncoder,
        *,
        level: Literal["points", "shapes", "both"] = "both",
        temperature: Annotated[float, Gt(0)] = 0.1,
        points: Annotated[int, Gt(1)] = 512,
        compared: Annotated[int, Gt(1)] = 128,
        projection: Annotated[int, Gt(0)] = 64,
        scale: Annotated[float, Ge(0), Le(0.9)] = 0.3,
        shift: Annotated[float, Ge(0), Le(1)] = 0.1,
        jitter: Annotated[float, Ge(0), Le(0.1)] = 0.01,
        turn: Literal["none", "vertical", "any"] = "any",
    ) -> None:
        super().__init__()
        self.encoder: ShapeEncoder = encoder
        self.level, self.temperature = level, temperature
        self.count, self.compared = points, compared
        self.change = Change(scale=scale, shift=shift, jitter=jitter, turn=turn)
        if level != "shapes":
            self.point = mlp(encoder.dim, encoder.dim, projection)
        if level != "points":
            self.shape = mlp(encoder.dim, encoder.dim, projection)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        points = taken(batch["items"], some(rng, batch["items"].shape[1], self.count))
        return {"one": self.change(points, rng), "two": self.change(points, rng)}

    def forward(self, batch: Batch) -> Step:
        both = torch.cat([batch["one"], batch["two"]])  # one batch for the batch norms
        found = self.encoder.points(both)  # (2 B, Q, D)
        loss, metrics = found.new_zeros((), dtype=torch.float32), {}
        if self.level != "shapes":
            one, two = self.point(found[:, : self.compared]).chunk(2)
            metrics["points"] = point_nce(one, two, self.temperature)
            loss = loss + metrics["points"]
        if self.level != "points":
            one, two = self.shape(found.amax(1) + found.mean(1)).chunk(2)
            metrics["shapes"] = nt_xent(one, two, self.temperature)
            loss = loss + metrics["shapes"]
        return Step(loss, {name: value.detach() for name, value in metrics.items()})


def point_nce(one: Tensor, two: Tensor, temperature: float) -> Tensor:
    """(B, M, W) each: every point finds its own in the other view among its shape's points."""
    with torch.autocast(one.device.type, enabled=False):
        logits = unit(one) @ unit(two).transpose(1, 2) / temperature  # (B, M, M)
        own = torch.arange(logits.shape[1], device=logits.device).repeat(len(logits))
        there = F.cross_entropy(logits.flatten(0, 1), own)
        back = F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), own)
        return (there + back) / 2
