"""The toys themselves, and that shape, not colour, decides what they are."""

import itertools
from typing import Any

import numpy as np
import pytest

from tasks.playroom.image import draw, plan
from tasks.playroom.world.materials import LUMINANCE, colour
from tasks.playroom.world.render import Picture, World, render
from tasks.playroom.world.scene import Scene, draw_scene
from tasks.playroom.world.toys import Category, categories

ALL = (*categories(), *categories(novel=True))


def shown(kind: Category, number: int, size: int = 32) -> tuple[Scene, Picture]:
    rng = np.random.default_rng([5, number])
    scene = draw_scene(rng, [kind])
    return scene, render(scene, size, rng)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_instances_vary_and_keep_what_was_declared(kind: Category) -> None:
    shapes = set()
    parts: set[str] = set()
    for number in range(30):
        toy = kind.make(np.random.default_rng(number))
        vertices, faces, owner = toy.mesh()
        assert np.isfinite(vertices).all()
        assert faces.max() < len(vertices)
        assert len(owner) == len(faces)
        assert vertices[:, 2].min() == pytest.approx(0)
        assert set(toy.anchors) == set(kind.keypoints)
        assert all(part in toy.parts for _, part in toy.anchors.values())
        low, high = vertices.min(0) - 0.05, vertices.max(0) + 0.05
        assert all(((low <= p) & (p <= high)).all() for p, _ in toy.anchors.values())
        parts |= set(toy.parts)
        shapes.add(vertices.tobytes())
    assert parts == set(kind.parts)
    assert len(shapes) == 30


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.name)
def test_toys_are_whole_large_and_seen_well(kind: Category) -> None:
    contrast = []
    for number in range(12):
        _, picture = shown(kind, number, 64)
        mask = picture.toy >= 0
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        spans = [np.ptp(np.flatnonzero(mask.any(axis))) + 1 for axis in (0, 1)]
        assert max(spans) >= 0.6 * 64
        grey = picture.pixels.mean(2)
        contrast.append(abs(grey[mask].mean() - grey[~mask].mean()))
    assert np.mean(contrast) > 40  # of 255


def test_mean_silhouettes_differ() -> None:
    """From their masks alone, the categories are different things."""
    means = {}
    for kind in categories():
        masks = [shown(kind, number)[1].toy >= 0 for number in range(40)]
        means[kind.name] = np.mean(masks, 0)
    for one, other in itertools.combinations(means, 2):
        assert np.abs(means[one] - means[other]).max() > 0.15, (one, other)


def test_up_means_something() -> None:
    """Toys stand on the floor: upside down they do not look like themselves."""
    kind = next(k for k in categories() if k.name == "giraffe")
    mean = np.mean([shown(kind, number)[1].toy >= 0 for number in range(40)], 0)
    assert np.abs(mean - mean[::-1]).mean() > 0.05


def test_colours_hit_their_luminance() -> None:
    rng = np.random.default_rng(0)
    for wanted in np.linspace(0.02, 0.98, 50):
        rgb = np.array(colour(rng, float(wanted)))
        assert rgb @ np.array(LUMINANCE) == pytest.approx(wanted, abs=1e-6)
        assert rgb.min() >= 0
        assert rgb.max() <= 1 + 1e-9


def test_a_shadow_falls_away_from_the_light() -> None:
    """The ground beyond a toy is darker than the ground before it, seen from the light."""
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, [categories()[0]])
    world = World(scene.toys)
    reach = np.array([[0.0, 0.0, 0.05]])
    assert world.blocked(reach - scene.light * [3, 3, 0] * 0.1, scene.light).any()
    assert not world.blocked(reach + scene.light * [30, 30, 0], scene.light).any()


def _drawn(options: Any, split: str, folder: Any) -> tuple[np.ndarray[Any, Any], ...]:
    from PIL import Image

    names = [kind.name for kind in categories()]
    pixels, masks, labels = [], [], []
    for job in plan(options, 0, split):
        drawn = draw(job, options, 0, folder)
        with Image.open(folder / job.file) as picture:
            pixels.append(np.asarray(picture.resize((32, 32), Image.Resampling.BOX)))
        counts = drawn.notes[0][1]["segmentation"]["counts"]
        flat = np.repeat(np.arange(len(counts)) % 2, counts)
        masks.append(flat.reshape(options.size, options.size))
        labels.append(names.index(job.category))
    return np.stack(pixels), np.stack(masks), np.array(labels)


def _histograms(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Joint colour histogram (4 x 4 x 4 bins) and 8 bins per channel, square-rooted."""
    coarse = (pixels // 64).astype(int) @ [16, 4, 1]
    joint = [np.bincount(p.ravel(), minlength=64) for p in coarse]
    fine = [
        np.concatenate([np.bincount(c.ravel() // 32, minlength=8) for c in p.T]) for p in pixels
    ]
    return np.sqrt(np.concatenate([joint, fine], 1) / 1024)


@pytest.mark.slow
def test_shape_decides_and_cheap_tricks_do_not(tmp_path: Any) -> None:
    """Colour is worthless, pixels are poor; the silhouette, a shape descriptor, is far better."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    from tasks.settings.playroom import PlayroomImage

    options = PlayroomImage(labelled=25, unlabelled=0, val=1, test=15, size=32)
    x, masks, y = _drawn(options, "labelled", tmp_path)
    x_test, masks_test, y_test = _drawn(options, "test", tmp_path)
    few = np.concatenate([np.flatnonzero(y == c)[:5] for c in range(12)])

    def nearest(train: np.ndarray[Any, Any], test: np.ndarray[Any, Any], at: Any) -> float:
        flat, flat_test = (v.reshape(len(v), -1).astype(float) for v in (train, test))
        return float(KNeighborsClassifier(1).fit(flat[at], y[at]).score(flat_test, y_test))

    linear = LogisticRegression(max_iter=500).fit(_histograms(x), y)
    colours = float(linear.score(_histograms(x_test), y_test))
    everything = np.arange(len(y))
    assert colours < 0.2  # chance is 0.083
    assert nearest(x, x_test, few) < 0.3
    assert nearest(x, x_test, everything) < 0.45
    assert nearest(masks, masks_test, everything) > colours + 0.3
    assert nearest(masks, masks_test, everything) > nearest(x, x_test, everything) + 0.1
