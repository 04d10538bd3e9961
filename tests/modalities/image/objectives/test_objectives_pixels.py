"""Colorization and inpainting against their formulas, written anew in numpy."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.base import Batch, Progress
from modalities.image.network.augmentation import MEAN, STD
from modalities.image.network.contract import ImageEncoder
from modalities.image.network.factory import build
from modalities.image.objectives.colorization import Colorization, rebalance
from modalities.image.objectives.inpainting import Inpainting, span, weights
from modalities.image.pretext.colour import BINS, Palette, bins, to_lab, to_rgb
from modalities.image.pretext.dense import Dense, stride
from tests.modalities.test_objectives import ITEMS, encoder, randomness, raw

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]


def small() -> ImageEncoder:
    torch.manual_seed(0)
    made = encoder("image")
    assert isinstance(made, ImageEncoder)
    return made


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def lab(rgb: Array) -> Array:
    """(N, 3) RGB -> Lab by the definitions of IEC 61966-2-1 and CIE 15."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratio = linear @ np.array(matrix).T / [0.9505, 1.0, 1.089]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


KNOWN = {
    (0, 0, 0): (0, 0, 0), (1, 1, 1): (100, 0, 0), (0.5, 0.5, 0.5): (53.39, 0, 0),
    (1, 0, 0): (53.24, 80.09, 67.20), (0, 1, 0): (87.73, -86.18, 83.18),
    (0, 0, 1): (32.30, 79.19, -107.86),
}  # fmt: skip


@pytest.mark.parametrize("rgb", KNOWN)
def test_known_colours(rgb: tuple[float, float, float]) -> None:
    found = to_lab(torch.tensor(rgb, dtype=torch.float32)[None, :, None, None])
    assert found.flatten().tolist() == pytest.approx(KNOWN[rgb], abs=0.01)


def test_lab_and_back() -> None:
    rgb = torch.rand(5, 3, 8, 6, generator=generator())
    rgb[0] = rgb[0] / 50  # the dark, where the curves are lines
    found = to_lab(rgb)
    expected = lab(rgb.permute(0, 2, 3, 1).reshape(-1, 3).double().numpy())
    np.testing.assert_allclose(found.permute(0, 2, 3, 1).reshape(-1, 3), expected, atol=0.05)
    torch.testing.assert_close(to_rgb(found), rgb, atol=1e-4, rtol=0)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(to_lab(rgb), found)


def test_there_are_313_bins() -> None:
    """A point of the grid counts if a colour of the whole cube, not its surface, is near enough."""
    found = bins().double().numpy()
    assert found.shape == (BINS, 2) == (313, 2)
    assert np.abs(found).max() == 110
    level = np.linspace(0, 1, 33)
    ab = lab(np.stack(np.meshgrid(level, level, level), -1).reshape(-1, 3))[:, 1:]
    line = range(-130, 131, 10)
    far = {(a, b): np.hypot(ab[:, 0] - a, ab[:, 1] - b).min() for a in line for b in line}
    near = {point for point, distance in far.items() if distance <= math.sqrt(200)}
    inside = {point for point in near if max(map(abs, point)) <= 110}
    assert {tuple(point) for point in found.astype(int).tolist()} == inside
    assert near - inside == {(80, -120)}  # beyond the grid of the paper's figure 3


def test_a_colour_is_shared_among_the_ten_nearest_bins() -> None:
    rgb = torch.rand(40, 3, 16, 16, generator=generator())
    rgb[:20] = rgb[:20].round()  # corners of the cube
    ab = to_lab(rgb)[:, 1:]
    ab[10:30] = (ab[10:30] + ab[:20]) / 2  # means of colours, as a cell has them
    nearest, share = (x.permute(0, 2, 3, 1).reshape(-1, 10).numpy() for x in Palette().encode(ab))
    flat = ab.permute(0, 2, 3, 1).reshape(-1, 1, 2).double().numpy()
    far = np.linalg.norm(flat - bins().double().numpy(), axis=2)  # (N, Q)
    distance = np.take_along_axis(far, nearest, 1)
    np.testing.assert_allclose(distance, np.sort(far, 1)[:, :10], atol=1e-4)  # equals may swap
    assert all(len(set(row)) == 10 for row in nearest.tolist())
    gauss = np.exp(-(distance**2) / (2 * 5.0**2))
    np.testing.assert_allclose(share, gauss / gauss.sum(1, keepdims=True), rtol=1e-3)
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-5)
    assert (share > 0).all()


