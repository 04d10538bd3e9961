"""Networks that turn point clouds into features, in plain torch: `small` and `transformer`.

Shapes: B clouds, P points, S centres, K neighbours of a centre, C width, D width at the end.
"""

import difflib
import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from modalities.base import Encoder, UserError
from modalities.common.network.masking import take_tokens
from modalities.common.network.transformer import transformer
from modalities.shape.network.neighbours import farthest, greatest, grouped, interpolate, nearest


class ShapeEncoder(Encoder):
    """An encoder with a feature for every point. Takes (B, P, 6): positions and normals."""

    def points(self, x: Tensor) -> Tensor:
        """(B, P, 6) -> (B, P, D), for segmentation."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, P, 6) -> (B, D): the greatest over points and their mean, added."""
        found = self.points(x)
        return found.amax(1) + found.mean(1)


class GroupEncoder(ShapeEncoder):
    """An encoder of groups of neighbouring points that can be shown some of them only."""

    groups: int  # G
    size: int  # K

    def cut(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, P, 6) -> centres (B, G, 3) and groups' points about them (B, G, K, 6)."""
        place = x[..., :3].contiguous()
        centres = take_tokens(place, farthest(place, self.groups))
        found = grouped(x, nearest(place, centres, self.size))  # (B, G, K, 6)
        about = torch.cat([found[..., :3] - centres[:, :, None], found[..., 3:]], -1)
        return centres, about

    def encode(self, centres: Tensor, about: Tensor) -> Tensor:
        """Centres (B, N, 3) and groups (B, N, K, 6) -> (B, N, D): any of the groups."""
        raise NotImplementedError

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, P, 6) -> (B, G, D), a token per group; with `visible` (B, N), these alone."""
        centres, about = self.cut(x)
        if visible is not None:
            about = take_tokens(about.flatten(2), visible).view(*visible.shape, self.size, -1)
            centres = take_tokens(centres, visible)
        return self.encode(centres, about)

    def points(self, x: Tensor) -> Tensor:
        """(B, P, 6) -> (B, P, D): between the three nearest groups' tokens."""
        centres, about = self.cut(x)
        return interpolate(x[..., :3], centres, self.encode(centres, about))

    def forward(self, x: Tensor) -> Tensor:
        found = self.tokens(x)
        return found.amax(1) + found.mean(1)


