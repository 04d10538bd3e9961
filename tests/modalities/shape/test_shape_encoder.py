"""Point networks: neighbours against a library, invariance, features for every point."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from modalities.items import UserError
from modalities.shape.network.encoder import Abstraction, build
from modalities.shape.network.neighbours import (
    farthest,
    greatest,
    grouped,
    interpolate,
    lowest,
    nearest,
)

torch.set_num_threads(1)
SMALL = {"small": {"width": 8, "dim": 24}, "transformer": {"width": 48, "depth": 1, "groups": 16}}


def cloud(batch: int = 3, points: int = 200) -> torch.Tensor:
    return torch.randn(batch, points, 6, generator=torch.Generator().manual_seed(1))


def test_neighbours_are_those_of_a_tree() -> None:
    place = cloud()[..., :3]
    centres = place[:, ::7]
    which = nearest(place, centres, 9)
    for b in range(3):
        distance, _ = cKDTree(place[b].numpy()).query(centres[b].numpy(), 9)
        mine = (place[b][which[b]] - centres[b][:, None]).norm(dim=-1).sort(-1)[0]
        np.testing.assert_allclose(mine.numpy(), distance, atol=2e-3)
    close = nearest(place, centres, 9, radius=0.4)
    gap = (grouped(place, close) - centres[:, :, None]).norm(dim=-1)
    assert (gap <= 0.4 + 1e-3).all()
    assert nearest(place[:, :4], centres, 9).shape == (3, centres.shape[1], 9)


@pytest.mark.parametrize("count", [1, 3, 16, 128, 129, 300])
@pytest.mark.parametrize("length", [300, 256, 257, 512, 700, 2048])
def test_the_lowest_are_those_of_a_sort(length: int, count: int) -> None:
    square = torch.randn(2, 5, length, generator=torch.Generator().manual_seed(2)).square()
    square[0, 0] = square[0, 0].round()  # many are equal: the first of them
    square[1, 1, :7] = torch.tensor([0.0, -0.0, torch.inf, 1e-45, 3e38, 0.0, torch.inf])
    count = min(count, length)
    values, which = lowest(square, count)
    want, first = square.sort(dim=-1, stable=True)
    assert torch.equal(values, want[..., :count])
    at = torch.ones(2, 5, dtype=torch.bool)
    at[1, 1] = False  # of -0 and 0 either may be first
    assert torch.equal(which[at], first[..., :count][at])
    assert torch.equal(square.gather(-1, which), values)


def test_the_lowest_are_found_on_other_devices() -> None:
    values, which = lowest(torch.zeros(2, 5, 300, device="meta"), 16)
    assert values.shape == which.shape == (2, 5, 16)
    assert which.device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_greatest_share_their_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randint(-3, 4, (2, 5, 7, 11), generator=generator).to(dtype)  # many are equal
    grad = torch.randn(2, 5, 11, generator=generator).to(dtype)
    found = []
    for function in (greatest, lambda values: values.amax(2)):
        values = x.clone().requires_grad_()
        out = function(values)
        out.backward(grad)
        found.append((out.detach(), values.grad))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1])


def test_farthest_points_are_far_apart() -> None:
    place = cloud(2, 300)[..., :3]
    found = farthest(place, 20)
    for b in range(2):
        taken = [int(found[b, 0])]
        for _ in range(19):  # the definition, step by step
            gap = torch.cdist(place[b], place[b, taken]).min(1)[0]
            taken.append(int(gap.argmax()))
        assert found[b].tolist() == taken
    order = torch.randperm(300)
    again = farthest(place[:, order], 20)
    assert torch.equal(place[0, found[0]], place[0, order][again[0]])
    assert farthest(place[:, :5], 12).shape == (2, 12)


def test_interpolation_goes_through_the_centres() -> None:
    place = cloud(2, 50)[..., :3]
    feature = torch.randn(2, 10, 4)
    found = interpolate(place, place[:, :10], feature)
    assert found.shape == (2, 50, 4)
    torch.testing.assert_close(found[:, :10], feature, atol=1e-2, rtol=1e-2)
    constant = interpolate(place, place[:, :10], torch.ones(2, 10, 4))
    torch.testing.assert_close(constant, torch.ones(2, 50, 4))


def test_abstraction_is_the_papers_layer_on_pairs() -> None:
    """The first layer on points and centres apart equals that on every neighbour's offset."""
    torch.manual_seed(0)
    layer = Abstraction(5, (8, 12), neighbours=6, radius=0.7).eval()
    place, feature = torch.randn(2, 40, 3), torch.randn(2, 40, 5)
    centres = place[:, :9]
    near = nearest(place, centres, 6, 0.7)
    offset = (grouped(place, near) - centres[:, :, None]) / 0.7
    paired = layer.enter(torch.cat([offset, grouped(feature, near)], -1))
    want = layer.rest(layer.norm(paired.flatten(0, 2)).relu().unflatten(0, near.shape)).amax(2)
    torch.testing.assert_close(layer(place, feature, centres), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_features_follow_their_points(name: str) -> None:
    encoder = build(name, **SMALL[name]).eval()
    x, order = cloud(), torch.randperm(200)
    with torch.inference_mode():
        points, whole = encoder.points(x), encoder(x)
        assert points.shape == (3, 200, encoder.dim)
        assert whole.shape == (3, encoder.dim)
        torch.testing.assert_close(
            encoder.points(x[:, order]), points[:, order], atol=1e-4, rtol=1e-3
        )
        torch.testing.assert_close(encoder(x[:, order]), whole, atol=1e-4, rtol=1e-3)
        few = encoder.points(x[:, :7])
        assert torch.isfinite(few).all(), "fewer points than centres and neighbours"
        same = encoder.points(x[:, :1].expand(-1, 50, -1))
        assert torch.isfinite(same).all(), "all points in one place"


def test_tokens_are_groups_or_points() -> None:
    x = cloud()
    assert build("small", **SMALL["small"]).tokens(x).shape == (3, 200, 24)
    groups = build("transformer", **SMALL["transformer"])
    assert groups.tokens(x).shape == (3, 16, 48)
    with pytest.raises(ValueError, match="transformer"):
        build("small").tokens(x, torch.zeros(3, 2, dtype=torch.long))


def test_wrong_names_and_options_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'transformer'"):
        build("transformr")
    with pytest.raises(UserError, match="unknown option 'widht'; did you mean 'width'"):
        build("small", widht=3)
    with pytest.raises(UserError, match="impossible value 0"):
        build("small", width=0)
    with pytest.raises(UserError, match="no multiple of heads"):
        build("transformer", width=100, heads=3)
