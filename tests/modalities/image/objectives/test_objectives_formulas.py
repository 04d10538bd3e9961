"""The formulas, against independent ones in numpy; the order in which MoCo's parts move."""

import numpy as np
import pytest
import torch

from modalities.base import Progress, Randomness
from modalities.common.pretraining.contrast import info_nce, nt_xent, unit
from modalities.common.pretraining.negatives import Queue
from modalities.common.training import ema
from modalities.common.training.norm import SharedBatchNorm, split
from modalities.image.network.factory import build
from modalities.image.network.views import SUPERVISED, contrastive, prepare
from modalities.image.objectives.moco_v2 import MoCoV2
from modalities.image.objectives.rotation import turn


def test_nt_xent_is_equation_1() -> None:
    g = torch.Generator().manual_seed(0)
    a, b = torch.randn(5, 7, generator=g), torch.randn(5, 7, generator=g)
    z = np.concatenate([a.numpy(), b.numpy()]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    s = np.exp(z @ z.T / 0.3)
    losses = []
    for i in range(10):
        j = (i + 5) % 10
        others = sum(s[i, k] for k in range(10) if k != i)  # the twin is one of them
        losses.append(-np.log(s[i, j] / others))
    assert float(nt_xent(a, b, 0.3)) == pytest.approx(np.mean(losses), rel=1e-5)
    assert torch.allclose(nt_xent(a, b, 0.3), nt_xent(b, a, 0.3))
    order = torch.randperm(5, generator=g)
    assert torch.allclose(nt_xent(a, b, 0.3), nt_xent(a[order], b[order], 0.3))


def test_info_nce_is_a_softmax_over_one_positive_and_the_negatives() -> None:
    g = torch.Generator().manual_seed(0)
    q, k, n = (torch.randn(size, 6, generator=g) for size in (4, 4, 9))
    n = unit(n)
    norm = [v.double().numpy() / np.linalg.norm(v.numpy(), axis=1, keepdims=True) for v in (q, k)]
    losses = []
    for i in range(4):
        positive = np.exp(norm[0][i] @ norm[1][i] / 0.2)
        negatives = np.exp(n.double().numpy() @ norm[0][i] / 0.2).sum()
        losses.append(-np.log(positive / (positive + negatives)))
    assert float(info_nce(q, k, n, 0.2)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_a_follower_is_a_moving_average() -> None:
    leader = torch.nn.Linear(2, 1)
    follower = ema.follower(leader)
    before = follower.weight.clone()
    with torch.no_grad():
        leader.weight.add_(1)
    ema.update(follower, leader, 0.9)
    torch.testing.assert_close(follower.weight, before + 0.1)
    assert not follower.weight.requires_grad


def moco() -> MoCoV2:
    torch.manual_seed(0)
    return MoCoV2(build("small", widths=[4, 8]), queue=24, momentum=0.5, projection=6, splits=2)


def test_moco_moves_in_the_right_order() -> None:
    """Follower before the keys; logits against the old queue; then the new keys in its place."""
    objective = moco()
    source = objective.negatives
    assert isinstance(source, Queue)
    items = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    batch = objective.views({"items": items}, rng)
    with torch.no_grad():
        for parameter in objective.encoder.parameters():
            parameter.add_(0.3)
    old_queue = source.keys.clone()
    slow = [p.clone() for p in source.follower.parameters()]
    fast = [*objective.encoder.parameters(), *objective.head.parameters()]
    loss = objective(batch).loss
    for before, leader, now in zip(slow, fast, source.follower.parameters(), strict=True):
        torch.testing.assert_close(now, 0.5 * before + 0.5 * leader)
    with torch.no_grad():
        shuffle = batch["shuffle"]
        key = unit(source.follower(batch["key"][shuffle]))[shuffle.argsort()]  # moved already
        query = objective.head(objective.encoder(batch["query"]))
    torch.testing.assert_close(loss.detach(), info_nce(query, key, old_queue, 0.2))
    assert torch.equal(source.keys, old_queue)  # not yet
    objective.after_step(Progress(1, 4))
    torch.testing.assert_close(source.keys[:8], key)
    assert torch.equal(source.keys[8:], old_queue[8:])
    for step in (2, 3, 4):  # the oldest go first, round and round
        objective(batch)
        fresh = source._fresh
        objective.after_step(Progress(step, 4))
        start = 8 * (step - 1) % 24
        assert fresh is not None
        assert torch.equal(source.keys[start : start + 8], fresh)


def test_moco_has_no_gradient_in_the_keys() -> None:
    objective = moco()
    assert isinstance(objective.negatives, Queue)
    items = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    objective(objective.views({"items": items}, rng)).loss.backward()
    assert all(p.grad is None for p in objective.negatives.follower.parameters())


def test_split_batch_norm_normalises_part_by_part() -> None:
    norm = torch.nn.BatchNorm1d(3)
    x = torch.randn(8, 3)
    parts = torch.cat([torch.nn.BatchNorm1d(3)(part) for part in x.chunk(2)])
    torch.testing.assert_close(split(norm, 2)(x), parts)


def test_shared_batch_norm_is_batch_norm_when_alone() -> None:
    x = torch.randn(8, 3, 4, 4)
    one, other = torch.nn.BatchNorm2d(3), SharedBatchNorm(3)
    torch.testing.assert_close(one(x), other(x))
    torch.testing.assert_close(one.running_var, other.running_var)


def test_turns_are_exact() -> None:
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(turn(turn(x, 1), 3), x)
    assert torch.equal(turn(x, 2), x.flip(2, 3))
    with pytest.raises(ValueError, match="square"):
        turn(torch.zeros(1, 3, 8, 6), 1)


def test_augmentations_with_nothing_to_do_change_nothing() -> None:
    from modalities.image.network.augmentation import Augmentation

    items = torch.randint(0, 256, (4, 12, 16, 3), dtype=torch.uint8)
    rng = Randomness(torch.Generator().manual_seed(0), total=4)
    torch.testing.assert_close(Augmentation()(items, rng), prepare(items), rtol=1e-4, atol=1e-4)
    flipped = Augmentation(flip=1.0)(items, rng)
    torch.testing.assert_close(flipped, prepare(items).flip(3), rtol=1e-4, atol=1e-4)


def test_crops_show_a_part_at_full_size() -> None:
    """A horizontal ramp stays one, less steep, and within what the picture holds."""
    from modalities.image.network.augmentation import Augmentation

    ramp = torch.arange(32, dtype=torch.uint8)[None, None, :, None].expand(16, 32, 32, 3) * 8
    rng = Randomness(torch.Generator().manual_seed(0), total=16)
    out = Augmentation(scale=(0.25, 0.25), ratio=(1.0, 1.0))(ramp, rng)
    inner = out[:, 0, 0, 2:-2].diff(dim=1)
    step = prepare(ramp)[0, 0, 0].diff()[0]
    level = 1 / (255 * 0.229)  # a CPU with bf16 rounds to whole grey levels in between
    slope = float(step) / 2
    torch.testing.assert_close(inner, torch.full_like(inner, slope), rtol=0, atol=1.1 * level)
    assert abs(float(inner.mean()) - slope) < 0.05 * level


@pytest.mark.parametrize(
    "augmentation", [SUPERVISED, contrastive(), contrastive(colour=2.0, blur=1.0)]
)
def test_augmented_pictures_are_pictures(augmentation: object) -> None:
    items = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    out = augmentation(items, rng)  # type: ignore[operator]
    low, high = prepare(torch.stack([items[0] * 0, items[0] * 0 + 255])).unbind()
    assert out.shape == (8, 3, 32, 32)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert (out >= low.amin((1, 2), keepdim=True) - 1e-4).all()
    assert (out <= high.amax((1, 2), keepdim=True) + 1e-4).all()
