"""Cuts and flips move pictures, boxes, points and masks alike; keypoints change sides."""

import numpy as np
import pytest
import torch

from modalities.base import Randomness
from modalities.image.measuring.annotations import mirror
from modalities.image.measuring.windows import Windows, around, whole, zoomed
from modalities.image.network.views import prepare

SIZE = 32


def rng(total: int, seed: int = 0) -> Randomness:
    return Randomness(torch.Generator().manual_seed(seed), total=total)


def scenes(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Dark pictures with a bright rectangle each: (B, S, S, 3) uint8, boxes (B, 4)."""
    generator = np.random.default_rng(1)
    items = np.full((count, SIZE, SIZE, 3), 10, np.uint8)
    corner = generator.integers(2, 14, (count, 2))
    boxes = np.c_[corner, corner + generator.integers(6, 16, (count, 2))]
    for item, (left, top, right, bottom) in zip(items, boxes, strict=True):
        item[top:bottom, left:right] = 240
    return torch.from_numpy(items), torch.from_numpy(boxes.astype(np.float32))


@pytest.mark.parametrize("kind", ["zoomed", "around"])
def test_boxes_and_masks_follow_the_pixels(kind: str) -> None:
    items, boxes = scenes(64)
    draw = rng(64)
    windows = zoomed(draw, 0.4) if kind == "zoomed" else around(boxes, SIZE, 1.25, draw)
    assert 10 < int(windows.flip.sum()) < 54
    light = windows.pictures(items, None)[:, 0]
    bright = light > light.amax((1, 2), keepdim=True) - 0.5
    each = torch.arange(64)
    moved = windows.boxes(boxes, each, SIZE).clamp(0, SIZE)
    masks = windows.masks((items[..., 0] > 100).long())
    seen = 0
    for at in each:
        rows, columns = torch.nonzero(bright[at].any(1)), torch.nonzero(bright[at].any(0))
        if not len(rows) or light[at].amax() < 1:
            continue
        seen += 1
        place = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        assert (moved[at] - torch.tensor(place).float()).abs().max() < 2.1
        agree = (masks[at].bool() == (light[at] > 0)).float().mean()
        assert agree > 0.9
    assert seen > 50


def test_points_return_to_where_they_were() -> None:
    _, boxes = scenes(8)
    windows = around(boxes, SIZE, 1.5, None)
    points = torch.rand(8, 5, 2, generator=torch.Generator().manual_seed(0)) * SIZE
    of = torch.arange(8).repeat_interleave(5)
    shown = windows.points(points.flatten(0, 1), of, SIZE).view(8, 5, 2)
    assert torch.allclose(windows.back(shown, SIZE), points, atol=1e-4)
    corners = windows.points(boxes[:, :2], torch.arange(8), SIZE)
    assert (corners > 0).all()  # with a margin the box's own corner is inside


def test_a_flip_by_hand() -> None:
    """x becomes S - x: the first pixel's centre, 0.5, becomes that of the last one."""
    zero = torch.zeros(1, 2)
    flipped = Windows(zero, zero + 1, torch.tensor([True]))
    of = torch.tensor([0])
    assert flipped.points(torch.tensor([[0.5, 3.0]]), of, SIZE).tolist() == [[31.5, 3.0]]
    box = flipped.boxes(torch.tensor([[2.0, 4.0, 10.0, 20.0]]), of, SIZE)
    assert box.tolist() == [[22.0, 4.0, 30.0, 20.0]]
    items = torch.randint(256, (1, SIZE, SIZE, 3), dtype=torch.uint8)
    assert torch.allclose(flipped.pictures(items, None), prepare(items.flip(2)), atol=2e-2)
    mask = torch.arange(SIZE * SIZE).view(1, SIZE, SIZE)
    assert torch.equal(flipped.masks(mask), mask.flip(2))


def test_whole_pictures_are_as_prepared() -> None:
    items = torch.randint(256, (3, SIZE, SIZE, 3), dtype=torch.uint8)
    assert torch.allclose(whole(3, "cpu").pictures(items, None), prepare(items), atol=2e-2)


def test_keypoints_change_sides() -> None:
    names = ["nose", "left_eye", "right_eye", "front_left_foot", "front_right_foot", "tip"]
    assert mirror(names, {}).tolist() == [0, 2, 1, 4, 3, 5]
    assert mirror(names, {"nose": "tip"}).tolist() == [5, 2, 1, 4, 3, 0]
    assert mirror(["left_only"], {}).tolist() == [0]


def test_a_flipped_object_has_its_names_exchanged() -> None:
    """The left eye of a flipped face is where its right eye was."""
    from modalities.image.measuring.annotations import Objects
    from modalities.image.tasks.keypoints import Points

    points = np.array([[4, 5, 2], [20, 6, 2], [9, 9, 0]], np.float32)
    box, one = np.array([[0, 0, 30, 30]], np.float32), np.array([1.0], np.float32)
    objects = Objects(box, np.array([7]), one, np.array([False]), [points])
    task = object.__new__(Points)
    task.mirror, task.channels = {7: np.array([1, 0, 2])}, {7: np.array([10, 11, 12])}
    plain = task._target([objects], np.array([False]))
    assert plain["channel"].tolist() == [10, 11]
    flipped = task._target([objects], np.array([True]))
    assert flipped["channel"].tolist() == [11, 10]
    assert flipped["at"].tolist() == [[4, 5], [20, 6]]
