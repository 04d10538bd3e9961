"""Networks of timm as encoders: what they give, what is refused, without importing and with."""

from typing import Any

import pytest
import torch

from modalities.base import Randomness, UserError
from modalities.image.network.contract import ImageEncoder, PatchEncoder
from modalities.image.network.factory import build
from modalities.image.objectives.mae import MAE
from tasks.settings import options

VIT = "timm/vit_tiny_patch16_224"
SMALL: dict[str, Any] = {"size": 32, "patch": 8}


def pictures(side: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_a_vision_transformer_gives_tokens_as_timm_does() -> None:
    encoder = build(VIT, **SMALL).eval()
    assert isinstance(encoder, PatchEncoder)
    assert (encoder.patch, encoder.dim) == (8, 192)
    x = pictures()
    tokens = encoder.tokens(x)
    assert tokens.shape == (2, 16, 192)
    theirs = encoder.net.forward_features(x)  # type: ignore[union-attr,operator]
    torch.testing.assert_close(tokens, theirs[:, 1:])
    torch.testing.assert_close(encoder(x), tokens.mean(1))
    assert [tuple(m.shape) for m in encoder.maps(x)] == [(2, 192, 4, 4)]
    token = build(VIT, **SMALL, pool="token").eval()
    token.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(token(x), theirs[:, 0])


@torch.inference_mode()
def test_visible_patches_alone_are_encoded() -> None:
    """Nothing of a hidden patch gets in, and with all of them visible nothing changes."""
    encoder = build(VIT, **SMALL).eval()
    x = pictures()
    every = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(encoder.tokens(x, every), encoder.tokens(x))
    visible = torch.tensor([[3, 0, 10], [5, 6, 7]])
    seen = encoder.tokens(x, visible)
    assert seen.shape == (2, 3, 192)
    changed = x.clone()
    changed[:, :, 16:24, 8:16] += 1  # patch 9, hidden in both
    torch.testing.assert_close(encoder.tokens(changed, visible), seen)
    changed[0, :, :8, :8] += 1  # patch 0, visible in the first
    again = encoder.tokens(changed, visible)
    assert not torch.allclose(again[0], seen[0], atol=1e-3)
    torch.testing.assert_close(again[1], seen[1])


def test_mae_trains_one() -> None:
    objective = MAE(build(VIT, **SMALL))  # type: ignore[arg-type]
    items = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    rng = Randomness(torch.Generator().manual_seed(0), total=4)
    step = objective(objective.views({"items": items}, rng))
    step.loss.backward()
    assert torch.isfinite(step.loss)
    gradient = objective.encoder.net.patch_embed.proj.weight.grad  # type: ignore[union-attr]
    assert gradient is not None and gradient.abs().sum() > 0  # type: ignore[operator,union-attr]


def test_other_sizes_of_picture_are_taken() -> None:
    encoder = build(VIT, **SMALL).eval()
    assert encoder.tokens(pictures(48)).shape == (2, 36, 192)
    with pytest.raises(UserError, match="cannot be cut into patches of 8"):
        encoder.tokens(pictures(30))


@pytest.mark.parametrize(
    ("name", "dim", "maps"),
    [("timm/resnet18", 512, 5), ("timm/convnext_atto", 320, 4), ("timm/regnety_002", 368, 5)],
)
def test_a_convolutional_network_gives_maps(name: str, dim: int, maps: int) -> None:
    encoder = build(name).eval()
    assert isinstance(encoder, ImageEncoder) and not isinstance(encoder, PatchEncoder)
    with torch.inference_mode():
        found = encoder.maps(pictures(64))
        assert encoder(pictures(64)).shape == (2, dim)
    sides = [m.shape[2] for m in found]
    assert len(found) == maps
    assert found[-1].shape[1] == encoder.dim == dim
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("timm/vit_smal_patch16_224", {}, "did you mean 'timm/vit_small_patch16_224'"),
        (VIT, {"sizes": 32}, "did you mean 'size'"),
        ("timm/resnet18", {"size": 32}, "unknown option 'size'"),
        ("timm/swin_tiny_patch4_window7_224", {}, "no .B, C, h, w. maps"),
        ("timm/vit_base_patch16_siglip_224", {"pool": "token"}, "no class token"),
    ],
)
def test_mistakes_are_named(name: str, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(name, **chosen)


def test_params_know_them_without_importing_timm() -> None:
    found = options.encoder("image", VIT)
    assert found.schema is not None
    assert found.schema.model_validate(SMALL).model_dump() == SMALL | {"pool": "mean"}
    assert options.encoder("image", "timm/resnet18").schema is not None
    assert options.encoder("image", "timm/resnet81").schema is None
    assert options.mismatch("image", "mae", VIT) is None
    assert "vision transformer of timm" in str(options.mismatch("image", "mae", "timm/resnet18"))


def test_the_names_are_timm_s() -> None:
    from modalities.image.network import timm_nets

    known = set(options._timm())
    assert set(timm_nets.names()) == known
    read = {n for n, file in options._timm().items() if file in ("vision_transformer", "deit")}
    assert set(timm_nets.transformers()) == read


def test_vit_small_and_base_have_their_published_sizes() -> None:
    """22 and 86 million parameters without a classifier (arXiv:2010.11929, arXiv:2012.12877)."""
    for name, millions in (("small", 21.67), ("base", 85.80)):
        with torch.device("meta"):
            encoder = build(f"timm/vit_{name}_patch16_224")
        count = sum(p.numel() for p in encoder.parameters()) / 1e6
        assert count == pytest.approx(millions, abs=0.01)
