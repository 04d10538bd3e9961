"""Few-shot episodes over held-out classes, with and without a pretext task beside the labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_transfer import Quiet

from modalities.base import Encoder, Labelled, Randomness, UserError
from modalities.common.learners.few_shot import Episodes, Study, accuracy
from modalities.common.learners.few_shot_training import Material, Schedule, Trainer, cosine
from modalities.common.measuring.frozen import Setting
from modalities.common.measuring.problem import Subset
from modalities.common.measuring.rows import Row, Skipped
from modalities.image.network.factory import build
from modalities.image.network.views import augment, prepare
from modalities.image.objectives.rotation import Rotation
from modalities.image.tasks.few_shot import FewShot
from modalities.items import Arrays

CLASSES, SIDE = 6, 16
ENCODER: dict[str, Any] = {"widths": [8, 16]}
TINY: dict[str, Any] = {
    "way": 3, "novel": 3, "shots": [1, 3], "queries": 4, "episodes": 20, "draws": 2, "steps": 12,
    "batch_size": 16, "encoder_options": ENCODER,
}  # fmt: skip
torch.set_num_threads(1)


def world(test: int = 10) -> dict[str, Labelled]:
    """A shape of its own for each class, anywhere, in any colour; 12 unlabelled pictures."""
    rng = np.random.default_rng(0)
    shapes = rng.integers(0, 2, (CLASSES, 4, 4)).astype(bool).repeat(2, 1).repeat(2, 2)
    found = {}
    for split, count in (("train", 8), ("test", test)):
        labels = np.repeat(np.arange(CLASSES), count)
        free = np.full(12 if split == "train" else 0, -1)
        shown = np.concatenate([labels, rng.integers(0, CLASSES, len(free))])
        items = rng.integers(0, 60, (len(shown), SIDE, SIDE, 3), dtype=np.uint8)
        for i, kind in enumerate(shown):
            top, left = rng.integers(0, SIDE - 8, 2)
            colour = rng.integers(120, 256, 3, dtype=np.uint8)
            items[i, top : top + 8, left : left + 8][shapes[kind]] = colour
        ids = [f"{split}{i}" for i in range(len(shown))]
        names = [f"c{i}" for i in range(CLASSES)]
        found[split] = Labelled(Arrays(items), np.concatenate([labels, free]), ids, names)
    return found


def measured(start: str = "scratch", splits: Any = None, **options: Any) -> list[Row | Skipped]:
    task = FewShot(**TINY | options)
    return list(task.run(start, None, splits or world(), Quiet(), seed=3))


def by(found: list[Row | Skipped]) -> dict[tuple[str, Any], list[float]]:
    return {(r.protocol, r.budget): r.values for r in found if isinstance(r, Row)}


def setting() -> Setting:
    return Setting(prepare, augment, "fp32", "cpu")


def schedule(**other: Any) -> Schedule:
    told = {"head": "prototypical", "shots": 3, "unlabelled": 0, "steps": 12, "batch_size": 18,
            "weight_decay": 0.0, "learning_rate": 0.01}  # fmt: skip
    return Schedule(**told | other)


def material(splits: Mapping[str, Labelled], pool: int = 0) -> Material:
    train = splits["train"]
    at = np.flatnonzero(np.isin(train.labels, [0, 1, 2]))
    free = np.flatnonzero(train.labels < 0)[:pool]
    return Material(
        Subset("train", train.items, at, train.labels[at]), np.concatenate([at, free]), 5
    )


def test_rows_for_every_weight_and_number_of_shots() -> None:
    found = by(measured(weights=[0.0, 0.5]))
    assert set(found) == {(w, k) for w in ("w=0", "w=0.5") for k in (1, 3)}
    assert all(len(v) == 2 and all(0 <= x <= 1 for x in v) for v in found.values())
    assert by(measured(weights=[0.0, 0.5])) == found  # the same again, to the last bit
    assert by(measured(weights=[0.5])) == {k: v for k, v in found.items() if k[0] == "w=0.5"}


def test_held_out_classes_are_never_trained_on() -> None:
    """Neither their labels nor, as labelled pictures, their pixels."""
    splits = world()
    episodes = Episodes(3, [1], 4, 5, 3, 2)
    study = Study(episodes, schedule(unlabelled=5), setting(), Rotation, 3)
    seen = []
    for number in range(4):
        novel, told, test = study.draw(splits, number)
        labels = splits["train"].labels[told.pool]
        assert not set(labels) & set(novel)
        assert (labels < 0).sum() == 5
        assert set(splits["train"].labels[told.base.at]) | set(novel) == set(range(CLASSES))
        assert set(splits["test"].labels[test.at]) == set(novel)
        np.testing.assert_array_equal(novel[test.labels], splits["test"].labels[test.at])
        seen.append(tuple(novel))
    assert len(set(seen)) > 1
    every = Study(episodes, schedule(unlabelled=-1), setting(), Rotation, 3).draw(splits, 0)[1]
    assert (splits["train"].labels[every.pool] < 0).sum() == 12


def test_episodes_against_a_reference() -> None:
    """Nearest mean, written out one query at a time."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 9)
    features = rng.normal(size=(36, 5)) + labels[:, None]
    episodes = Episodes(3, [2], 4, 7, 4, 2)
    found = accuracy(features, labels, episodes, 2, "prototypical", 11)
    from modalities.common.measuring.problem import seed_of

    rng = np.random.default_rng(seed_of(11, "episodes", 2))
    right = []
    for _ in range(7):
        ways = rng.choice(4, 3, replace=False)
        picks = [rng.choice(np.flatnonzero(labels == w), 6, replace=False) for w in ways]
        means = [features[p[:2]].mean(0) for p in picks]
        for way, subset in enumerate(picks):
            for i in subset[2:]:
                nearest = min(range(3), key=lambda k: np.linalg.norm(features[i] - means[k]))
                right.append(nearest == way)
    assert found == pytest.approx(np.mean(right))
    perfect = np.eye(4)[labels]
    assert accuracy(perfect, labels, episodes, 2, "prototypical", 11) == 1
    assert accuracy(perfect, labels, episodes, 2, "cosine", 11) == 1


