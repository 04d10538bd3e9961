"""Domain shifts of a finished picture: lost resolution and corruption.

Shapes: S side. Levels follow the idea of ImageNet-C (https://arxiv.org/abs/1903.12261).
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from tasks.playroom.world.render import Bytes
from tasks.settings.playroom import PlayroomShift

JPEG_QUALITY = (40, 25, 15, 10, 6)
CONTRAST = (0.6, 0.45, 0.33, 0.25, 0.18)


def degrade(pixels: Bytes, shift: PlayroomShift, rng: np.random.Generator) -> Bytes:
    """(S, S, 3) -> (S, S, 3): first the corruption, then the resolution."""
    size, level = len(pixels), shift.severity - 1
    picture = Image.fromarray(pixels)
    if shift.corruption == "noise":
        noisy = pixels + rng.normal(0, 16 * (level + 1), pixels.shape)
        picture = Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    elif shift.corruption == "blur":
        picture = picture.filter(ImageFilter.GaussianBlur(0.6 * (level + 1) * size / 64))
    elif shift.corruption == "contrast":
        mean = pixels.mean((0, 1))
        flat = mean + (pixels - mean) * CONTRAST[level]
        picture = Image.fromarray(np.rint(flat).astype(np.uint8))
    elif shift.corruption == "jpeg":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=JPEG_QUALITY[level])
        picture = Image.open(file)
    if shift.resolution < 1:
        small = max(2, round(size * shift.resolution))
        picture = picture.resize((small, small), Image.Resampling.BOX)
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture.convert("RGB"))
