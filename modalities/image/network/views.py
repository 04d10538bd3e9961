"""Pictures as an encoder takes them, and the ways to change one without changing what it shows.

Shapes: B batch, H W height and width. In: (B, H, W, 3) uint8. Out: (B, 3, H, W), normalised.
"""

from torch import Tensor

from modalities.base import Randomness
from modalities.common.network.tensors import constant
from modalities.image.network.augmentation import MEAN, STD, Augmentation

# Measured at 5 labels per class on the Playroom, where colour tells nothing: with less change of
# colour (0.2, no grey) training from scratch is 20 points worse.
SUPERVISED = Augmentation(
    scale=(0.4, 1.0), flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter=0.8,
    grey=0.2,
)  # fmt: skip


def prepare(items: Tensor) -> Tensor:
    """Only the change of form."""
    mean, std = constant(MEAN, items.device), constant(STD, items.device)
    return (items.float() / 255).sub_(mean).div_(std).permute(0, 3, 1, 2)


def augment(items: Tensor, rng: Randomness) -> Tensor:
    """A crop, a flip, some change of colour; what fine-tuning and training from scratch see."""
    return SUPERVISED(items, rng)


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


def discriminative(*, crop: float = 0.2, colour: float = 1.0, grey: float = 0.2) -> Augmentation:
    """What two views differ by in MoCo v1 (arXiv:1911.05722): colour always changes, no blur.

    `crop`: least share of the area that is kept; `colour`: strength, 1 being the paper's; `grey`:
    probability.
    """
    light = 0.4 * colour
    return Augmentation(
        scale=(crop, 1.0), flip=0.5, brightness=light, contrast=light, saturation=light, hue=light,
        grey=grey,
    )  # fmt: skip