class Mix(nn.Module):
    """Linear layers shared by all points, each with batch norm and ReLU; (..., C) -> (..., C')."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(b) for b in widths[1:])

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape[:-1]
        x = x.flatten(0, -2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = norm(layer(x)).relu_()
        found: Tensor = x.view(*shape, x.shape[-1])
        return found


class Abstraction(nn.Module):
    """Set abstraction (PointNet++): a feature at each centre from the points around it.

    The first layer is linear in a neighbour's feature and offset, so it is applied to points and
    centres before they are paired: the same function at 1 / K of the work.
    """

    def __init__(self, width: int, widths: tuple[int, ...], *, neighbours: int, radius: float):
        super().__init__()
        self.neighbours, self.radius = neighbours, radius
        self.enter = nn.Linear(width + 3, widths[0], bias=False)
        self.norm = nn.BatchNorm1d(widths[0])
        self.rest = Mix(*widths)

    def forward(self, place: Tensor, feature: Tensor, centres: Tensor) -> Tensor:
        """place (B, P, 3), feature (B, P, C), centres (B, S, 3) -> (B, S, C')."""
        near = nearest(place, centres, self.neighbours, self.radius)  # (B, S, K)
        point = self.enter(torch.cat([place / self.radius, feature], -1))  # (B, P, C1)
        centre = (centres / self.radius) @ self.enter.weight[:, :3].to(centres.dtype).T
        paired = grouped(point, near) - centre[:, :, None].to(point.dtype)  # (B, S, K, C1)
        found = self.norm(paired.flatten(0, 2)).relu_().unflatten(0, near.shape)
        return greatest(self.rest(found))


class Small(ShapeEncoder):
    """PointNet++ with one scale, at half of the width. Qi et al. 2017, arXiv:1706.02413.

    Two levels of centres (`centres`), the whole cloud, and back to the points by interpolation.
    """

    fits: ClassVar[tuple[str, ...]] = (
        "centres",
        "neighbours",
    )  # no weight's shape follows from them

    def __init__(
        self,
        *,
        centres: tuple[int, int] = (128, 32),
        neighbours: Annotated[int, Gt(0)] = 16,
        width: Annotated[int, Gt(0)] = 32,
        dim: Annotated[int, Gt(0)] = 128,
    ) -> None:
        super().__init__()
        self.dim, self.centres = dim, tuple(centres)
        w = width
        self.first = Abstraction(3, (w, 2 * w), neighbours=neighbours, radius=0.25)
        self.second = Abstraction(2 * w, (2 * w, 4 * w), neighbours=neighbours, radius=0.5)
        self.whole = Mix(4 * w + 3, 4 * w, 8 * w)
        self.down = Mix(8 * w + 4 * w, 4 * w)
        self.across = Mix(4 * w + 2 * w, 4 * w)
        self.out = nn.Sequential(Mix(4 * w + 6, 4 * w), nn.Linear(4 * w, dim))

    def points(self, x: Tensor) -> Tensor:
        place, normal = x[..., :3].contiguous(), x[..., 3:]
        # Farthest points come one by one, so the first of them are the coarser level's.
        order = farthest(place, max(self.centres))
        fine = take_tokens(place, order[:, : self.centres[0]])
        coarse = take_tokens(place, order[:, : self.centres[1]])
        one = self.first(place, normal, fine)  # (B, S1, 2 w)
        two = self.second(fine, one, coarse)  # (B, S2, 4 w)
        all_ = self.whole(torch.cat([coarse, two.to(coarse.dtype)], -1)).amax(1)  # (B, 8 w)
        spread = all_[:, None].expand(-1, two.shape[1], -1)
        two = self.down(torch.cat([spread, two], -1))  # (B, S2, 4 w)
        up = interpolate(fine, coarse, two)
        one = self.across(torch.cat([up, one.to(up.dtype)], -1))  # (B, S1, 4 w)
        up = interpolate(place, fine, one)
        found: Tensor = self.out(torch.cat([up, x.to(up.dtype)], -1))  # (B, P, D)
        return found

    def tokens(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """(B, P, 6) -> (B, P, D)."""
        if visible is not None:
            raise ValueError("this encoder needs all points; choose encoder: transformer")
        return self.points(x)


class Transformer(GroupEncoder):
    """Groups of points as tokens of a transformer, as in Point-MAE: arXiv:2203.06604."""

    fits: ClassVar[tuple[str, ...]] = ("groups", "size")  # no weight's shape follows from them

    def __init__(
        self,
        *,
        groups: Annotated[int, Gt(0)] = 64,
        size: Annotated[int, Gt(0)] = 24,
        width: Annotated[int, Gt(0)] = 192,
        depth: Annotated[int, Gt(0)] = 4,
        heads: Annotated[int, Gt(0)] = 3,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"encoder transformer: width {width} is no multiple of heads, {heads}")
        self.groups, self.size, self.dim = groups, size, width
        self.inner, self.outer = Mix(6, 64, 128), Mix(256, 192)
        self.leave = nn.Linear(192, width)
        self.place = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))
        self.blocks = transformer(width, depth, heads)

    def encode(self, centres: Tensor, about: Tensor) -> Tensor:
        point = self.inner(about)  # (B, N, K, 128)
        most = greatest(point)[:, :, None].expand_as(point)
        group = self.leave(greatest(self.outer(torch.cat([most, point], -1))))  # (B, N, D)
        found: Tensor = self.blocks(group + self.place(centres))
        return found


def build(name: str, **options: Any) -> ShapeEncoder:
    """A new encoder with random weights; UserError for a name or an option that does not exist."""
    own: dict[str, Callable[..., ShapeEncoder]] = {"small": Small, "transformer": Transformer}
    if name not in own:
        raise UserError(f"unknown encoder {name!r}{_nearest(name, list(own))}")
    allowed = list(inspect.signature(own[name]).parameters)
    for key, value in options.items():
        if key not in allowed:
            raise UserError(f"encoder {name}: unknown option {key!r}{_nearest(key, allowed)}")
        numbers = value if key == "centres" and isinstance(value, list | tuple) else [value]
        if not all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in numbers):
            raise UserError(f"encoder {name}: option {key}: impossible value {value!r}")
    return own[name](**options)


def _nearest(word: str, names: list[str]) -> str:
    close = difflib.get_close_matches(word, names, 1, 0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{hint}; allowed: {', '.join(names)}"
