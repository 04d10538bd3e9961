"""Pictures as an encoder takes them, and the ways to change one without changing what it shows.

Shapes: B batch, H W height and width. In: (B, H, W, 3) uint8. Out: (B, 3, H, W), normalised.
"""

import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.common.augmentation import MEAN, STD, Augmentation

MILD = Augmentation(scale=(0.6, 1.0), flip=0.5, brightness=0.2, contrast=0.2, saturation=0.2)


def prepare(items: Tensor) -> Tensor:
    """Only the change of form."""
    std = torch.tensor(STD, device=items.device)
    mean = torch.tensor(MEAN, device=items.device)
    return (items.float() / 255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def augment(items: Tensor, rng: Randomness) -> Tensor:
    """A mild crop, a flip and some change of light."""
    return MILD(items, rng)


def contrastive(
    *, crop: float = 0.2, colour: float = 1.0, blur: float = 0.5, grey: float = 0.2
) -> Augmentation:
    """What two views of one picture differ by, in SimCLR and MoCo v2.

    `crop`: least share of the area that is kept; `colour`: strength of the jitter, where 1 is MoCo
    v2's (arXiv:2003.04297) and 2 is SimCLR's (arXiv:2002.05709); `blur`, `grey`: probabilities.
    """
    light = 0.4 * colour
    return Augmentation(
        scale=(crop, 1.0), flip=0.5, brightness=light, contrast=light, saturation=light,
        hue=0.1 * colour, jitter=0.8, grey=grey, blur=blur,
    )  # fmt: skip