def test_the_annealed_mean_goes_from_mean_to_mode() -> None:
    scores = torch.randn(2, BINS, 3, 4, generator=generator()) * 3
    palette, points = Palette(), bins().double().numpy()
    p = np.exp(scores.double().numpy())
    p /= p.sum(1, keepdims=True)
    mean = np.einsum("bqhw,qc->bchw", p, points)
    np.testing.assert_allclose(palette.annealed_mean(scores, 1.0), mean, atol=1e-3)
    sharp = p ** (1 / 0.38)
    expected = np.einsum("bqhw,qc->bchw", sharp / sharp.sum(1, keepdims=True), points)
    np.testing.assert_allclose(palette.annealed_mean(scores), expected, atol=1e-3)
    mode = palette.points[scores.argmax(1)].permute(0, 3, 1, 2)
    torch.testing.assert_close(palette.annealed_mean(scores, 1e-4), mode, atol=1e-3, rtol=0)


def test_weights_are_one_on_average() -> None:
    p = torch.rand(BINS, generator=generator()) ** 4
    p = p / p.sum()
    expected = 1 / (0.5 * p.double().numpy() + 0.5 / 313)
    expected /= (p.double().numpy() * expected).sum()
    np.testing.assert_allclose(rebalance(p, 0.5), expected, rtol=1e-4)
    assert float((p * rebalance(p, 0.5)).sum()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(rebalance(p, 1.0), torch.ones(BINS))  # none


def pairs() -> tuple[Tensor, Tensor]:
    """Two batches (ITEMS, 8, 8, 3) uint8 of equal lightness and different colours."""
    rgb = torch.randint(256, (1, 3, 1 << 17, 1), generator=generator())
    found = to_lab(rgb / 255)[0, :, :, 0].double()
    order = found[0].argsort()
    first, second = order[:-1], order[1:]
    alike = (found[0, first] - found[0, second]).abs() < 2e-4
    apart = (found[1:, first] - found[1:, second]).norm(dim=0) > 30
    chosen = torch.nonzero(alike & apart)[:, 0]
    chosen = chosen[torch.randperm(len(chosen), generator=generator())[: ITEMS * 64]]
    assert len(chosen) == ITEMS * 64
    rgb = rgb.to(torch.uint8)[0, :, :, 0].T
    return rgb[first[chosen]].view(ITEMS, 8, 8, 3), rgb[second[chosen]].view(ITEMS, 8, 8, 3)


def test_the_encoder_sees_no_colour() -> None:
    objective = Colorization(small(), crop=1.0)
    one, two = (objective.views({"items": x}, randomness()) for x in pairs())
    torch.testing.assert_close(one["image"], two["image"], atol=2e-5, rtol=0)
    assert (one["nearest"][:, 0] != two["nearest"][:, 0]).float().mean() > 0.5
    shown = one["image"] * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    assert (shown.amax(1) - shown.amin(1)).max() < 1e-6  # a grey picture


def test_the_target_is_the_mean_colour_of_each_cell() -> None:
    objective, items = Colorization(small(), crop=1.0), raw("image")["items"]
    # Squares of 8 x 8 pixels of one colour: a cell's mean is that colour. All may be mirrored.
    found = objective.views({"items": items}, randomness())["nearest"][:, 0]
    square = to_lab(items[:, ::8, ::8].permute(0, 3, 1, 2) / 255)[:, 1:]  # (B, 2, 4, 4)
    expected = Palette().encode(square)[0][:, 0].repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert found.shape == (ITEMS, 8, 8)
    same = (found == expected).flatten(1).float().mean(1)
    mirrored = (found == expected.flip(2)).flatten(1).float().mean(1)
    assert torch.maximum(same, mirrored).min() > 0.9  # but for a resampler that rounds


def test_the_loss_of_colorization() -> None:
    objective = Colorization(small(), momentum=0.9)
    objective.often.copy_(torch.rand(BINS, generator=generator()).softmax(0))
    views = objective.views(raw("image"), randomness())
    scores = objective.scores(views["image"]).detach().double().numpy()
    z = np.zeros_like(scores)
    np.put_along_axis(z, views["nearest"].numpy(), views["share"].double().numpy(), 1)
    log = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    w = rebalance(objective.often, 0.5).double().numpy()[z.argmax(1)]
    before, step = objective.often.clone(), objective(views)
    assert float(step.loss.detach()) == pytest.approx(-(w * (z * log).sum(1)).mean(), rel=1e-4)
    assert torch.equal(objective.often, before)  # it moves after the step
    objective.after_step(Progress(1, 2))
    seen = z.mean((0, 2, 3))
    np.testing.assert_allclose(objective.often, seen, atol=1e-6)  # the first batch is all there is
    objective.seen.fill_(99)
    objective.often.copy_(before)
    objective(views)
    objective.after_step(Progress(2, 2))
    expected = 0.9 * before.double().numpy() + 0.1 * seen
    np.testing.assert_allclose(objective.often, expected, atol=1e-6)
    assert objective.colours(views["image"]).shape == (ITEMS, 2, 8, 8)


def test_holes() -> None:
    centre = Inpainting(small()).views(raw("image"), randomness())["hole"]
    expected = torch.zeros(32, 32, dtype=torch.bool)
    expected[8:24, 8:24] = True
    assert torch.equal(centre, expected.expand(ITEMS, 1, 32, 32))
    found = Inpainting(small(), hole="random").views(raw("image"), randomness())["hole"]
    assert ((area := found.float().mean((1, 2, 3))) > 0.04).all()
    assert (area <= 0.25).all()
    assert len({tuple(x.flatten().tolist()) for x in found}) == ITEMS
    reached = found[:, 0].any(0)  # anywhere
    assert all(edge.any() for edge in (reached[0], reached[-1], reached[:, 0], reached[:, -1]))
    block = Inpainting(small(), hole="random", blocks=1).views(raw("image"), randomness())["hole"]
    assert (block.sum((1, 2, 3)) == 256).all()
    ends = span(10, 0.3, torch.tensor([[0.0, 1.0, 0.5]]))[0].int().tolist()
    assert ends == [[1] * 3 + [0] * 7, [0] * 7 + [1] * 3, [0] * 4 + [1] * 3 + [0] * 3]


def inpainting() -> tuple[Inpainting, Batch, Tensor]:
    """An objective that paints always the same, its views, and what it paints."""
    objective = Inpainting(small(), hole="random", border=2, border_weight=7.0)
    painted = torch.randn(ITEMS, 3, 32, 32, generator=generator())
    objective.decoder.register_forward_hook(lambda m, i, o: painted + 0 * o)
    return objective, objective.views(raw("image"), randomness()), painted


def test_the_loss_of_inpainting() -> None:
    objective, views, painted = inpainting()
    hole = views["hole"][:, 0].numpy()
    w = hole.astype(float)
    for b, row, column in np.ndindex(hole.shape):
        around = hole[b, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
        if not hole[b, row, column] and around.any():
            w[b, row, column] = 7
    np.testing.assert_array_equal(weights(views["hole"], 2, 7.0)[:, 0], w)
    error = ((painted - views["image"]).double().numpy() ** 2).mean(1)
    each = (w * error).sum((1, 2)) / w.sum((1, 2))
    step = objective(views)
    assert float(step.loss.detach()) == pytest.approx(each.mean(), rel=1e-5)
    inside = (hole * error).sum((1, 2)) / hole.sum((1, 2))
    assert float(step.metrics["hole"]) == pytest.approx(inside.mean(), rel=1e-5)
    counts = torch.from_numpy(w > 0)[:, None]
    for where, same in ((~counts, True), (counts, False)):
        changed = views | {"image": torch.where(where, views["image"] + 1, views["image"])}
        assert torch.equal(objective(changed).loss, step.loss) == same


def test_what_is_in_the_hole_is_not_seen() -> None:
    objective = Inpainting(small())
    views = objective.views(raw("image"), randomness())
    seen: list[Tensor] = []
    objective.encoder.stages[0].register_forward_pre_hook(lambda m, i: seen.append(i[0].clone()))
    objective(views)
    zero = torch.zeros(())  # the mean colour of normalised pictures
    assert torch.equal(seen[0], torch.where(views["hole"], zero, views["image"]))


@pytest.mark.parametrize(("name", "side"), [("small", 8), ("vit", 4), ("resnet18", 32)])
def test_a_dense_head_fits_any_encoder(name: str, side: int) -> None:
    made = build(name, **({"widths": (8, 16, 32)} if name == "small" else {}))
    assert stride(made) == side
    assert made.training
    for size in ((64, 64), (40, 36)):
        last = made.maps(torch.randn(2, 3, *size))[-1]
        for cell in (1, 4):
            wanted = (2, 5, size[0] // cell, size[1] // cell)
            assert Dense(made, 5, cell=cell)(last, size).shape == wanted
