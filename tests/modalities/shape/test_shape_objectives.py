"""Objectives on shapes against slow references, and what their views may tell."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modalities.base import Randomness
from modalities.shape.network import views
from modalities.shape.network.encoder import Transformer, build
from modalities.shape.objectives.contrastive import Contrastive, point_nce
from modalities.shape.objectives.convexity import Convexity, pairwise
from modalities.shape.objectives.mae import MAE, chamfer
from modalities.shape.objectives.rotation import Rotation, rotations

torch.set_num_threads(1)


def rng(total: int, seed: int = 0) -> Randomness:
    return Randomness(torch.Generator().manual_seed(seed), total=total)


def clouds(count: int = 4, points: int = 96, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    place = torch.randn(count, points, 3, generator=g) * torch.tensor([0.5, 0.3, 0.2])
    normal = torch.nn.functional.normalize(torch.randn(count, points, 3, generator=g), dim=-1)
    part = torch.randint(3, (count, points, 1), generator=g).float()
    return torch.cat([place, normal, part], -1)


def slow_pairwise(found: np.ndarray, piece: np.ndarray, draw: np.ndarray, margin: float) -> float:
    """The paper's loss, pair by pair, in float64."""
    total, count = 0.0, 0
    for b in range(len(found)):
        unit = found[b] / np.linalg.norm(found[b], axis=1, keepdims=True)
        pairs = [
            (i, j) for i, j in itertools.permutations(range(len(unit)), 2)
            if piece[b, i] >= 0 and piece[b, j] >= 0
        ]  # fmt: skip
        same = [(i, j) for i, j in pairs if piece[b, i] == piece[b, j]]
        other = [(i, j) for i, j in pairs if piece[b, i] != piece[b, j]]
        share = len(same) / max(1, len(other))
        for i, j in same:
            total += 1 - unit[i] @ unit[j]
        kept = [(i, j) for i, j in other if draw[b, i, j] < share]
        for i, j in kept:
            total += max(0.0, unit[i] @ unit[j] - margin)
        count += len(same) + len(kept)
    return total / max(1, count)


@pytest.mark.parametrize("margin", [0.5, 0.0])
def test_convexity_is_the_papers_loss(margin: float) -> None:
    g = torch.Generator().manual_seed(3)
    found = torch.randn(3, 20, 8, generator=g)
    piece = torch.randint(-1, 4, (3, 20), generator=g)
    piece[1] = 2  # one piece only: no negatives
    draw = torch.rand(3, 20, 20, generator=g)
    loss, metrics = pairwise(found, piece, draw, margin)
    want = slow_pairwise(found.double().numpy(), piece.numpy(), draw.numpy(), margin)
    assert float(loss) == pytest.approx(want, rel=1e-5)
    assert -1 <= float(metrics["other_piece"]) <= float(metrics["same_piece"]) + 1
    nothing, _ = pairwise(found, torch.full_like(piece, -1), draw, margin)
    assert float(nothing) == 0


def test_negatives_are_as_many_as_positives() -> None:
    """Embeddings that are all alike: positives cost 0, each negative 1 - margin."""
    piece = torch.arange(40).repeat_interleave(5)[None]  # 200 points, few positives
    loss, _ = pairwise(torch.ones(1, 200, 4), piece, torch.rand(1, 200, 200), 0.5)
    assert float(loss) == pytest.approx(0.25, abs=0.02)


def test_draws_of_pairs_are_even_and_independent() -> None:
    objective = Convexity(build("small", width=8, dim=16), points=64)
    label = torch.zeros(4, 96, dtype=torch.long)
    batches = [
        objective.views({"items": clouds(), "free_label": label}, rng(4, seed))["draw"]
        for seed in range(40)
    ]
    draw = torch.stack(batches).flatten(0, 1)  # (160, 64, 64)
    assert draw.min() >= 0
    assert draw.max() < 1
    share = torch.histc(draw, 10, 0, 1) / draw.numel()
    assert (share - 0.1).abs().max() < 0.01
    one, two, three = draw[:, 0], draw[:, 1], draw[:, :, 0]  # one row, another, a column
    for a, b in ((one[:, :-1], one[:, 1:]), (one, two), (three[:, :-1], three[:, 1:])):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() < 0.05
        both = ((a < 0.3) & (b < 0.3)).float().mean()
        assert both == pytest.approx(0.09, abs=0.02)


def test_convexity_takes_the_points_and_their_pieces_together() -> None:
    items = clouds()
    label = (items[..., 0] > 0).long() + 2 * (items[..., 1] > 0).long()
    objective = Convexity(build("small", width=8, dim=16), points=64, turn="none", scale=0.0,
                          shift=0.0)  # fmt: skip
    found = objective.views({"items": items, "free_label": label}, rng(4))
    place = found["cloud"]
    assert place.shape == (4, 64, 6)
    again = (place[..., 0] > 0).long() + 2 * (place[..., 1] > 0).long()
    assert torch.equal(again, found["piece"])
    assert len(torch.unique(place[0], dim=0)) == 64


def test_the_true_part_never_reaches_an_encoder() -> None:
    one, two = clouds(), clouds()
    two[..., 6] = 9
    batch = {"free_label": torch.zeros(4, 96, dtype=torch.long)}
    small, groups = build("small", width=8, dim=16), build("transformer", width=48, depth=1)
    assert isinstance(groups, Transformer)
    for objective in (Convexity(small), Contrastive(small), Rotation(small), MAE(groups)):
        a, b = (objective.views({**batch, "items": x}, rng(4)) for x in (one, two))
        assert all(torch.equal(a[key], b[key]) for key in a), type(objective).__name__
    assert torch.equal(views.prepare(one), views.prepare(two))


