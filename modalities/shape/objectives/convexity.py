"""Are two points on the same convex piece? Gadelha et al., "Label-Efficient Learning on Point
Clouds Using Approximate Convex Decompositions", ECCV 2020, arXiv:2003.13834.

Shapes: B clouds, P points of an item, Q of them that are looked at, D width of the embedding.
"""

from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.pretraining.contrast import unit
from modalities.shape.drawing.pieces import show
from modalities.shape.network.encoder import ShapeEncoder
from modalities.shape.network.views import Change, prepare, some, taken


class Convexity(Objective):
    """Points of one piece should have like embeddings, points of different ones should not.

    Needs free labels: a piece for every point. Of each cloud `points` are shown to the encoder and
    all pairs of `pairs` of these are compared. `margin`: cosine similarity that is small enough.
    `turn`, `scale`, `shift`: how shapes are changed.
    """

    needs = ("free_label",)

    def __init__(  # noqa: PLR0913
        self,
        encoder: ShapeEncoder,
        *,
        points: Annotated[int, Gt(1)] = 512,
        pairs: Annotated[int, Gt(1)] = 256,
        margin: Annotated[float, Ge(-1), Le(1)] = 0.5,
        scale: Annotated[float, Ge(0), Le(0.9)] = 0.2,
        shift: Annotated[float, Ge(0), Le(1)] = 0.1,
        turn: Literal["none", "vertical", "any"] = "any",
    ) -> None:
        super().__init__()
        self.encoder: ShapeEncoder = encoder
        self.count, self.pairs, self.margin = points, pairs, margin
        self.head = nn.Linear(encoder.dim, encoder.dim)
        self.change = Change(scale=scale, shift=shift, turn=turn)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        items, label = batch["items"], batch["free_label"]
        which = some(rng, items.shape[1], self.count)  # (B, Q)
        cloud = self.change(taken(items, which), rng)
        # Which of the pairs of different pieces count is drawn here: (B, Q', Q'). Any two pairs'
        # draws are independent, and 2 Q' numbers are made in place of Q' Q'.
        side = min(self.pairs, which.shape[1])
        one, two = rng.uniform(2, side).unbind(1)
        draw = (one[:, :, None] + two[:, None]).frac()
        return {"cloud": cloud, "piece": label.gather(1, which), "draw": draw}

    def forward(self, batch: Batch) -> Step:
        side = batch["draw"].shape[1]
        found = self.head(self.encoder.points(batch["cloud"])[:, :side])
        return Step(*pairwise(found, batch["piece"][:, :side], batch["draw"], self.margin))

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:  # noqa: ARG002
        items = batch["items"][:, :: max(1, batch["items"].shape[1] // self.count)]
        label = batch["free_label"][:, :: max(1, batch["items"].shape[1] // self.count)]
        show(items, label, self.head(self.encoder.points(prepare(items))), folder)


def pairwise(
    found: Tensor, piece: Tensor, draw: Tensor, margin: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Embeddings (B, Q, D), pieces (B, Q) with -1 = none, uniform draws (B, Q, Q) -> loss, metrics.

    Of each cloud all pairs of one piece count, each with 1 - similarity, and as many of the pairs
    of different pieces, taken at random, with what their similarity exceeds the margin by.
    """
    with torch.autocast(found.device.type, enabled=False):
        found = unit(found)
        lies = F.one_hot(piece.long() + 1)[:, :, 1:].to(found.dtype)  # (B, Q, K): on which piece
        known = lies.sum(2)
        sizes = lies.sum(1)
        points, squares = sizes.sum(1), sizes.square().sum(1)
        same, other = squares - points, points.square() - squares  # pairs of each cloud, (B,)
        # The similarities of all pairs within a set add up to the square of its sum; each point's
        # with itself is 1.
        near = (lies.transpose(1, 2) @ found).square().sum((1, 2)) - points
        far = (known[:, :, None] * found).sum(1).square().sum(1) - points - near
        # Numbers in place of bools, which are slow to make and to multiply by on a CPU.
        negative = torch.lt(
            draw, (same / other.clamp_min(1))[:, None, None], out=torch.empty_like(draw)
        )
        both = known[:, :, None] * known[:, None]
        negative *= torch.baddbmm(both, lies, lies.transpose(1, 2), alpha=-1)
        excess = (found @ found.transpose(1, 2) - margin).relu_().mul(negative)
        loss = same.sum() - near.sum() + excess.sum()
        loss = loss / (same.sum() + negative.sum()).clamp_min(1)
        near, far = near.sum() / same.sum().clamp_min(1), far.sum() / other.sum().clamp_min(1)
    return loss, {"same_piece": near.detach(), "other_piece": far.detach()}
