"""Which way is up? Poursaeed et al., "Self-supervised Learning of Point Clouds via Orientation
Estimation", 3DV 2020, arXiv:2008.00305.

For data whose shapes stand upright; in shapes that lie any way round there is nothing to learn.

Shapes: B clouds, Q points, R rotations.
"""

from itertools import permutations, product
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor, nn
from torch.nn import functional as F

from modalities.base import Batch, Objective, Randomness, Step
from modalities.shape.network.encoder import ShapeEncoder
from modalities.shape.network.views import Change, some, taken


class Rotation(Objective):
    """Turn each cloud by one of R rotations, exactly (axes change places and signs); say by which.

    `turns`: 4: quarters about the vertical; 6: which axis is up; 24: all that map a cube on itself.
    """

    def __init__(
        self,
        encoder: ShapeEncoder,
        *,
        turns: Literal[4, 6, 24] = 6,
        points: Annotated[int, Gt(1)] = 512,
        scale: Annotated[float, Ge(0), Le(0.9)] = 0.2,
        shift: Annotated[float, Ge(0), Le(1)] = 0.1,
    ) -> None:
        super().__init__()
        self.encoder: ShapeEncoder = encoder
        self.head = nn.Linear(encoder.dim, turns)
        self.count, self.turns = points, turns
        self.change = Change(scale=scale, shift=shift)
        self.register_buffer("matrices", rotations(turns), persistent=False)
        self.matrices: Tensor  # (R, 3, 3)

    def views(self, batch: Batch, rng: Randomness) -> Batch:
        which = some(rng, batch["items"].shape[1], self.count)
        upright = self.change(taken(batch["items"], which), rng)
        turn = rng.integers(self.turns)
        matrix = self.matrices[turn].transpose(1, 2)
        both = [part @ matrix for part in (upright[..., :3], upright[..., 3:])]
        return {"cloud": torch.cat(both, -1), "turn": turn}

    def forward(self, batch: Batch) -> Step:
        scores = self.head(self.encoder(batch["cloud"])).float()
        right = (scores.argmax(1) == batch["turn"]).float().mean()
        return Step(F.cross_entropy(scores, batch["turn"]), {"accuracy": right})


def rotations(turns: int) -> Tensor:
    """(R, 3, 3): the identity first; for 6 and 4 those of the cube's 24 that are told apart."""
    cube = []
    for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
        matrix = torch.zeros(3, 3)
        matrix[torch.arange(3), torch.tensor(order)] = torch.tensor(signs)
        if torch.linalg.det(matrix) > 0:
            cube.append(matrix)
    up = torch.tensor([0.0, 1.0, 0.0])
    if turns == 4:
        cube = [matrix for matrix in cube if torch.equal(matrix @ up, up)]
    if turns == 6:
        first = {tuple((matrix @ up).tolist()): matrix for matrix in reversed(cube)}
        cube = sorted(first.values(), key=lambda m: not torch.equal(m, torch.eye(3)))
    return torch.stack(cube)
