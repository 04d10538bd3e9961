"""What labels of points are worth, in numbers and pictures, where the true parts are known.

Shapes: N items, P points.
"""

import html
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalities.items import item
from modalities.labels import LabelerInput
from modalities.shape.drawing.pictures import below, beside, draw, ranked

ROWS, COLUMNS = 6, 4  # pairs of pictures


def purity(labels: NDArray[Any], parts: NDArray[Any]) -> tuple[float, float] | None:
    """Of one shape (P,), (P,): the share of pairs of one label that lie in one true part, and the
    normalised mutual information of labels and parts; None without labels or parts."""
    from sklearn.metrics import normalized_mutual_info_score

    known = (labels >= 0) & (parts >= 0)
    if known.sum() < 2:
        return None
    _, mine = np.unique(labels[known], return_inverse=True)
    _, true = np.unique(parts[known], return_inverse=True)
    table = np.zeros((mine.max() + 1, true.max() + 1))
    np.add.at(table, (mine, true), 1)
    pairs = (table.sum(1) * (table.sum(1) - 1)).sum()
    both = (table * (table - 1)).sum()
    return float(both / pairs) if pairs else 1.0, float(normalized_mutual_info_score(true, mine))


def measures(values: NDArray[Any], found: LabelerInput) -> dict[str, float]:
    """Pieces a shape; purity and mutual information with the true parts, where they are known."""
    pieces = [len(np.unique(row[row >= 0])) for row, ok in zip(values, found.ok, strict=True) if ok]
    scores = [
        score for at, row in enumerate(values)
        if (score := purity(row, item(found.items, at)[:, 6])) is not None
    ]  # fmt: skip
    numbers = {"pieces a shape": float(np.mean(pieces)) if pieces else 0.0}
    if scores:
        mean = np.mean(scores, 0)
        numbers |= {"purity": float(mean[0]), "mutual information": float(mean[1])}
    return numbers


def write(values: NDArray[Any], provenance: list[str], found: LabelerInput) -> None:
    """`labels.png`, shapes by their labels beside the same by their true parts (grey: unknown), and
    `labels.html`, each with its numbers; every class has its share, fall-backs come first."""
    from PIL import Image

    chosen = _chosen(provenance, found)
    if not chosen:
        return
    pairs, lines = [], []
    for at in chosen:
        shape = item(found.items, at)
        parts = shape[:, 6].astype(int)
        both = [draw(shape, values[at], size=128), draw(shape, ranked(parts), size=128)]
        pairs.append(beside(both, gap=0))
        score = purity(values[at], parts)
        said = "" if score is None else f"{score[0]:.2f}"
        code = int(found.truth[at])
        name = html.escape(found.classes[code]) if code >= 0 else "?"
        pieces = len(np.unique(values[at][values[at] >= 0]))
        lines.append(f"<tr><td>{name}<td>{pieces}<td>{said}<td>{html.escape(provenance[at])}")
    blank = np.full_like(pairs[0], 255)
    pairs += [blank] * (-len(pairs) % COLUMNS)
    rows = [beside(pairs[i : i + COLUMNS], gap=12) for i in range(0, len(pairs), COLUMNS)]
    Image.fromarray(below(rows)).save(found.folder / "labels.png")
    head = "<table><tr><th>shape<th>pieces<th>purity<th>tool"
    (found.folder / "labels.html").write_text(f"{head}\n" + "\n".join(lines) + "\n</table>\n")


def _chosen(provenance: list[str], found: LabelerInput) -> list[int]:
    """Rows to show: some that fell back, then the first of each class in turn."""
    usual = max(set(provenance), key=provenance.count)
    odd = [i for i, tool in enumerate(provenance) if tool != usual and found.ok[i]][:COLUMNS]
    turns: list[tuple[int, int]] = []
    seen: dict[int, int] = {}
    for i, code in enumerate(found.truth.tolist()):
        if found.ok[i] and i not in odd:
            seen[code] = seen.get(code, 0) + 1
            turns.append((seen[code], i))
    return (odd + [i for _, i in sorted(turns)])[: ROWS * COLUMNS]
