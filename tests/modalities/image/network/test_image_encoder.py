"""Image encoders: what they give, and what is refused."""

from typing import Any

import pytest
import torch

from modalities.base import UserError
from modalities.common.network.convolution import Conv
from modalities.image.network.factory import build


@pytest.mark.parametrize("stem", [3, 4])
def test_the_small_encoder(stem: int) -> None:
    encoder = build("small", widths=[8, 16, 24], depth=2, stem=stem).eval()
    x = torch.randn(2, 3, 32, 32)
    maps = encoder.maps(x)
    first = 32 if stem == 3 else 16
    assert [tuple(m.shape[1:]) for m in maps] == [
        (width, first >> i, first >> i) for i, width in enumerate((8, 16, 24))
    ]
    tokens = encoder.tokens(x)
    assert tokens.shape == (2, (first >> 2) ** 2, encoder.dim)
    torch.testing.assert_close(tokens.mean(1), encoder(x))
    with pytest.raises(ValueError, match="patches"):
        encoder.tokens(x, torch.zeros(2, 1, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "options", "dim"),
    [("resnet18", {"stem": "small"}, 512), ("mobilenet_v3_small", {}, 576), ("vgg11", {}, 512)],
)
def test_backbones_of_torchvision(name: str, options: dict[str, Any], dim: int) -> None:
    encoder = build(name, **options).eval()
    x = torch.randn(1, 3, 32, 32)
    assert encoder.dim == dim
    assert encoder(x).shape == (1, dim)
    assert encoder.tokens(x).shape[2] == dim


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"unknown encoder 'resnet19'; did you mean 'resnet1"):
        build("resnet19")
    with pytest.raises(UserError, match=r"unknown option 'width'; did you mean 'widths'"):
        build("small", width=[8])
    with pytest.raises(UserError, match=r"option widths: impossible value \[0\]"):
        build("small", widths=[0])
    with pytest.raises(UserError, match="ResNet family"):
        build("vgg11", stem="small")


@pytest.mark.parametrize("name", ["resnet18", "timm/resnet18", "timm/regnety_002"])
def test_networks_of_libraries_are_right_on_tiny_maps_too(name: str) -> None:
    """The same numbers as theirs where maps are wide, and our convolution where they are not."""
    encoder = build(name).eval()
    convolutions = [m for m in encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    assert convolutions and all(isinstance(m, Conv) for m in convolutions)
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        found = encoder(x)
        for conv in convolutions:
            conv.__class__ = torch.nn.Conv2d
        torch.testing.assert_close(found, encoder(x), rtol=1e-4, atol=1e-4)
