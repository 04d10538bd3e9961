"""Few-shot part segmentation: from a few shapes of each category whose points know their part.

Budgets are shapes per category, drawn as in common/measuring/problem.py. The learning rate is
chosen on validation at the first draw of a budget, the number of steps in every draw; test shapes
are predicted once. Two rows each: the instance and the category mean of the mIoU (see miou.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Gt, MinLen

from modalities.base import Labelled, Tell, UserError
from modalities.common.measuring.classification import Meter, obstacle
from modalities.common.measuring.label_budget import LabelBudgetTask
from modalities.common.measuring.problem import Problem, Subset, problem
from modalities.common.measuring.rows import EncoderFactory, Row, Skipped
from modalities.shape.measuring.joint import Joint
from modalities.shape.measuring.miou import Catalogue
from modalities.shape.measuring.part_runs import Runs
from modalities.shape.measuring.predicted import Example, show_parts
from modalities.shape.measuring.segmentation import Setting
from modalities.shape.network.views import Change


class Parts(LabelBudgetTask):
    """Fine-tuning, with and without the convexity loss, and a head on frozen features.

    Protocols of a pretrained encoder: `finetune`, `frozen`, and `joint`: fine-tuning with the
    convexity loss on all training shapes beside it, `joint_weight` times as heavy (the paper's
    lambda) and in batches of `joint_batch_size`, on the free labels that the run learned from.
    Controls: `scratch`, whose steps are `scratch_factor` times as many; `random`, frozen only;
    `joint`, as the protocol but from random weights. `turn`: how shapes are turned while training,
    for all starts alike. `per_category`: a network for each category, which sees no shape of
    another (ten chairs are all it has), in place of one for all.
    """

    budgets = [1, 5, 10]
    draws = 4
    protocols: Annotated[list[Literal["finetune", "frozen", "joint"]], MinLen(1)] = [
        "finetune", "frozen",
    ]  # fmt: skip
    scratch_factor = 1.5
    joint_weight: Annotated[float, Gt(0)] = 10.0
    joint_batch_size: Annotated[int, Gt(0)] = 16
    points: Annotated[int, Gt(1)] = 512
    turn: Literal["none", "vertical", "any"] = "none"
    per_category: bool = False
    weight_decay = 0.0001

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.change = Change(scale=0.2, shift=0.1, turn=self.turn)
        self.examples: dict[str, list[Example]] = {}  # by protocol, of the last budget
        self.reached: dict[str, float | None] = {}  # likewise, on validation

    def run(
        self, start: str, encoder: EncoderFactory | None, splits: Mapping[str, Labelled],
        tell: Tell, *, seed: int = 0, precision: str = "fp32",
    ) -> Iterator[Row | Skipped]:  # fmt: skip
        whole = with_parts(problem(splits))
        parts = catalogue(whole)
        possible = []
        for budget in dict.fromkeys(self.budgets):
            if reason := obstacle(whole, budget, classes=1) or _few(whole, parts):
                yield Skipped(budget, reason)
            else:
                possible.append(budget)
        if not possible:
            return
        train, wanted = splits["train"], self._wanted(start)
        if start == "pretrained" and "joint" in wanted and train.free is None:
            wanted.remove("joint")
            yield from (Skipped(each, "joint: the run has no free labels") for each in possible)
        plain = self._setting(start, parts, precision)
        meter = Meter(tell, float(self.draws * len(possible) * len(wanted)))
        for protocol in wanted:
            beside = self._joint(train) if "joint" in (start, protocol) else None
            setting = replace(plain, joint=beside)
            for budget in possible:
                make = encoder or self._fresh
                runs = Runs(make, whole, setting, self._groups(whole), protocol == "frozen")
                for draw in range(self.draws):
                    meter.text = f"{protocol}, {budget} shapes each, draw {draw + 1}"
                    runs.draw(budget, draw, seed)
                    meter.add(1)
                yield from runs.rows(protocol, budget)
                self.examples[protocol], self.reached[protocol] = runs.examples, runs.reached()

    def _wanted(self, start: str) -> list[str]:
        """The protocols that make sense for a start."""
        if start in ("scratch", "joint"):
            return ["finetune"]
        return [each for each in self.protocols if start != "random" or each == "frozen"]

    def show(self, folder: Path) -> None:
        """A test shape of each category, its true and predicted parts: last budget, first draw, by
        the protocol that validation prefers, `finetune` where there is none."""
        kept = [each for each in ("finetune", "joint", "frozen") if each in self.examples]
        if kept:
            best = max(kept, key=lambda each: self.reached[each] or 0.0)  # the first of equals
            show_parts(self.examples[best], folder)

    def _groups(self, whole: Problem) -> list[list[int]]:
        """The categories that share a network."""
        every = list(range(len(whole.known)))
        return [[code] for code in every] if self.per_category else [every]

    def _fresh(self) -> Any:
        from modalities.shape.network.encoder import build

        return build(self.encoder, **self.encoder_options)

    def _joint(self, train: Labelled) -> Joint:
        """All of the train split with its pieces: labels play no role there."""
        from modalities.shape.objectives.convexity import Convexity

        if train.free is None:
            raise UserError("parts: the start `joint` needs free labels for the training items")
        change: dict[str, Any] = {
            "scale": self.change.scale,
            "shift": self.change.shift,
            "turn": self.change.turn,
        }
        return Joint(
            train.items, train.free, self.joint_weight, self.joint_batch_size,
            lambda encoder: Convexity(encoder, points=self.points, **change),
        )  # fmt: skip

    def _setting(self, start: str, parts: Catalogue, precision: str) -> Setting:
        pretrained = start == "pretrained"
        rates = self.learning_rates if pretrained else self.scratch_learning_rates
        factor = self.scratch_factor if start in ("scratch", "joint") else 1.0
        recipe = self.recipe(rates, factor, smoothing=0.0)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Setting(recipe, parts, self.points, self.change, precision, device)


def with_parts(whole: Problem) -> Problem:
    """The problem without shapes none of whose points knows its part."""

    def cut(subset: Subset) -> Subset:
        known = [bool((item[:, 6] >= 0).any()) for item in subset.each()]
        return subset.part(np.flatnonzero(np.array(known, bool)))

    return Problem(
        cut(whole.train), cut(whole.val), cut(whole.test), whole.ids, whole.known, whole.left_out
    )


def catalogue(whole: Problem) -> Catalogue:
    """The parts that each category's shapes have, of all splits: what the data set is, as
    ShapeNetPart's table of 50 parts is for it."""
    found: list[set[int]] = [set() for _ in whole.known]
    for subset in (whole.train, whole.val, whole.test):
        for item, code in zip(subset.each(), subset.labels, strict=True):
            parts = np.unique(item[:, 6].astype(np.int64))
            found[code] |= set(parts[parts >= 0].tolist())
    return Catalogue(tuple(tuple(sorted(each)) for each in found))


def _few(whole: Problem, parts: Catalogue) -> str | None:
    if len(np.unique(whole.train.labels)) < len(whole.known):
        return "a category has no training shape with parts"
    if all(len(own) == 1 for own in parts.parts):
        return "one part only: nothing to tell apart"
    return None
