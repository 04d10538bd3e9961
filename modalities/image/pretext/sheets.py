"""What image objectives show: their task on a few pictures, and how they did.

Each function writes its sheets to a folder. Shapes: B pictures, of which the first SHOWN are drawn,
H W height and width, h w coarser ones; images are (B, 3, H, W), normalised.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from modalities.common.pretraining.sheet import COLOURS, INK, Array, Cell, Frame, enlarged, sheets
from modalities.image.network.augmentation import MEAN, STD
from modalities.image.pretext.colour import to_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 8
HARDEST = 3
PLACE, LINE = 40, 4  # pixels of a place on the board of neighbours, and between two


def levels(image: Tensor) -> Array:
    """(..., 3, H, W) normalised -> (..., H, W, 3) uint8, of numpy."""
    std, mean = image.new_tensor(STD)[:, None, None], image.new_tensor(MEAN)[:, None, None]
    return _levels(image.float() * std + mean)


def _levels(rgb: Tensor) -> Array:
    """(..., 3, H, W) in [0, 1] -> (..., H, W, 3) uint8."""
    return (rgb.clamp(0, 1) * 255).round().byte().movedim(-3, -1).cpu().contiguous().numpy()


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def judged(right: bool) -> Frame:
    return "right" if right else "wrong"


def rotations(folder: Path, image: Tensor, chances: Tensor) -> None:
    """(4 B, 3, H, H), the four turns of all pictures one after the other, and their (4 B, 4)."""
    many = len(image) // 4
    drawn, guess = levels(image), chances.argmax(1).tolist()
    rows = []
    for k in range(min(many, SHOWN)):
        row = []
        for true in range(4):
            i = true * many + k
            said = f"{90 * guess[i]}° {percent(float(chances[i, guess[i]]))}"
            bars = chances[i].tolist()
            row.append(Cell(drawn[i], said, judged(guess[i] == true), bars, true))
        rows.append(row)
    caption = (
        "Each picture turned by 0, 90, 180 and 270 degrees, and by how much the run believes that "
        "it was turned. Bars: how likely each of the four is to it; green is the truth."
    )
    sheets(folder, ["0°", "90°", "180°", "270°"], rows, caption)


def puzzles(folder: Path, tiles: Tensor, order: Tensor, guess: Tensor) -> None:
    """(B, 9, 3, t, t) as they lie; place k shows tile order[k] (B, 9), or guess[k], it believes."""
    rows = []
    for k in range(min(len(tiles), SHOWN)):
        shuffled = tiles[k][order[k]]
        back = torch.empty_like(shuffled)
        back[guess[k]] = shuffled
        right = int((order[k] == guess[k]).sum())
        cells = [mosaic(part) for part in (tiles[k], shuffled, back)]
        said = "solved" if right == 9 else f"{right} of 9"
        rows.append([Cell(cells[0]), Cell(cells[1]), Cell(cells[2], said, judged(right == 9))])
    caption = (
        "Nine tiles of a picture in order, shuffled by one of the permutations, and put back by "
        "the one that the run believes it was; beneath it, how many tiles are in their place again."
    )
    sheets(folder, ["in order", "shuffled", "put back"], rows, caption)


def mosaic(tiles: Tensor) -> Array:
    """(9, 3, t, t) -> (128, 128, 4), with gaps between the tiles."""
    import numpy as np

    board = _empty()
    for place, tile in enumerate(levels(tiles)):
        board.paste(_small(tile), _box(place)[:2])
    return np.asarray(board)


def _empty() -> "Image":
    """A ground for three by three places."""
    from PIL import Image

    side = 3 * PLACE + 2 * LINE
    return Image.new("RGBA", (side, side), (0, 0, 0, 0))


def _box(place: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of one of them."""
    y, x = (place // 3) * (PLACE + LINE), (place % 3) * (PLACE + LINE)
    return x, y, x + PLACE - 1, y + PLACE - 1


def _small(picture: Array) -> "Image":
    from PIL import Image

    return enlarged(picture, PLACE, Image.Resampling.NEAREST)


def neighbours(
    folder: Path, image: Tensor, seen: Tensor, where: Tensor, belief: Tensor, target: Tensor
) -> None:
    """Pairs of patches as the run sees them, (B, 2, 3, t, t), and where they lie, (B, 2, 3): down,
    across, side; how likely each of the eight places is (B, 8); which one it is (B,).
    """
    rows = []
    for k in range(min(len(image), SHOWN)):
        picture, guess = levels(image[k]), int(belief[k].argmax())
        raw = [picture[y : y + side, x : x + side] for y, x, side in where[k].tolist()]
        board = _board(raw, belief[k].tolist(), int(target[k]))
        said, frame = percent(float(belief[k, guess])), judged(guess == int(target[k]))
        one, two = levels(seen[k])
        shown = [_lit(picture, where[k]), one, two]
        rows.append([*(Cell(part) for part in shown), Cell(board, said, frame)])
    caption = (
        "Two patches of a picture, as the run is shown them, and where around the first one it "
        "puts the second: the stronger a place's grey, the likelier. Green: where it really lies."
    )
    sheets(folder, ["picture", "first", "second", "belief"], rows, caption)


def _lit(picture: Array, where: Tensor) -> Array:
    """The picture, dark but for its patches."""
    dark = (picture * 0.35).astype(picture.dtype)
    for y, x, side in where.tolist():
        dark[y : y + side, x : x + side] = picture[y : y + side, x : x + side]
    return dark


def _board(raw: list[Array], belief: list[float], true: int) -> Array:
    """(128, 128, 4): the first patch in the middle, the second where it is believed to lie."""
    import numpy as np
    from PIL import ImageDraw

    board = _empty()
    pen = ImageDraw.Draw(board)
    board.paste(_small(raw[0]), _box(4)[:2])
    guess = belief.index(max(belief))
    for number, share in enumerate(belief):
        box = _box(number + (number > 3))
        if number == guess:
            board.paste(_small(raw[1]), box[:2])
        else:
            pen.rectangle(box, fill=(*INK[:3], round(30 + 225 * share)))
        if number == true:
            pen.rectangle(box, outline=COLOURS["right"], width=4)
    return np.asarray(board)


def compared(folder: Path, images: Mapping[str, Tensor], caption: str) -> None:
    """The same pictures in several states: what is said over a column, and its (B, 3, H, W)."""
    drawn = [levels(image[:SHOWN]) for image in images.values()]
    rows = [[Cell(picture) for picture in pictures] for pictures in zip(*drawn, strict=True)]
    sheets(folder, list(images), rows, caption)


def holes(folder: Path, image: Tensor, hole: Tensor, painted: Tensor) -> None:
    """Pictures without what is in the hole, (B, 1, H, W) booleans, with it as painted, whole."""
    states = {"seen": image.masked_fill(hole, 0.0), "filled": torch.where(hole, painted, image)}
    caption = "What the run sees, the hole filled with what it paints there, and the picture."
    compared(folder, states | {"truth": image}, caption)


def colours(folder: Path, lab: Tensor, ab: Tensor) -> None:
    """Pictures in Lab (B, 3, H, W) without colour, in the colours ab (B, 2, h, w), in their own."""
    light, wide = lab[:, :1], F.interpolate(ab, lab.shape[2:], mode="bilinear", align_corners=False)
    states = [light.new_zeros(wide.shape), wide, lab[:, 1:]]
    drawn = [_levels(to_rgb(torch.cat([light, state], 1))[:SHOWN]) for state in states]
    rows = [[Cell(picture) for picture in pictures] for pictures in zip(*drawn, strict=True)]
    caption = "What the run sees, the colours that it paints, and those that the picture had."
    sheets(folder, ["seen", "painted", "truth"], rows, caption)


def pairs(folder: Path, first: Tensor, second: Tensor, likeness: Tensor, others: str) -> None:
    """Two views of each picture and the others that come closest; likeness (B, B), at most 1.

    Row i: how alike the first view of picture i is to the second view of every picture. `others`:
    what the other pictures are called.
    """
    one, two = levels(first), levels(second)
    rows = []
    for k in range(min(len(first), SHOWN)):
        order = [i for i in likeness[k].argsort(descending=True).tolist() if i != k][:HARDEST]
        found = all(likeness[k, k] > likeness[k, i] for i in order)
        row = [Cell(one[k]), Cell(two[k], f"{likeness[k, k]:.2f}", judged(found))]
        rows.append(row + [Cell(two[i], f"{likeness[k, i]:.2f}") for i in order])
    caption = (
        f"A view of a picture, another view of the same one, and the {others} among "
        f"{len(first)} pictures, each with its cosine similarity to the first view. "
        "Green: the run finds the picture again; red: another one seems closer to it."
    )
    sheets(folder, ["view", "its twin", others], rows, caption)


def patches(folder: Path, image: Tensor, masked: Tensor, painted: Tensor) -> None:
    """Pictures without their masked patches (B, M), with them as painted (B, M, 3 p p), whole."""
    side = math.isqrt(painted.shape[2] // 3)
    across = image.shape[3] // side
    seen, filled = image.clone(), image.clone()
    for k in range(min(len(image), SHOWN)):
        for place, patch in zip(masked[k].tolist(), painted[k], strict=True):
            y, x = (place // across) * side, (place % across) * side
            seen[k, :, y : y + side, x : x + side] = 0.0  # the mean
            filled[k, :, y : y + side, x : x + side] = patch.view(side, side, 3).movedim(2, 0)
    caption = (
        "The patches that the run sees, the others as it paints them, and the picture. It paints "
        "what is in a patch up to its mean and contrast, which are taken from the picture here."
    )
    compared(folder, {"seen": seen, "painted": filled, "truth": image}, caption)
