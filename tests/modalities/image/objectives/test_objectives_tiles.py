"""Jigsaw and context prediction against independent references, and a try to cheat at them."""

from functools import cache
from itertools import product
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from modalities.base import Randomness, UserError
from modalities.image.network.augmentation import LEVEL, MEAN, STD, Augmentation
from modalities.image.network.factory import build
from modalities.image.network.views import prepare
from modalities.image.objectives import context, jigsaw
from modalities.image.objectives.context import NEIGHBOURS, Context
from modalities.image.objectives.jigsaw import Jigsaw
from modalities.image.pretext.permutations import distant, least_distance
from modalities.image.pretext.tiles import coloured, cut, drop, normalised, project, resize

Colour = Literal["drop", "projection", "none"]
LENS = {"magenta": (1.02, 1.0, 1.02), "all": (1.02, 1.0, 0.98)}  # how red, green, blue are scaled


def randomness(total: int, seed: int = 0) -> Randomness:
    return Randomness(torch.Generator().manual_seed(seed), total=total)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def pixels(batch: int, size: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8, generator=g)


def small() -> torch.nn.Module:
    torch.manual_seed(0)
    return build("small", widths=(8, 16))


@pytest.mark.parametrize(("count", "least"), [(2, 7), (100, 7), (504, 7), (1000, 6), (1512, 6)])
def test_permutations_are_distinct_valid_and_far_apart(count: int, least: int) -> None:
    """At most 9! / 6! = 504 orders can all be 7 apart, so for 1000 of them 6 is the most."""
    orders, said = distant(count)
    found = orders.numpy()
    assert (np.sort(found, axis=1) == np.arange(9)).all()
    assert len({tuple(row) for row in found}) == count
    apart = (found[:, None] != found).sum(2) + 9 * np.eye(count, dtype=int)
    assert apart.min() >= said == least
    assert apart.min() == least_distance(orders)


def test_no_tile_is_known_by_its_place() -> None:
    """Each tile stands at each place equally often, as far as that is possible."""
    orders = distant(504)[0]
    for place in orders.unbind(1):
        assert (place.bincount(minlength=9) == 56).all()


def test_tiles_are_cut_where_they_should_be() -> None:
    x = noise(3, 2, 9, 11)
    g = torch.Generator().manual_seed(2)
    top = torch.randint(0, 6, (3, 4, 2), generator=g)
    left = torch.randint(0, 8, (3, 4, 2), generator=g)
    found = cut(x, (top, left), 4)
    for b, n, c in product(range(3), range(4), range(2)):
        i, j = int(top[b, n, c]), int(left[b, n, c])
        assert torch.equal(found[b, n, c], x[b, c, i : i + 4, j : j + 4])
    assert resize(found, 9).shape == (3, 4, 2, 9, 9)


def test_tiles_are_normalised_one_by_one() -> None:
    x = noise(2, 9, 3, 8, 8) * torch.rand(2, 9, 3, 1, 1) + torch.rand(2, 9, 3, 1, 1)
    found = normalised(x).numpy()
    for b, n, c in product(range(2), range(9), range(3)):
        tile = x[b, n, c].double().numpy()
        wanted = (tile - tile.mean()) / np.sqrt(tile.var() + LEVEL**2)
        np.testing.assert_allclose(found[b, n, c], wanted, atol=1e-4)
    flat = torch.full((1, 1, 3, 8, 8), 0.7) + 1e-4 * noise(8, 8)
    assert normalised(flat).abs().max() < 0.1
    views = Jigsaw(small(), permutations=4).views({"items": pixels(6, 96)}, randomness(6))["tiles"]
    assert views.shape == (6, 9, 3, 27, 27)
    assert views.mean((-2, -1)).abs().max() < 1e-4
    assert (views.std((-2, -1)) - 1).abs().max() < 0.03


@pytest.mark.parametrize("size", [0, 16])
@pytest.mark.parametrize("side", [32, 224])
def test_shuffled_tiles_are_the_tiles_in_another_order(side: int, size: int) -> None:
    objective, items = Jigsaw(small(), permutations=50, size=size), pixels(4, side)
    rng = randomness(4)
    tiles = normalised(objective.tiles(objective.augmentation(items, rng), rng))
    views = objective.views({"items": items}, randomness(4))
    assert tiles.shape[-1] == (size or {32: 8, 224: 62}[side])
    orders = distant(50)[0]
    for b in range(4):
        order = orders[views["target"][b]].tolist()
        assert sorted(order) == list(range(9))
        for place in range(9):
            assert torch.equal(views["tiles"][b, place], tiles[b, order[place]])