def trainer(weight: float, encoder: Encoder, **other: Any) -> Trainer:
    made = material(world(), pool=12)
    return Trainer(encoder, Rotation, weight, made, schedule(**other), setting())


def fresh() -> Encoder:
    torch.manual_seed(0)
    return build("small", **ENCODER)


def test_the_prototypical_loss_is_snell_s() -> None:
    """Softmax over negative squared distances to the means of the supports."""
    made = trainer(0.0, fresh().train())
    features = torch.randn(18, 16)
    made.learner.supervised.encoder = torch.nn.Identity()  # type: ignore[assignment]
    found = made.learner.supervised({"x": features}).loss
    per = features.view(3, 6, 16)
    means = per[:, :3].mean(1)
    expected = []
    for kind in range(3):
        for query in per[kind, 3:]:
            scores = torch.stack([-(query - mean).square().sum() for mean in means])
            expected.append(-scores.log_softmax(0)[kind])
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-4, atol=1e-4)


def test_the_cosine_head() -> None:
    features, proxies = torch.randn(4, 3), torch.randn(2, 3)
    found = cosine(features, proxies)
    for i, j in ((0, 0), (3, 1)):
        expected = 10 * F.cosine_similarity(features[i], proxies[j], dim=0)
        torch.testing.assert_close(found[i, j], expected)


@pytest.mark.parametrize("head", ["prototypical", "cosine"])
def test_training_lowers_the_supervised_loss(head: Any) -> None:
    encoder = fresh()
    made = trainer(0.0, encoder, head=head, steps=80)

    def loss() -> float:
        return sum(float(made.learner(made.views(step)).loss.detach()) for step in range(8))

    first = loss()
    made.train()
    assert loss() < 0.8 * first


