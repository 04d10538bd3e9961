"""A sheet of small pictures in rows and columns, with a few words: what an objective has to show.

PNG files with a transparent ground and colours of middle lightness, so that they can be read on
light and on dark paper. They are drawn at twice the size at which they are meant to be seen (192
dots an inch, where a page has 96), which is at most 352 pixels wide, and carry their caption in
the field `Description`.

Shapes: h, w height and width of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling
    from PIL.ImageDraw import ImageDraw

Array: TypeAlias = Any  # of numpy
Frame: TypeAlias = Literal["", "right", "wrong"]

SIDE, GAP, LETTER, LINE, BAR = 128, 16, 23, 32, 30  # pixels of the file
INK = (122, 118, 108, 255)
FAINT = (122, 118, 108, 90)
COLOURS = {"": INK, "right": (84, 148, 66, 255), "wrong": (206, 84, 62, 255)}


@dataclass(frozen=True)
class Cell:
    """A picture (h, w, 3 or 4) uint8, what is said beneath it and whether it was right.

    `bars`: shares in [0, 1], drawn side by side; the one at `true` is what should be the highest.
    """

    picture: Array
    text: str = ""
    frame: Frame = ""
    bars: Sequence[float] = ()
    true: int = -1


Rows: TypeAlias = Sequence[Sequence[Cell]]


def sheets(folder: Path, heads: Sequence[str], rows: Rows, caption: str, *, each: int = 4) -> None:
    """As many PNG files in `folder` as it takes, `each` rows on one; the same bytes for the same.

    `heads`: a word over each column, or over all columns from there to the next one that is said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(range(0, len(rows), each), 1):
        _save(folder / f"{number}.png", _drawn(heads, rows[start : start + each]), caption)


def _save(path: Path, image: "Image", caption: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    said = PngInfo()
    said.add_itxt("Description", caption)
    image.save(path, "PNG", pnginfo=said, optimize=True, dpi=(192, 192))


def _drawn(heads: Sequence[str], rows: Rows) -> "Image":
    from PIL import Image, ImageDraw

    columns = max(len(row) for row in rows)
    top = LINE + 4 if any(heads) else 0
    heights = [_height(row) for row in rows]
    size = (columns * (SIDE + GAP) - GAP, top + sum(heights) + GAP * (len(rows) - 1))
    sheet = Image.new("RGBA", size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(sheet)
    for column, head in enumerate(heads):
        _write(pen, (column * (SIDE + GAP), 0), head, INK)
    y = top
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            _cell(sheet, pen, (column * (SIDE + GAP), y), cell)
        y += height + GAP
    return sheet


def _height(row: Sequence[Cell]) -> int:
    said = any(cell.text for cell in row)
    return SIDE + (LINE if said else 0) + (BAR + 6 if any(cell.bars for cell in row) else 0)


def _cell(sheet: "Image", pen: "ImageDraw", at: tuple[int, int], cell: Cell) -> None:
    x, y = at
    picture = enlarged(cell.picture)
    left, top = x + (SIDE - picture.width) // 2, y + (SIDE - picture.height) // 2
    sheet.paste(picture, (left, top))
    colour = COLOURS[cell.frame]
    if cell.frame:
        ends = (left, top, left + picture.width - 1, top + picture.height - 1)
        pen.rectangle(ends, outline=colour, width=5)
    below = y + SIDE
    if cell.bars:
        _bars(pen, (x, below + 6), cell)
        below += BAR + 6
    _write(pen, (x, below + 4), cell.text, colour)


def _bars(pen: "ImageDraw", at: tuple[int, int], cell: Cell) -> None:
    x, y = at
    step = SIDE / len(cell.bars)
    for place, share in enumerate(cell.bars):
        left, right = round(x + place * step) + 2, round(x + (place + 1) * step) - 3
        colour = COLOURS["right"] if place == cell.true else INK
        pen.rectangle((left, y + BAR - 2, right, y + BAR), fill=FAINT)
        high = round(share * (BAR - 3))
        if high:
            pen.rectangle((left, y + BAR - 2 - high, right, y + BAR), fill=colour)


def _write(pen: "ImageDraw", at: tuple[int, int], text: str, colour: tuple[int, ...]) -> None:
    from PIL import ImageFont

    if text:
        pen.text(at, text, fill=colour, font=ImageFont.load_default(LETTER))


def enlarged(picture: Array, side: int = SIDE, how: "Resampling | None" = None) -> "Image":
    """(h, w, 3 or 4) uint8 -> at most `side` high and wide; few pixels stay squares."""
    from PIL import Image

    image = Image.fromarray(picture)
    long = max(image.size)
    size = (max(1, round(image.width * side / long)), max(1, round(image.height * side / long)))
    sharp = side % long == 0 or 4 * long < side
    usual = Image.Resampling.NEAREST if sharp else Image.Resampling.LANCZOS
    return image.resize(size, usual if how is None else how)
