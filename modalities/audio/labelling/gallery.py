"""Groups of sounds made, judged and shown: what a texture labeler does after its features.

Shapes: N items, W whitened components, k clusters or bits.
"""

import base64
import html
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from modalities.audio.labelling.clusters import clustered, purity, whitened
from modalities.audio.sound.spectrogram import RATE, coloured, spectrogram, thumbnails
from modalities.items import Items, item
from modalities.labels import LabelerInput, Labels

SHOWN = 6  # pictures of a cluster
HEARD = 2  # players of a cluster
LONGEST = 1.5  # seconds of a player
OPEN = 6  # clusters that are seen at once; the others are folded

Pictures = Callable[[NDArray[np.int64]], NDArray[np.uint8]]  # rows -> (n, h, w, 3)
Sounds = Callable[[NDArray[np.int64]], NDArray[np.int16]]  # rows -> (n, T)


def grouped(  # noqa: PLR0913
    found: LabelerInput,
    *,
    kind: str,
    k: int,
    width: int,
    tool: str,
    sounds: Sounds | None = None,
    pictures: Pictures | None = None,
) -> Labels:
    """Whiten `found.values`, group, judge by `found.truth`, and leave a gallery of the clusters.

    `sounds`: what players play, where items are more than that; `pictures`: what else goes with an
    item (frames).
    """
    rows = np.flatnonzero(found.ok)
    if kind == "clusters" and k > len(rows):
        raise ValueError(f"{k} clusters of {len(rows)} sounds: choose a smaller k")
    points = whitened(found.values[rows], k if kind == "code" else width)
    tools = [tool if good else "none" for good in found.ok]
    if kind == "code":
        return _codes(points, rows, tools)
    labels, near = clustered(points, k, found.seed)
    values, sure = np.full(len(found.ok), -1, np.int64), np.zeros(len(found.ok), np.float32)
    values[rows], sure[rows] = labels, near
    numbers = {"clusters": float(len(np.unique(labels))), **purity(values, found.truth)}
    page = gallery(values, sure, found, sounds or found.raw, pictures)
    (found.folder / "clusters.html").write_text(page, "utf-8")
    return Labels(values, sure, tools, numbers)


def _codes(points: NDArray[np.float32], rows: NDArray[np.int64], tools: list[str]) -> Labels:
    """The signs of whitened components, (N, W) 0 or 1, -1 for items without a feature."""
    values = np.full((len(tools), points.shape[1]), -1, np.int64)
    values[rows] = points > 0
    sure = np.zeros(values.shape, np.float32)
    sure[rows] = 1 - np.exp(-np.abs(points))
    ones = float(values[rows].mean())
    return Labels(values, sure, tools, {"bits": float(points.shape[1]), "ones": ones})


def gallery(
    labels: NDArray[np.int64], sure: NDArray[np.float32], found: LabelerInput, sounds: Sounds,
    pictures: Pictures | None,
) -> str:  # fmt: skip
    """A self-contained page fragment: per cluster its size, classes, spectrograms, players."""
    parts = []
    sizes = np.bincount(labels[labels >= 0])
    for cluster in np.argsort(-sizes, kind="stable").tolist():
        rows = np.flatnonzero(labels == cluster)
        if not len(rows):
            continue
        best = rows[np.argsort(-sure[rows], kind="stable")]
        seen = [] if pictures is None else list(pictures(best[:SHOWN]))
        parts.append(
            '<div class="cluster" style="margin:0 0 1em"><p style="margin:.2em 0">'
            f"<b>Cluster {cluster}</b>: {len(rows)} clips{_classes(rows, found)}</p><div>"
            + "".join(_image(p) for p in seen)
            + "".join(_image(p) for p in thumbnails(sounds(np.sort(best[:SHOWN]))))
            + "".join(_player(sound) for sound in sounds(best[:HEARD]))
            + "</div></div>"
        )
    rest = parts[OPEN:]
    if rest:
        rest = [f"<details><summary>{len(rest)} more clusters</summary>", *rest, "</details>"]
    return "\n".join(['<div class="clusters">', *parts[:OPEN], *rest, "</div>"]) + "\n"


def _classes(rows: NDArray[np.int64], found: LabelerInput) -> str:
    """`; of 12 with a known class, 75 % metal, 25 % wood`; the labels never saw it."""
    truth = found.truth[rows]
    truth = truth[truth >= 0]
    if not len(truth):
        return ""
    counts = np.bincount(truth, minlength=len(found.classes))
    top = [c for c in np.argsort(-counts, kind="stable")[:3].tolist() if counts[c]]
    said = ", ".join(f"{counts[c] / len(truth):.0%} {html.escape(found.classes[c])}" for c in top)
    return f"; of {len(truth)} with a known class, {said}"


def _image(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" height="64" src="data:image/png;base64,{data}"> '


def _player(sound: NDArray[np.int16]) -> str:
    """MP3, whose bytes follow from the sound: Ogg has a serial number drawn at random."""
    import soundfile

    buffer = io.BytesIO()
    cut = np.asarray(sound[: int(LONGEST * RATE)], dtype=np.float32) / 32768
    loud = cut * (0.5 / max(1e-4, float(np.abs(cut).max())))
    soundfile.write(
        buffer, loud, RATE, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.8
    )
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio> '


def strips(
    units: NDArray[np.int64], sure: NDArray[np.float32], sounds: Items, most: int = 24
) -> str:
    """A page fragment: for each of the most frequent units the surest frames, 0.16 s around each.

    units and sure (N, F), F frames of 10 ms; sounds (T,) int16.
    """
    counts = np.bincount(units[units >= 0])
    parts = ['<div class="units">']
    for unit in np.argsort(-counts, kind="stable")[:most].tolist():
        row, frame = np.nonzero(units == unit)
        if not len(row):
            continue
        order = np.argsort(-sure[row, frame], kind="stable")
        _, first = np.unique(row[order], return_index=True)  # one frame of a sound
        best = order[np.sort(first)][:SHOWN]
        pictures = [_around(item(sounds, row[b]), int(frame[b])) for b in best]
        parts.append(
            f'<p style="margin:.2em 0"><b>Unit {unit}</b>: {counts[unit]} frames '
            + "".join(_image(p) for p in pictures)
            + "</p>"
        )
    return "\n".join([*parts, "</div>"]) + "\n"


def _around(sound: NDArray[np.int16], frame: int) -> NDArray[np.uint8]:
    """The spectrogram of 0.16 s around a frame, (64, 16, 3)."""
    middle = frame * RATE // 100
    padded = np.pad(sound, RATE // 10)
    return coloured(spectrogram(padded[middle + 320 : middle + 320 + 2560], frames=16))
