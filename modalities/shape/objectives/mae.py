"""Masked autoencoders of point clouds. Pang et al., "Point-MAE", ECCV 2022, arXiv:2203.06604.

Shapes: B clouds, Q points shown, G groups of K points, N visible, M masked, D width, W decoder's.
"""

from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from torch import Tensor, nn

from modalities.base import Batch, Objective, Randomness, Step
from modalities.common.network.masking import divide, take_tokens
from modalities.common.network.transformer import start, transformer
from modalities.shape.network.encoder import GroupEncoder
from modalities.shape.network.neighbours import distances
from modalities.shape.network.views import Change, some, taken


class MAE(Objective):
    """Say where the points of the groups are that the encoder was not shown.

    `mask`: share of each cloud's groups that are hidden. The encoder sees the others only; a light
    decoder sees their tokens and, for each hidden group, where its centre is. The loss is the
    squared Chamfer distance between points said and true, in units of a group's mean radius.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: GroupEncoder,
        *,
        mask: Annotated[float, Gt(0), Lt(1)] = 0.6,
        width: Annotated[int, Gt(0), MultipleOf(32)] = 96,
        depth: Annotated[int, Gt(0)] = 2,
        points: Annotated[int, Gt(1)] = 1024,
        scale: Annotated[float, Ge(0), Le(0.9)] = 0.2,
        shift: Annotated[float, Ge(0), Le(1)] = 0.1,
        turn: Literal["none", "vertical", "any"] = "none",
    ) -> None:
        super().__init__()
        self.encoder: GroupEncoder = encoder
        self.mask, self.count = mask, points
        self.enter = nn.Linear(encoder.dim, width)
        self.hidden = nn.Parameter(torch.randn(width) * 0.02)  # what stands for a hidden group
        self.place = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.decoder = transformer(width, depth, heads=width // 32)
        self.leave = nn.Linear(width, 3 * encoder.size)
        start(self.enter)
        self.change = Change(scale=scale, shift=shift, turn=turn)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        which = some(rng, batch["items"].shape[1], self.count)
        cloud = self.change(taken(batch["items"], which), rng)
        visible, masked = divide(rng.uniform(self.encoder.groups), self.mask)
        return {"cloud": cloud, "visible": visible, "masked": masked}

    def forward(self, batch: Batch) -> Step:
        visible, masked = batch["visible"], batch["masked"]
        centres, about = self.encoder.cut(batch["cloud"])  # (B, G, 3), (B, G, K, 6)
        shown = take_tokens(about.flatten(2), visible).view(*visible.shape, *about.shape[2:])
        seen = self.enter(self.encoder.encode(take_tokens(centres, visible), shown))  # (B, N, W)
        known = seen + self.place(take_tokens(centres, visible))
        asked = self.hidden + self.place(take_tokens(centres, masked))
        tokens = torch.cat([known, asked.to(known.dtype)], 1)
        said = self.leave(self.decoder(tokens)[:, visible.shape[1] :]).float()  # (B, M, 3 K)
        true = take_tokens(about[..., :3].flatten(2), masked)
        return Step(chamfer(*(x.unflatten(2, (-1, 3)).flatten(0, 1) for x in (said, true))))


def chamfer(said: Tensor, true: Tensor) -> Tensor:
    """(B, K, 3) each: the mean squared distance of each point to the nearest of the others, both
    ways, after all is divided by the mean distance of true points to the origin."""
    unit = true.norm(dim=-1).mean().clamp_min(1e-6)
    square = distances(said / unit, true / unit)  # (B, K, K)
    return square.amin(1).mean() + square.amin(2).mean()