def gradients(weight: float) -> tuple[torch.Tensor, dict[str, list[float]]]:
    """The first step's gradient of the first layer, and which losses were asked for."""
    encoder = fresh()
    made = trainer(weight, encoder, steps=1, learning_rate=0.0)
    asked: dict[str, list[float]] = {"sup": [], "ssl": []}
    parts = {"sup": made.learner.supervised, "ssl": made.learner.auxiliary}
    for name, part in parts.items():
        if part is not None:
            part.register_forward_hook(lambda *_, name=name: asked[name].append(1))
    found: list[torch.Tensor] = []
    first = next(encoder.parameters())
    first.register_post_accumulate_grad_hook(lambda p: found.append(p.grad.clone()))  # type: ignore
    made.train()
    (gradient,) = found
    return gradient, asked


def test_the_loss_is_the_weighted_sum() -> None:
    """grad L = (1 - w) grad L_sup + w grad L_ssl, and a loss of weight 0 is not computed."""
    (sup, first), (ssl, last), (both, mixed) = (gradients(w) for w in (0.0, 1.0, 0.25))
    torch.testing.assert_close(both, 0.75 * sup + 0.25 * ssl, rtol=1e-3, atol=1e-6)
    assert first == {"sup": [1], "ssl": []}
    assert last == {"sup": [], "ssl": [1]}
    assert mixed == {"sup": [1], "ssl": [1]}
    assert ssl.abs().sum() > 0 and not torch.allclose(sup, ssl)


def test_the_pretext_task_sees_the_unlabelled_pool() -> None:
    splits = world()
    seen: set[int] = set()

    class Spy(Rotation):
        def views(self, batch: Any, rng: Randomness) -> Any:
            seen.update(batch["index"].tolist())
            return super().views(batch, rng)

    made = material(splits, pool=12)
    Trainer(fresh(), Spy, 0.5, made, schedule(steps=30), setting()).train()
    assert seen == set(range(24 + 12))


def test_controls_and_starts() -> None:
    chance = by(measured("majority"))
    assert chance == {("majority", k): [pytest.approx(1 / 3)] * 2 for k in (1, 3)}
    assert set(by(measured("random"))) == {("prototypes", 1), ("prototypes", 3)}
    assert set(by(measured("pixels"))) == {("pixels", 1), ("pixels", 3)}
    assert set(by(measured("histogram"))) == {("histogram", 1), ("histogram", 3)}
    assert set(by(measured("scratch", steps=0))) == {("prototypes", 1), ("prototypes", 3)}
    weights = fresh().state_dict()

    def pretrained() -> Encoder:
        copy = build("small", **ENCODER)
        copy.load_state_dict(weights)
        return copy

    task = FewShot(**TINY | {"steps": 0})
    first, again = (by(list(task.run("pretrained", pretrained, world(), Quiet()))) for _ in "ab")
    assert first == again


def test_jigsaw_and_the_cosine_head() -> None:
    found = measured(
        head="cosine", pretext="jigsaw", options={"permutations": 8}, weights=[0.5], unlabelled=-1
    )
    assert set(by(found)) == {("w=0.5", 1), ("w=0.5", 3)}


def test_what_cannot_be_measured_says_why() -> None:
    few = [r for r in measured(splits=world(test=6)) if isinstance(r, Skipped)]
    assert [(r.budget, "the smallest has 6" in r.reason) for r in few] == [(3, True)]
    splits = world()
    none = {n: Labelled(s.items, np.full(len(s.ids), -1), s.ids, s.classes)
            for n, s in splits.items()}  # fmt: skip
    assert {r.reason for r in measured(splits=none) if isinstance(r, Skipped)} == {
        "no labels: nothing to measure"
    }
    many = [r for r in measured(novel=5) if isinstance(r, Skipped)]
    assert "5 held-out classes and two others are needed, found 6" in many[0].reason
    with pytest.raises(UserError, match="way 4 must not exceed novel 3"):
        FewShot(**TINY | {"way": 4})
    with pytest.raises(UserError, match=r"rotation has no option .colours.; it has crop, colour"):
        FewShot(**TINY | {"options": {"colours": 1}})
