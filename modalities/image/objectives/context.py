"""Where does the second patch lie? Doersch, Gupta, Efros 2015, arXiv:1505.05192.

Shapes: B pictures, H W height and width, t side of a patch, D width.
"""

from pathlib import Path
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor

from modalities.base import Batch, Encoder, Objective, Randomness, Step, UserError
from modalities.common.network.heads import mlp
from modalities.common.network.tensors import constant
from modalities.image.network.views import contrastive
from modalities.image.pretext import sheets
from modalities.image.pretext.tiles import centred, cut, drop, project, resize

# Down and across, from the first patch to the second, row by row.
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


class Context(Objective):
    """From a patch and one of its eight neighbours, say which neighbour it is.

    The first patch is anywhere where all its neighbours are inside, so its place says nothing.

    `patch`: side as a share of the picture's; `gap`: pixels between the two, as a share of the
    side; `jitter`: by how much of the side the second may be off; `size`: side in pixels to which
    patches are enlarged for the encoder, 0: not at all; `colour`: how to hide the coloured fringes
    of lenses, which tell the place: `drop` all but a random one for noise, `projection`: take out
    the axis from green to magenta, which hides fringes of these two, but not of red beside blue,
    `none`; `hidden`: width of the head; `crop`: least share of the area that is kept. Nothing else
    changes colours: it would mix them before one is dropped.
    """

    def __init__(  # noqa: PLR0913
        self,
        encoder: Encoder,
        *,
        patch: Annotated[float, Gt(0), Lt(1)] = 0.22,
        gap: Annotated[float, Ge(0)] = 0.5,
        jitter: Annotated[float, Ge(0)] = 0.15,
        size: Annotated[int, Ge(0)] = 0,
        colour: Literal["drop", "projection", "none"] = "drop",
        hidden: Annotated[int, Gt(0)] = 512,
        crop: Annotated[float, Gt(0), Le(1)] = 0.7,
    ) -> None:
        super().__init__()
        if jitter > gap:
            raise UserError(f"context: jitter {jitter} must not exceed gap {gap}: patches overlap")
        self.encoder = encoder
        self.head = mlp(2 * encoder.dim, hidden, len(NEIGHBOURS))
        self.patch, self.gap, self.jitter, self.size = patch, gap, jitter, size
        self.hide = {"drop": drop, "projection": project}.get(colour)
        self.augmentation = contrastive(crop=crop, colour=0.0, blur=0.0, grey=0.0)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        patches, target, _ = self.pair(self.augmentation(batch["items"], rng), rng)
        return {"patches": patches, "target": target}

    def pair(self, x: Tensor, rng: Randomness) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) -> (B, 2, 3, t, t), target (B,), (B, 2, 3) where: down, across, side."""
        side = int(self.patch * min(x.shape[2:]))
        step, off = side + round(self.gap * side), round(self.jitter * side)
        target = rng.integers(len(NEIGHBOURS))  # (B,)
        towards = constant(NEIGHBOURS, x.device)[target] * step + rng.integers(2 * off + 1, 2) - off
        corners = []
        for length, move in zip(x.shape[2:], towards.unbind(1), strict=True):
            free = length - side - 2 * (step + off)
            if side < 2 or free < 0:
                raise UserError(
                    f"context: nine patches of {side} pixels and the gaps between them do not fit "
                    f"into {length}; make patch, gap or jitter smaller, or pictures larger"
                )
            first = step + off + rng.integers(free + 1)  # (B,)
            corners.append(torch.stack([first, first + move], 1)[:, :, None])  # (B, 2, 1)
        patches = centred(resize(cut(x, corners, side), self.size))
        if self.hide:
            patches = self.hide(patches, rng)
        where = torch.cat([*corners, torch.full_like(corners[0], side)], 2)
        return patches, target, where

    def forward(self, batch: Batch) -> Step:
        scores, target = self.scores(batch["patches"]), batch["target"]
        right = (scores.argmax(1) == target).float().mean()
        return Step(F.cross_entropy(scores, target), {"accuracy": right})

    def scores(self, patches: Tensor) -> Tensor:
        """(B, 2, 3, t, t) -> (B, 8)."""
        found: Tensor = self.head(self.encoder(patches.flatten(0, 1)).view(len(patches), -1))
        return found.float()

    def show(self, batch: Batch, rng: Randomness, folder: Path) -> None:
        image = self.augmentation(batch["items"], rng)
        patches, target, where = self.pair(image, rng)
        belief = self.scores(patches).softmax(1)
        sheets.neighbours(folder, image, patches, where, belief, target)
