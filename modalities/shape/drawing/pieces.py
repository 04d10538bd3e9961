"""Pictures of what an encoder makes of points: each cloud coloured by groups of its features.

Shapes: B clouds, P points, D feature width.
"""

from pathlib import Path

import numpy as np
from torch import Tensor

from modalities.shape.drawing.pictures import below, beside, draw, ranked
from modalities.shape.drawing.viewer import Cloud, fragment

SHOWN = 8  # clouds


def feature_groups(feature: np.ndarray, count: int) -> np.ndarray:
    """(P, D) -> (P,): k-means on unit features, the largest group first."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    from modalities.shape.drawing.pictures import numbered

    rows = feature / np.maximum(np.linalg.norm(feature, axis=1, keepdims=True), 1e-9)
    count = min(count, len(np.unique(rows.round(6), axis=0)))
    with threadpool_limits(1):
        return numbered(np.asarray(KMeans(count, n_init=1, random_state=0).fit_predict(rows)))


def show(items: Tensor, label: Tensor, feature: Tensor, folder: Path) -> None:
    """`pieces.png`: free pieces, groups of features, true parts (grey where nobody told them), a
    row for each of a few clouds; `pieces.html`: the same to turn by hand.

    items (B, P, 7), label (B, P), feature (B, P, D).
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    rows, clouds = [], []
    for at in range(min(SHOWN, len(items))):
        item, free = items[at].cpu().numpy(), label[at].cpu().numpy()
        learnt = feature_groups(feature[at].float().cpu().numpy(), max(2, int(free.max()) + 1))
        kinds = {"free pieces": free, "learnt features": learnt,
                 "true parts": ranked(item[:, 6].astype(int))}  # fmt: skip
        rows.append(beside([draw(item, group, size=128) for group in kinds.values()], gap=0))
        clouds.append(Cloud(f"{at + 1}", item[:, :3], kinds))
    if not rows:
        return
    rows += [np.full_like(rows[0], 255)] * (len(rows) % 2)
    pairs = [beside(rows[i : i + 2], gap=24) for i in range(0, len(rows), 2)]
    said = PngInfo()
    said.add_text(
        "Description", "Free pieces, groups of learnt features, true parts (grey: untold)"
    )
    Image.fromarray(below(pairs)).save(folder / "pieces.png", pnginfo=said)
    (folder / "pieces.html").write_text(fragment(clouds), "utf-8")
