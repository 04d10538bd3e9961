"""Pictures of what was found, beside the truth: a column per test picture, a line per protocol.

Of the last draw at the last budget; the pictures are taken evenly from the test split.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from modalities.image.measuring.annotations import IGNORE, Objects
from modalities.image.measuring.coco_metrics import Detected
from modalities.image.measuring.coco_metrics import given as _given
from modalities.image.measuring.measured import Measured

COLUMNS = 8
MOST = 3  # boxes of a picture
DRAWN = 0.5  # the least score of a box that is drawn, as a share of the picture's best one
DOT = 12  # area of a keypoint, in points


def show_boxes(result: Measured, path: Path) -> None:
    """Boxes with their categories; scores where they were found."""

    def truth(axes: Any, objects: Objects) -> None:
        for box, label in zip(objects.boxes, objects.labels, strict=True):
            _box(axes, box, result.places.names[label], label)

    def found(axes: Any, each: Detected, _: Objects) -> None:
        boxes, best = _given(each.boxes), each.scores.max(initial=0.0)
        for at in np.argsort(-each.scores, kind="stable")[:MOST][::-1]:  # the best one on top
            label, score = each.labels[at], each.scores[at]
            if score >= DRAWN * best:
                _box(axes, boxes[at], f"{result.places.names[label]} {score:.2f}", label)

    _draw(result, path, truth, found)


def show_masks(result: Measured, path: Path) -> None:
    """Classes in colours over the pictures; what is ignored is grey."""

    def truth(axes: Any, mask: np.ndarray) -> None:
        axes.imshow(_coloured(mask))

    def found(axes: Any, mask: np.ndarray, _: np.ndarray) -> None:
        axes.imshow(_coloured(mask))

    _draw(result, path, truth, found)


def show_keypoints(result: Measured, path: Path) -> None:
    """A colour per keypoint; found ones are joined to the truth."""

    def truth(axes: Any, objects: Objects) -> None:
        for points in objects.keypoints:
            assert points is not None
            seen = points[:, 2] > 0
            colours = _colours(np.arange(len(points)))[seen]
            axes.scatter(points[seen, 0] - 0.5, points[seen, 1] - 0.5, s=DOT, c=colours)

    def found(axes: Any, each: Detected, objects: Objects) -> None:
        for points, own in zip(_given(each.keypoints), objects.keypoints, strict=True):
            assert own is not None
            for at, (one, true) in enumerate(zip(points, own, strict=True)):
                if true[2] > 0:
                    colour = _colours(np.array([at]))[0]
                    axes.plot(
                        [one[0] - 0.5, true[0] - 0.5], [one[1] - 0.5, true[1] - 0.5],
                        color=colour, linewidth=0.8,
                    )  # fmt: skip
                    axes.scatter(one[0] - 0.5, one[1] - 0.5, s=DOT, color=colour)

    _draw(result, path, truth, found)


def _draw(
    result: Measured, path: Path, truth: Callable[[Any, Any], None],
    found: Callable[[Any, Any, Any], None],
) -> None:  # fmt: skip
    if not result.shown:
        return
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    test = result.shown[0].test
    chosen = np.unique(np.linspace(0, len(test) - 1, COLUMNS).round().astype(int))
    facts = result.places.truth(test.part(chosen))
    lines = 1 + len(result.shown)
    figure, axes = plt.subplots(
        lines, len(chosen), figsize=(1.3 * len(chosen), 1.4 * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    pictures = test.part(chosen).raw()
    for column, at in enumerate(chosen):
        picture = pictures[column]
        for line in range(lines):
            own = axes[line, column]
            own.imshow(picture)
            own.set(xticks=[], yticks=[], xlim=(-0.5, len(picture) - 0.5))
            own.set_ylim(len(picture) - 0.5, -0.5)
        truth(axes[0, column], facts[column])
        for line, shown in enumerate(result.shown, 1):
            found(axes[line, column], shown.predicted[at], facts[column])
    for line, name in enumerate(["truth", *(shown.name for shown in result.shown)]):
        axes[line, 0].set_ylabel(name)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _box(axes: Any, box: np.ndarray, text: str, label: int) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = box
    colour = _colours(np.array([label]))[0]
    corner = (left - 0.5, top - 0.5)  # places in a picture -> matplotlib's, pixels' centres
    axes.add_patch(
        Rectangle(corner, right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.2)
    )
    axes.text(*corner, text, fontsize=5, color="white", backgroundcolor=colour, va="bottom",
              bbox={"pad": 0.4, "facecolor": colour, "edgecolor": "none"})  # fmt: skip


def _colours(codes: np.ndarray) -> np.ndarray:
    """(n,) -> (n, 3), neighbours far apart."""
    import matplotlib as mpl

    found: np.ndarray = mpl.colormaps["hsv"](codes * 0.618 % 1.0)[:, :3]
    return found


def _coloured(mask: np.ndarray) -> np.ndarray:
    """(S, S) classes -> (S, S, 4): the background clear."""
    found = np.zeros((*mask.shape, 4))
    found[..., :3] = _colours(mask.ravel().astype(float)).reshape(*mask.shape, 3)
    found[..., 3] = np.where(mask > 0, 0.65, 0.0)
    found[mask == IGNORE] = (0.5, 0.5, 0.5, 0.8)
    return found
