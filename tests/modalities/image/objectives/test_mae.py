"""Masked autoencoders and the encoder made of patches: what is seen, painted, and counts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from training_world import params

from flows.export import _program
from modalities.base import UserError
from modalities.common.network.masking import divide, take_tokens
from modalities.common.network.transformer import attention, positions
from modalities.image.network.factory import build
from modalities.image.network.vit import ViT
from modalities.image.objectives.mae import LEVEL, MAE, normalised
from tasks.pretrain import construct
from tasks.settings import options
from tests.modalities.test_objectives import ITEMS, randomness, raw
from tests.tasks.settings.test_params import refused

torch.set_num_threads(1)


def vit(**changed: Any) -> ViT:
    torch.manual_seed(0)
    made = build("vit", **({"patch": 4, "width": 32, "depth": 2, "heads": 2} | changed))
    assert isinstance(made, ViT)
    return made


def test_patches_are_the_picture_row_by_row() -> None:
    x = torch.randn(2, 3, 12, 8)
    found = vit().patches(x)
    assert found.shape == (2, 6, 48)
    for row in range(3):
        for column in range(2):
            part = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            expected = part.permute(0, 2, 3, 1).reshape(2, 48)
            assert torch.equal(found[:, 2 * row + column], expected)


def test_positions_are_sines_and_cosines_of_row_and_column() -> None:
    found = positions(3, 5, 16, torch.device("cpu")).numpy()
    rate = 1 / 10000 ** (np.arange(4) / 4)
    for row in range(3):
        for column in range(5):
            waves = [f(place * rate) for place in (row, column) for f in (np.sin, np.cos)]
            np.testing.assert_allclose(
                found[5 * row + column], np.concatenate(waves), rtol=1e-5, atol=1e-6
            )


def test_attention_is_torch_s() -> None:
    query, key, value = (torch.randn(2, 3, 5, 8) for _ in range(3))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attention(query, key, value), expected)


def test_what_the_encoder_gives() -> None:
    encoder, x = vit().eval(), torch.randn(2, 3, 12, 8)
    tokens = encoder.tokens(x)
    assert tokens.shape == (2, 6, 32)
    torch.testing.assert_close(encoder(x), tokens.mean(1))
    [found] = encoder.maps(x)
    assert found.shape == (2, 32, 3, 2)
    assert torch.equal(found[:, :, 2, 1], tokens[:, 5])
    whole = torch.stack([torch.arange(6), torch.tensor([3, 1, 0, 2, 5, 4])])
    torch.testing.assert_close(encoder.tokens(x, whole), take_tokens(tokens, whole))
    assert build("vit").dim == 192
    assert sum(p.numel() for p in build("vit").parameters()) < 3e6


def test_the_encoder_sees_the_visible_patches_alone() -> None:
    encoder, x = vit(), torch.randn(3, 3, 16, 16)
    visible, masked = divide(torch.rand(3, 16), 0.75)
    counted: list[tuple[int, ...]] = []
    encoder.embedding.register_forward_hook(lambda m, i, o: counted.append(tuple(o.shape)))
    encoder.blocks[0].register_forward_hook(lambda m, i, o: counted.append(tuple(o.shape)))
    tokens = encoder.tokens(x, visible)
    assert counted == [(3, 4, 32)] * 2
    changed = x.clone()
    for b in range(3):
        for place in masked[b].tolist():
            row, column = 4 * (place // 4), 4 * (place % 4)
            changed[b, :, row : row + 4, column : column + 4] = torch.randn(3, 4, 4)
    assert not torch.equal(changed, x)
    assert torch.equal(encoder.tokens(changed, visible), tokens)
    row, column = 4 * (int(visible[0, 0]) // 4), 4 * (int(visible[0, 0]) % 4)
    changed[0, :, row : row + 4, column : column + 4] += 1
    assert not torch.allclose(encoder.tokens(changed, visible)[0], tokens[0])


def test_it_is_exported_for_any_number_of_pictures() -> None:
    encoder = vit().eval()
    program = _program(encoder, 16)
    x = torch.randn(5, 3, 16, 16)
    torch.testing.assert_close(program.module()(x), encoder(x))


@pytest.mark.parametrize(("share", "hidden"), [(0.75, 48), (0.5, 32), (0.99, 63), (0.001, 1)])
def test_each_item_has_its_share_masked(share: float, hidden: int) -> None:
    visible, masked = divide(torch.rand(200, 64, generator=torch.Generator().manual_seed(0)), share)
    assert masked.shape == (200, hidden)
    every = torch.cat([visible, masked], 1).sort(1)[0]
    assert torch.equal(every, torch.arange(64).expand(200, 64))
    often = torch.bincount(masked.flatten(), minlength=64) / 200
    assert (often - hidden / 64).abs().max() < 0.2  # every place alike
    if hidden < 63:
        assert len({tuple(row) for row in masked.sort(1)[0].tolist()}) > 60  # each its own


def mae() -> MAE:
    return MAE(vit(), width=32, depth=1)


def patchify(image: Tensor, side: int) -> np.ndarray[Any, Any]:
    x = image.double().numpy()
    batch, colours, height, width = x.shape
    found = np.empty((batch, (height // side) * (width // side), colours * side * side))
    for row in range(height // side):
        for column in range(width // side):
            part = x[:, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
            place = row * (width // side) + column
            found[:, place] = part.transpose(0, 2, 3, 1).reshape(batch, -1)
    return found


def test_the_loss_is_of_masked_patches_normalised_one_by_one() -> None:
    objective = mae()
    views = objective.views(raw("image"), randomness())
    assert views["masked"].shape == (ITEMS, 48)
    painted: list[Tensor] = []
    objective.leave.register_forward_hook(lambda m, i, o: painted.append(o.detach()))
    loss = float(objective(views).loss.detach())
    assert painted[0].shape == (ITEMS, 48, 48)  # nothing is painted where it was seen
    target = patchify(views["image"], 4)
    target -= target.mean(2, keepdims=True)
    target /= np.sqrt(target.var(2, ddof=1, keepdims=True) + LEVEL**2)
    errors = [
        (painted[0][b].double().numpy() - target[b, views["masked"][b].numpy()]) ** 2
        for b in range(ITEMS)
    ]
    assert loss == pytest.approx(np.mean(errors), rel=1e-4)


def test_what_is_painted_depends_on_the_places_not_on_their_order() -> None:
    objective = mae()
    views = objective.views(raw("image"), randomness())
    turned = views | {key: views[key].flip(1) for key in ("visible", "masked")}
    torch.testing.assert_close(objective(views).loss, objective(turned).loss)
    assert not torch.allclose(
        objective(views).loss, objective(views | {"masked": views["masked"].roll(1, 0)}).loss
    )


def test_targets_are_normalised_and_flat_patches_are_not_noise() -> None:
    g = torch.Generator().manual_seed(0)
    found = normalised(3 + 2 * torch.randn(2, 5, 48, generator=g))
    torch.testing.assert_close(found.mean(2), torch.zeros(2, 5), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.std(2), torch.ones(2, 5), rtol=1e-3, atol=0)
    rounding = 0.01 * LEVEL * torch.randn(1, 1, 48, generator=g)
    assert normalised(1 + rounding).abs().max() < 0.05


def test_only_encoders_made_of_patches_fit() -> None:
    wrong = params({"objective": "mae"})
    allowed = "vit, or a vision transformer of timm"
    said = rf"image\.runs\.tiny\.encoder: .*'small'; allowed: {allowed}$"
    with pytest.raises(UserError, match=said):
        construct(wrong, "tiny")
    small = {"width": 32, "depth": 1, "heads": 2}
    right = params({"objective": "mae", "encoder": "vit", "encoder_options": small})
    assert isinstance(construct(right, "tiny"), MAE)


@pytest.mark.parametrize("encoder", ["small", "resnet18", "vgg11"])
def test_params_yaml_is_refused_where_mae_has_no_patches(tmp_path: Path, encoder: str) -> None:
    run = f"{{objective: mae, encoder: {encoder}}}\n    other: {{objective: rotation, "
    message = refused(tmp_path, "    rotation: {objective: rotation, ", f"    masked: {run}")
    assert "image.runs.masked.encoder: objective mae cannot train" in message
    assert "allowed: vit" in message
    assert len(message.splitlines()) == 1


def test_the_encoder_s_options_are_checked_without_importing_it(tmp_path: Path) -> None:
    found = options.encoder("image", "vit")
    assert found.schema is not None
    assert found.schema().model_dump() == {"patch": 4, "width": 192, "depth": 6, "heads": 3}
    run = "    rotation: {encoder: vit, encoder_options: {pach: 4}, "
    assert "did you mean 'patch'" in refused(tmp_path, "    rotation: {", run)
    run = "    rotation: {encoder: vti, "
    assert "unknown encoder 'vti'; did you mean 'vit'" in refused(tmp_path, "    rotation: {", run)


def test_impossible_shapes_are_named() -> None:
    with pytest.raises(UserError, match="10 x 8 pixels cannot be cut into patches of 4"):
        vit().tokens(torch.zeros(1, 3, 10, 8))
    with pytest.raises(UserError, match="width 30 must be divisible by 4"):
        vit(width=30)
    with pytest.raises(UserError, match="number of heads, 3"):
        vit(heads=3)
    with pytest.raises(UserError, match="option patch: impossible value 0"):
        vit(patch=0)
    with pytest.raises(UserError, match="unknown option 'widths'; did you mean 'width'"):
        vit(widths=[3])
