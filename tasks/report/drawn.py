"""Pictures and page fragments that other stages left in their folders, for the page."""

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup

WIDEST = 960  # pixels of the page
INCH = 96  # pixels of the page


@dataclass(frozen=True)
class Drawn:
    """What a folder holds for people to look at."""

    folder: Path
    pictures: list[Path]
    fragments: list[Path]


def find(folder: Path, *, but: str = "") -> Drawn:
    """*.png and *.html but for one name, in the order of their names; none without the folder."""
    pictures = [path for path in folder.glob("*.png") if path.name != but]
    return Drawn(folder, sorted(pictures), sorted(folder.glob("*.html")))


def view(drawn: Drawn, most: int) -> dict[str, Any]:
    """As the template wants it: at most `most` pictures, those with one caption together."""
    shown, problems = [], []
    for path in drawn.pictures[:most]:
        try:
            shown.append(_picture(path))
        except Exception as error:  # a torn picture costs itself only
            problems.append(f"{path.as_posix()}: {type(error).__name__}: {error}")
    groups = [
        {"caption": caption, "pictures": list(those)}
        for caption, those in groupby(shown, key=lambda picture: picture["caption"])
    ]
    fragments = [Markup(path.read_text("utf-8")) for path in drawn.fragments]
    more = max(0, len(drawn.pictures) - most)
    return {"groups": groups, "fragments": fragments, "more": more, "problems": problems,
            "folder": drawn.folder.as_posix()}  # fmt: skip


def scripts(found: Iterable[Drawn]) -> Markup:
    """What the page's security policy lets run: the scripts in these fragments, by their hashes."""
    hashes = set()
    for path in (path for drawn in found for path in drawn.fragments):
        for script in re.findall(r"<script>(.*?)</script>", path.read_text("utf-8"), re.DOTALL):
            digest = hashlib.sha256(script.encode()).digest()
            hashes.add(f"'sha256-{base64.b64encode(digest).decode('ascii')}'")
    return Markup(" ".join(sorted(hashes)) or "'none'")


def encoded(image: Any, *, lossless: bool = False) -> str:
    """A data URI; `lossless` is smaller, too, where there are large equal areas."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=80, method=4, lossless=lossless)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _picture(path: Path) -> dict[str, Any]:
    """A data URI of at most WIDEST pixels of the page, where the file has `dpi` / INCH of them.

    Its caption is the one that it carries, or its name.
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGBA" if opened.mode in ("RGBA", "LA", "P") else "RGB")
        said = opened.info.get("Description", "")
        density = max(1.0, float(opened.info.get("dpi", (INCH, INCH))[0]) / INCH)
    largest = round(WIDEST * density)
    image.thumbnail((largest, 4 * largest), Image.Resampling.LANCZOS)
    drawing = image.mode == "RGBA"
    return {"source": encoded(image, lossless=drawing), "width": round(image.width / density),
            "caption": said or path.stem.replace("_", " ").strip().capitalize()}  # fmt: skip