def test_point_nce_is_cross_entropy_both_ways() -> None:
    g = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, 5, 4, generator=g), torch.randn(2, 5, 4, generator=g)
    want = 0.0
    for a, b in zip(one.double().numpy(), two.double().numpy(), strict=True):
        a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))  # noqa: PLW2901
        logits = a @ b.T / 0.2
        for table in (logits, logits.T):
            want -= (np.diag(table) - np.log(np.exp(table).sum(1))).mean() / 4
    assert float(point_nce(one, two, 0.2)) == pytest.approx(want, rel=1e-5)


def test_chamfer_compares_sets() -> None:
    g = torch.Generator().manual_seed(0)
    true = torch.randn(3, 7, 3, generator=g)
    said = torch.randn(3, 7, 3, generator=g)
    unit = float(true.norm(dim=-1).mean())
    want = 0.0
    for a, b in zip(said.double().numpy() / unit, true.double().numpy() / unit, strict=True):
        square = ((a[:, None] - b[None]) ** 2).sum(-1)
        want += (square.min(0).mean() + square.min(1).mean()) / 3
    assert float(chamfer(said, true)) == pytest.approx(want, rel=1e-5)
    assert float(chamfer(true[:, torch.randperm(7)], true)) == pytest.approx(0, abs=1e-5)


def test_mae_shows_the_encoder_the_visible_groups_only() -> None:
    """Moving points of hidden groups within their group changes the target, not the tokens."""
    encoder = build("transformer", groups=8, size=8, width=48, depth=1)
    assert isinstance(encoder, Transformer)
    encoder.eval()
    cloud = clouds(2)[..., :6]
    visible = torch.tensor([[0, 3], [5, 1]])
    centres, about = encoder.cut(cloud)
    tokens = encoder.tokens(cloud, visible)
    assert tokens.shape == (2, 2, 48)
    hidden = [i for i in range(8) if i not in (0, 3)]
    about[0, hidden] += 1
    shown = about.flatten(2).gather(1, visible[..., None].expand(-1, -1, 48))
    again = encoder.encode(
        centres.gather(1, visible[..., None].expand(-1, -1, 3)), shown.unflatten(2, (8, 6))
    )
    torch.testing.assert_close(tokens, again)


def test_rotations_are_exact_and_told_apart() -> None:
    for turns in (4, 6, 24):
        found = rotations(turns)
        assert found.shape == (turns, 3, 3)
        assert torch.equal(found[0], torch.eye(3))
        assert torch.equal(found @ found.transpose(1, 2), torch.eye(3).expand(turns, 3, 3))
        assert torch.equal(torch.linalg.det(found).round(), torch.ones(turns))
        assert len({tuple(m.flatten().tolist()) for m in found}) == turns
    up = torch.tensor([0.0, 1.0, 0.0])
    assert len({tuple((m @ up).tolist()) for m in rotations(6)}) == 6
    assert {tuple((m @ up).tolist()) for m in rotations(4)} == {(0.0, 1.0, 0.0)}


def test_views_turn_positions_and_normals_alike() -> None:
    items = clouds(6)
    found = views.Change(scale=0.0, shift=0.0, turn="any")(items, rng(6))
    place, normal = items[..., :3], items[..., 3:6]
    torch.testing.assert_close(
        (found[..., :3] * found[..., 3:]).sum(-1), (place * normal).sum(-1), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(found[..., :3].norm(dim=-1), place.norm(dim=-1))
    upright = views.Change(scale=0.0, shift=0.0, turn="vertical")(items, rng(6))
    torch.testing.assert_close(upright[..., 1], place[..., 1])
    assert not torch.allclose(upright[..., 0], place[..., 0])


def test_scaled_normals_stay_normal_to_the_surface() -> None:
    """On an ellipsoid, which a scaled ball is, the normal is the gradient."""
    ball = torch.nn.functional.normalize(torch.randn(5, 64, 3), dim=-1)
    items = torch.cat([ball, ball, torch.zeros(5, 64, 1)], -1)
    found = views.Change(scale=0.5, shift=0.0)(items, rng(5))
    axes = found[..., :3].abs().amax(1, keepdim=True)
    factor = (found[..., :3] / ball).mean(1, keepdim=True)
    assert (axes <= factor + 1e-4).all()
    gradient = torch.nn.functional.normalize(found[..., :3] / factor**2, dim=-1)
    torch.testing.assert_close(found[..., 3:], gradient, atol=1e-4, rtol=1e-3)


def test_what_was_learnt_is_shown(tmp_path: Path) -> None:
    items = clouds(3)
    objective = Convexity(build("small", width=8, dim=16), points=96).eval()
    label = (items[..., 0] > 0).int()
    with torch.no_grad():
        objective.show({"items": items, "free_label": label}, rng(3), tmp_path)
    assert (tmp_path / "pieces.png").stat().st_size > 1000
    page = (tmp_path / "pieces.html").read_text()
    assert page.count("<option") == 3 + 3
    assert "http" not in page, "nothing is fetched"
    data = json.loads(page.split("clouds = ")[1].split(", colours =")[0])
    assert len(data) == 3
    assert len(data[0]["points"]) == 3 * 96
    assert data[1]["groups"][0] == label[1].tolist()
