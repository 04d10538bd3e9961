"""The engine under every training, early stopping, and learners, which it trains like anything."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from modalities.base import Batch, Objective, Progress, Randomness, Step
from modalities.common.learners.auxiliary import Auxiliary
from modalities.common.learners.contract import joined, of_stream
from modalities.common.learners.few_shot_training import FewShotLabels
from modalities.common.steps.engine import Engine
from modalities.common.steps.optim import SGD, AdamW
from modalities.common.steps.stopping import EarlyStopping, Trial
from modalities.image.objectives.rotation import Rotation
from tests.modalities.common.test_few_shot import fresh, schedule, setting, world


class Line(Objective):
    """A loss whose gradient is its slope."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.heard: list[Progress] = []

    def forward(self, batch: Batch) -> Step:
        return Step((self.weight * batch["slope"]).sum())

    def after_step(self, progress: Progress) -> None:
        self.heard.append(progress)


def slopes(*values: float) -> list[Batch]:
    return [{"slope": torch.tensor([value])} for value in values]


def test_a_step_is_gradient_clip_rate_update() -> None:
    line = Line()
    engine = Engine(
        line, SGD([line.weight], 9.0, 0.0), 4, lambda step, steps: step / steps,
        device="cpu", clip=2.0,
    )  # fmt: skip
    seen: list[tuple[int, float]] = []

    def stop(step: int) -> bool:
        line.eval()  # as whoever looks at it does
        seen.append((step, float(line.weight.detach())))
        return step == 3

    engine.train((slopes(1.0, 5.0), slopes(1.0), slopes(-1.0, -0.5), slopes(7.0)), stop)
    assert [step for step, _ in seen] == [1, 2, 3], "stopped before the fourth"
    # gradients 2 (6, clipped), 1, -1.5; momentum .9; rates 0, 1/4, 2/4
    expected = [0.0, -0.25 * 2.8, -0.25 * 2.8 - 0.5 * (0.9 * 2.8 - 1.5)]
    assert [value for _, value in seen] == pytest.approx(expected, abs=1e-5)
    assert line.heard == [Progress(step, 4) for step in (1, 2, 3)]
    assert line.weight.grad is None and not line.training


def test_a_look_does_not_end_training_mode() -> None:
    modes: list[bool] = []

    class Watched(Line):
        def forward(self, batch: Batch) -> Step:
            modes.append(self.training)
            return super().forward(batch)

    line = Watched().eval()
    engine = Engine(line, SGD([line.weight], 1.0, 0.0), 3, lambda *_: 1.0, device="cpu")
    engine.train((slopes(1.0) for _ in range(3)), lambda _: bool(line.eval().training))
    assert modes == [True] * 3


def stopping(scores: list[float | None], ties: list[float] | None = None) -> tuple[int, int]:
    """(the best step, the last step) of ten looks over twenty steps, patience 3."""
    at = iter(range(10))

    def look(step: int) -> Trial:
        number = next(at)
        return Trial({}, scores[number], step, tie=ties[number] if ties else 0.0)

    made = EarlyStopping(
        look, Trial({}, None if scores[0] is None else -1.0, 0), steps=20, looks=10, patience=3
    )
    last = next((step for step in range(1, 21) if made(step)), 20)
    return made.best.step, last


def test_the_best_checkpoint_is_kept_and_patience_ends() -> None:
    assert stopping([0.1, 0.5, 0.2, 0.4, 0.6, 0.1, 0.1, 0.1, 0.9, 0.9]) == (10, 16)
    assert stopping([0.5] * 10) == (2, 8), "an equal one is no better"
    assert stopping([0.5] * 10, [0, 1, 2, 2, 2, 2, 3, 4, 5, 6]) == (6, 12), "but for its tie"
    assert stopping([None] * 10) == (20, 20), "without validation: to the end"


def same(model: nn.Module, other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


def learner(weight: float = 0.3) -> Auxiliary:
    encoder = fresh()
    torch.manual_seed(1)
    sup = FewShotLabels(encoder, 3, schedule(head="cosine"), setting())
    return Auxiliary(sup, Rotation(encoder), (1 - weight, weight), {"labelled": 8, "unlabelled": 8})


def raw() -> dict[str, Batch]:
    """A batch of each stream."""
    items = torch.from_numpy(world()["train"].items.array)
    return {"labelled": {"items": items[:8], "label": torch.arange(8) % 3},
            "unlabelled": {"items": items[40:48], "index": torch.arange(8)}}  # fmt: skip


def views(made: Auxiliary, positions: Any = None, seed: int = 0) -> Batch:
    """Of both streams, whose items lie one after the other in a global batch of sixteen."""
    rows = torch.arange(16) if positions is None else positions
    found = {}
    for number, (name, batch) in enumerate(raw().items()):
        own = rows[(rows >= 8 * number) & (rows < 8 * number + 8)]
        generator = torch.Generator().manual_seed(seed)
        mine = {key: x[own - 8 * number] for key, x in batch.items()}
        found[name] = made.views(mine, Randomness(generator, total=16, positions=own))
    return joined(found)


def test_processes_that_share_two_streams_see_what_one_sees() -> None:
    made = learner()
    whole = views(made)
    halves = [views(made, torch.cat([torch.arange(at, at + 4), torch.arange(8 + at, 12 + at)]))
              for at in (0, 4)]  # fmt: skip
    name = "labelled.x"
    assert torch.equal(whole[name], torch.cat([half[name] for half in halves]))
    assert set(whole) > {"labelled.x", "labelled.label"}
    for key in (k for k, v in whole.items() if v.is_floating_point()):
        one = whole[key].flatten(1).double().sum(1).sort()[0]
        two = torch.cat([half[key] for half in halves]).flatten(1).double().sum(1).sort()[0]
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-6)


def test_a_learner_s_loss_is_the_sum_over_its_streams() -> None:
    made = learner().eval()
    both = views(made)
    parts = [joined({name: of_stream(both, name)}) for name in made.streams]
    total = made(both).loss
    torch.testing.assert_close(total, made(parts[0]).loss + made(parts[1]).loss)
    sup, ssl = made.supervised, made.auxiliary
    assert ssl is not None
    expected = 0.7 * sup(of_stream(both, "labelled")).loss
    torch.testing.assert_close(total, expected + 0.3 * ssl(of_stream(both, "unlabelled")).loss)
    assert list(learner(0.0).streams) == ["labelled"]
    assert list(learner(1.0).streams) == ["unlabelled"]


def test_a_learner_goes_on_as_if_nothing_had_happened() -> None:
    """Its state and the optimiser's are all that a step depends on, as with any objective."""

    def engine() -> Engine:
        made = learner()
        return Engine(made, AdamW(made.parameters(), 0.01, 0.1), 6, lambda *_: 0.01, device="cpu")

    through, before, after = engine(), engine(), engine()
    through.train([views(learner(), seed=step)] for step in range(6))
    before.train([views(learner(), seed=step)] for step in range(3))
    after.objective.load_state_dict(before.objective.state_dict())
    after.optimizer.load_state_dict(before.optimizer.state_dict())
    after.train([views(learner(), seed=step)] for step in range(3, 6))
    assert same(after.objective, through.objective.state_dict())
    assert not same(before.objective, through.objective.state_dict())


def test_the_columns_that_a_learner_needs_tell_the_labelled_stream() -> None:
    made = learner()
    assert made.labelled(raw()["labelled"])
    assert not made.labelled(raw()["unlabelled"])