def test_the_encoder_sees_each_tile_alone() -> None:
    objective = Jigsaw(small(), permutations=4).eval()
    seen: list[torch.Tensor] = []
    objective.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    batch = objective.views({"items": pixels(2, 32)}, randomness(2))
    objective(batch)
    batch["tiles"][:, 4] += noise(3, 8, 8)
    objective(batch)
    changed = (seen[0] - seen[1]).view(2, 9, 16).abs().amax((0, 2)) > 0
    assert changed.tolist() == [place == 4 for place in range(9)]


def test_jitter_leaves_gaps_between_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """On pictures whose every pixel says where it is; colours may be moved by two pixels."""
    monkeypatch.setattr(jigsaw, "normalised", lambda tiles: tiles)
    code = (torch.arange(200)[:, None] * 200 + torch.arange(200)).float()
    x = code + torch.tensor([0.0, 50_000, 100_000])[:, None, None].expand(300, 3, 1, 1)
    found = Jigsaw(small(), permutations=4).tiles(x, randomness(300))
    assert found.shape == (300, 9, 3, 56, 56)
    corner = (found[..., 0, 0] - torch.tensor([0.0, 50_000, 100_000])).long()
    assert torch.equal(found - found[..., :1, :1], (code[:56, :56]).expand_as(found))
    number = torch.arange(9)[:, None]
    inside = (corner // 200 - number // 3 * 66, corner % 200 - number % 3 * 66)  # (300, 9, 3)
    for place in inside:
        assert place.min() == 0  # of a cell of 66 pixels, so that tiles never overlap
        assert place.max() == 66 - 56
        assert abs(place.float().mean() - 5) < 0.1  # a gap of 10 pixels on average
        assert 2 < (place[:, :, 0] - place[:, :, 1]).abs().max() <= 4
    items = pixels(2, 8)
    items[1] = items[1, :, :, :1]
    assert coloured(prepare(items)).tolist() == [True, False]


@pytest.mark.parametrize("size", [32, 64, 224])
def test_neighbours_are_where_they_should_be(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On pictures whose every pixel says where it is."""
    monkeypatch.setattr(context, "centred", lambda patches: patches)
    items = torch.zeros(60, size, size, 3, dtype=torch.uint8)
    items[..., 0] = torch.arange(size)[:, None]
    items[..., 1] = torch.arange(size)
    objective = Context(small(), colour="none")
    objective.augmentation = Augmentation()
    views = objective.views({"items": items}, randomness(60))
    scale = torch.tensor(STD)[:, None, None], torch.tensor(MEAN)[:, None, None]
    at = ((views["patches"] * scale[0] + scale[1]) * 255).round()[:, :, :2].numpy()
    side = at.shape[-1]
    gap, off = round(0.5 * side), round(0.15 * side)
    assert side == int(0.22 * size)
    inside = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    np.testing.assert_array_equal(at - at[..., :1, :1], np.broadcast_to(inside, at.shape))
    first, second = at[:, 0, :, 0, 0], at[:, 1, :, 0, 0]  # (60, 2)
    target = views["target"].numpy()
    moved = second - first - np.array(NEIGHBOURS)[target] * (side + gap)
    assert (np.abs(moved).max(0) == off).all()
    assert (np.abs(second - first).max(1) >= side + gap - off).all()  # never overlap
    assert set(target) == set(range(8))
    assert (0, 0) not in NEIGHBOURS
    middle = (size - side) / 2  # the first is as far from the middle, whatever the label
    assert np.abs(first - middle).max() <= (size - side) / 2 - side - gap - off


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match="overlap"):
        Context(small(), gap=0.1, jitter=0.2)
    for objective in (Context(small(), patch=0.4), Jigsaw(small(), permutations=2, tile=0.1)):
        with pytest.raises(UserError, match=r"fit|too small"):
            objective.views({"items": pixels(2, 32)}, randomness(2))


def test_projection_and_dropping_are_the_papers() -> None:
    patches = noise(4, 2, 3, 9, 9)
    a = np.array([[-1.0, 2.0, -1.0]])
    b = np.eye(3) - a.T @ a / (a @ a.T)
    std = np.array(STD)[:, None, None]
    found = project(patches, randomness(4)).numpy()
    for i, j in product(range(4), range(2)):
        wanted = np.tensordot(b, patches[i, j].double().numpy() * std, 1) / std
        np.testing.assert_allclose(found[i, j], wanted, atol=1e-5)
    found = drop(patches, randomness(4)).numpy()
    kept = (found == patches.numpy()).all((-2, -1))  # (4, 2, 3)
    assert (kept.sum(2) == 1).all()
    assert len({tuple(k) for k in kept.reshape(-1, 3)}) == 3
    level = found.std((-2, -1)) / found.std((-2, -1)).max(2, keepdims=True)
    assert (np.abs(level[~kept] - 0.01) < 0.004).all()


@cache
def seen_through(scales: tuple[float, ...], count: int, size: int) -> torch.Tensor:
    """(B, H, H, 3) grey textures, of random waves, whose colours a lens scales about the middle.

    Computed where each colour sees them; interpolating would itself leave traces of the place.
    """
    g = torch.Generator().manual_seed(3)
    wave = torch.randn(2, count, 1, 24, generator=g) * 0.8  # radians a pixel
    phase = torch.rand(count, 1, 24, generator=g) * 2 * torch.pi
    colours = []
    for scale in scales:
        at = ((torch.arange(size) - (size - 1) / 2) * scale)[:, None]  # (H, 1)
        down, across = torch.exp(1j * (wave[0] * at + phase)), torch.exp(1j * wave[1] * at)
        colours.append((down @ across.transpose(1, 2)).real / 24**0.5)  # (B, H, H)
    return (127 + 45 * torch.stack(colours, 3)).round().clamp(0, 255).to(torch.uint8)


def correlations(patches: torch.Tensor) -> NDArray[np.float64]:
    """(B, 2, 3, t, t) -> (B, 162): every colour with every one, up to a pixel aside, per patch."""
    middle, found = patches[..., 1:-1, 1:-1].flatten(3), []
    for i, j in product(range(3), range(3)):
        moved = patches[..., i:, j:][..., : patches.shape[-2] - 2, : patches.shape[-1] - 2]
        found.append(middle @ moved.flatten(3).transpose(2, 3))  # (B, 2, 3, 3)
    power = found[4].diagonal(dim1=2, dim2=3).sum(2)[..., None, None, None]
    return (torch.stack(found, -1) / power).flatten(1).double().numpy()


def read_from_fringes(lens: str, colour: Colour) -> float:
    """How often a linear classifier of the correlations finds the label in pictures not seen."""
    objective = Context(small(), colour=colour)
    objective.augmentation = Augmentation()
    views = objective.views({"items": seen_through(LENS[lens], 3000, 48)}, randomness(3000, 4))
    x, y = correlations(views["patches"]), views["target"].numpy()
    x = (x - x[:1500].mean(0)) / (x[:1500].std(0) + 1e-9)
    gram = x[:1500].T @ x[:1500] + 15 * np.eye(x.shape[1])  # least squares with a ridge
    scores = x[1500:] @ np.linalg.solve(gram, x[:1500].T @ np.eye(8)[y[:1500]])
    return float((scores.argmax(1) == y[1500:]).mean())


@pytest.mark.parametrize(
    ("lens", "colour", "low", "high"),
    [
        ("magenta", "none", 0.4, 1.0),
        ("magenta", "projection", 0.0, 0.155),
        ("magenta", "drop", 0.0, 0.155),
        ("all", "none", 0.4, 1.0),
        ("all", "drop", 0.0, 0.155),
        ("all", "projection", 0.3, 1.0),  # red beside blue is what projection cannot hide
    ],
)
def test_fringes_of_a_lens_tell_the_place_unless_hidden(
    lens: str, colour: Colour, low: float, high: float
) -> None:
    """Chance is 0.125, its standard deviation over 1500 pictures 0.0085."""
    found = read_from_fringes(lens, colour)
    print(f"{lens} {colour}: {found:.3f}")
    assert low <= found <= high
