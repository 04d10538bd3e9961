"""Which way was the jigsaw shuffled? Noroozi, Favaro 2016, arXiv:1603.09246.

Shapes: B pictures, H W height and width, t side of a tile, P permutations, D width.
"""

from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from modalities.base import Batch, Encoder, Objective, Randomness, Step, UserError
from modalities.common.network.heads import mlp
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets
from modalities.image.pretext.permutations import distant, least_distance
from modalities.image.pretext.tiles import coloured, cut, normalised, resize

GRID = 3  # tiles across and down


class Jigsaw(Objective):
    """Shuffle the nine tiles of a picture by one of P permutations; say by which.

    The encoder sees each tile alone (context-free); the head sees the features of all nine.

    `permutations`: P, as far from one another as so many can be; `tile`: side of a tile as a
    share of its cell, in which it lies at random, which leaves a gap to the next; `size`: side in
    pixels to which tiles are enlarged for the encoder, 0: not at all, which for small pictures and
    encoders of many stages is too little; `fringe`: each colour of a tile is moved by up to this
    share of its side, so that a lens's coloured fringes do not tell its place; `hidden`: width of
    the head; `crop`, `colour`, `grey`: of the picture before it is cut, as for other objectives.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        permutations: Annotated[int, Gt(1), Le(1512)] = 1000,
        tile: Annotated[float, Gt(0), Lt(1)] = 0.85,
        size: Annotated[int, Ge(0)] = 0,
        fringe: Annotated[float, Ge(0), Lt(1)] = 0.03,
        hidden: Annotated[int, Gt(0)] = 512,
        crop: Annotated[float, Gt(0), Le(1)] = 0.7,
        colour: Annotated[float, Ge(0), Le(2.5)] = 1.0,
        grey: Annotated[float, Ge(0), Le(1)] = 0.3,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = mlp(GRID**2 * encoder.dim, hidden, permutations)
        self.tile, self.size, self.fringe = tile, size, fringe
        self.augmentation = contrastive(crop=crop, colour=colour, blur=0.0, grey=grey)
        orders, least = distant(permutations)
        assert least_distance(orders) >= least
        self.orders: Tensor
        self.register_buffer("orders", orders.clone())  # (P, 9)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        tiles = normalised(self.tiles(self.augmentation(batch["items"], rng), rng))
        target = rng.integers(len(self.orders))  # (B,)
        return {"tiles": self.shuffled(tiles, target), "target": target}

    def shuffled(self, tiles: Tensor, target: Tensor) -> Tensor:
        """(B, 9, ...), (B,) -> the same tiles, of which place k shows tile order[k]."""
        order = self.orders.to(tiles.device)[target]  # (B, 9)
        return tiles[torch.arange(len(tiles), device=tiles.device)[:, None], order]

    def tiles(self, x: Tensor, rng: Randomness) -> Tensor:
        """(B, 3, H, W) -> (B, 9, 3, t, t) as they lie, row by row."""
        cells = (x.shape[2] // GRID, x.shape[3] // GRID)
        side = int(self.tile * min(cells))
        if side < 2:
            raise UserError(f"pictures of {tuple(x.shape[2:])} pixels are too small for a jigsaw")
        shift = round(self.fringe * side)
        moved = (rng.integers(2 * shift + 1, 2, 9, 3) - shift) * coloured(x)[:, None, None, None]
        number = torch.arange(GRID**2, device=x.device)
        corners = []
        for axis, cell in enumerate(cells):
            place = rng.integers(cell - side + 1, 9, 1) + moved[:, axis]  # (B, 9, 3), in its cell
            start = (number // GRID, number % GRID)[axis][:, None] * cell
            corners.append(start + place.clamp(0, cell - side))
        return resize(cut(x, corners, side), self.size)

    def forward(self, batch: Batch) -> Step:
        scores, target = self.scores(batch["tiles"]), batch["target"]
        right = (scores.argmax(1) == target).float().mean()
        return Step(F.cross_entropy(scores, target), {"accuracy": right})

    def scores(self, tiles: Tensor) -> Tensor:
        """(B, 9, 3, t, t) -> (B, P)."""
        found: Tensor = self.head(self.encoder(tiles.flatten(0, 1)).view(len(tiles), -1))
        return found.float()

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        tiles = self.tiles(self.augmentation(batch["items"], rng), rng)
        target = rng.integers(len(self.orders))
        guess = self.scores(self.shuffled(normalised(tiles), target)).argmax(1)
        sheets.puzzles(folder, tiles, self.orders[target], self.orders[guess])
