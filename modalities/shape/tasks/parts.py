"""Few-shot part segmentation: from a few shapes of each category whose points know their part.

Budgets are shapes per category, drawn as in modalities/common/problem.py. The learning rate is
chosen on validation at the first draw of a budget, the number of steps in every draw; test shapes
are predicted once. Two rows each: the instance and the category mean of the mIoU (see miou.py).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, MinLen

from modalities.base import EncoderFactory, Labelled, Row, Skipped, Task, Tell, UserError
from modalities.common.classification import Meter, obstacle
from modalities.common.finetune import Recipe
from modalities.common.problem import Pick, Problem, draw_labels, problem, seed_of
from modalities.shape.joint import Joint
from modalities.shape.miou import Catalogue, means
from modalities.shape.predicted import Example, show_parts
from modalities.shape.segmentation import Segmenter, Setting, Trial, examples, fit, predict, scored
from modalities.shape.views import Change

METRICS = ("miou_category", "miou_instance")
SHOWN = 6  # test shapes in a picture, at least one of each category


class Parts(Task):
    """Fine-tuning, and a head on frozen features, at every budget.

    Starts: a pretrained encoder; `scratch`, whose steps are `scratch_factor` times as many;
    `random`, frozen only; `joint`: from random weights, each step followed by one of the convexity
    loss on all training shapes, `joint_weight` times as heavy (the paper's lambda). `turn`: how
    shapes are turned while training, for all starts alike. `per_category`: a network for each
    category, which sees no shape of another (ten chairs are all it has), in place of one for all.
    """

    def __init__(  # noqa: PLR0913
        self,
        *,
        budgets: Annotated[list[Annotated[int, Gt(0)] | Literal["all"]], MinLen(1)] = [1, 5, 10],  # noqa: B006
        draws: Annotated[int, Ge(2)] = 4,
        protocols: Annotated[list[Literal["finetune", "frozen"]], MinLen(1)] = [  # noqa: B006
            "finetune", "frozen",
        ],
        learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [0.001, 0.003],  # noqa: B006
        scratch_learning_rates: Annotated[list[Annotated[float, Gt(0)]], MinLen(1)] = [  # noqa: B006
            0.003, 0.01,
        ],
        scratch_factor: Annotated[float, Ge(1)] = 1.5,
        joint_weight: Annotated[float, Gt(0)] = 10.0,
        points: Annotated[int, Gt(1)] = 512,
        turn: Literal["none", "vertical", "any"] = "none",
        per_category: bool = False,
        epochs: Annotated[int, Gt(0)] = 60,
        min_steps: Annotated[int, Gt(0)] = 40,
        max_steps: Annotated[int, Gt(0)] = 120,
        batch_size: Annotated[int, Gt(1)] = 16,
        weight_decay: Annotated[float, Ge(0)] = 0.0001,
        evaluations: Annotated[int, Gt(0)] = 4,
        patience: Annotated[int, Gt(0)] = 3,
        encoder: str = "small",
        encoder_options: dict[str, bool | int | float | str | list[int]] = {},  # noqa: B006
    ) -> None:  # fmt: skip
        self.budgets, self.draws, self.protocols = budgets, draws, protocols
        self.rates = {"scratch": scratch_learning_rates, "pretrained": learning_rates}
        self.factor, self.points, self.weight = scratch_factor, points, joint_weight
        self.per_category = per_category
        self.change = Change(scale=0.2, shift=0.1, turn=turn)
        self.steps = {"epochs": epochs, "min_steps": min_steps, "max_steps": max_steps}
        self.fixed: dict[str, Any] = {
            "batch_size": batch_size, "weight_decay": weight_decay, "smoothing": 0.0,
            "evaluations": evaluations, "patience": patience,
        }  # fmt: skip
        self.encoder, self.encoder_options = encoder, encoder_options
        self.examples: dict[str, list[Example]] = {}  # by protocol

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
        setting = self._setting(start, parts, precision)
        if start == "joint":
            setting = replace(setting, joint=self._joint(splits["train"]))
        wanted = [p for p in self.protocols if not (start == "random" and p == "finetune")]
        wanted = ["finetune"] if start in ("scratch", "joint") else wanted
        meter = Meter(tell, float(self.draws * len(possible) * len(wanted)))
        for protocol in wanted:
            for budget in possible:
                make = encoder or self._fresh
                runs = Runs(make, whole, setting, self._groups(whole), protocol == "frozen")
                for draw in range(self.draws):
                    meter.text = f"{protocol}, {budget} shapes each, draw {draw + 1}"
                    runs.draw(budget, draw, seed)
                    meter.add(1)
                yield from runs.rows(protocol, budget)
                self.examples[protocol] = runs.examples  # the last budget's stay

    def show(self, folder: Path) -> None:
        """A test shape of each category, its true and predicted parts: last budget, first draw."""
        shown = self.examples.get("finetune") or self.examples.get("frozen")
        if shown:
            show_parts(shown, folder)

    def _groups(self, whole: Problem) -> list[list[int]]:
        """The categories that share a network."""
        every = list(range(len(whole.known)))
        return [[code] for code in every] if self.per_category else [every]

    def _fresh(self) -> Any:
        from modalities.shape.encoder import build

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
            train.items, train.free, self.weight, int(self.fixed["batch_size"]),
            lambda encoder: Convexity(encoder, points=self.points, **change),
        )  # fmt: skip

    def _rates(self, start: str) -> list[float]:
        return self.rates["pretrained" if start == "pretrained" else "scratch"]

    def _setting(self, start: str, parts: Catalogue, precision: str) -> Setting:
        factor = self.factor if start in ("scratch", "joint") else 1.0
        steps = {name: round(each * factor) for name, each in self.steps.items()}
        recipe = Recipe(learning_rates=self._rates(start), **steps, **self.fixed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Setting(recipe, parts, self.points, self.change, precision, device)


class Runs:
    """The trainings of one protocol at one budget, draw by draw, a network for each group."""

    def __init__(
        self, make: EncoderFactory, whole: Problem, setting: Setting, groups: list[list[int]],
        frozen: bool,
    ) -> None:  # fmt: skip
        self.make, self.whole, self.setting = make, whole, setting
        self.groups, self.frozen = groups, frozen
        self.rates = [list(setting.recipe.learning_rates) for _ in groups]
        self.values: list[tuple[float, float]] = []
        self.chosen: list[tuple[float, Trial]] = []
        self.examples: list[Example] = []  # of the first draw

    def draw(self, budget: int | str, draw: int, seed: int) -> None:
        """Train on one draw's shapes and look at the test shapes once."""
        whole = self.whole
        train = whole.train.part(draw_labels(whole.train, whole.ids, budget, seed, draw))
        own, test = seed_of(seed, budget, draw), whole.test
        parts = self.setting.catalogue
        found = np.zeros(len(test))
        for number, group in enumerate(self.groups):
            model = self._trained(number, _of(train, group), _of(whole.val, group), own)
            theirs = _of(test, group)
            seen = list(predict(model, theirs, self.setting))
            found[np.isin(test.labels, group)] = scored(seen, theirs, parts)
            if draw == 0:
                each = max(1, SHOWN // len(self.groups) // len(group))
                self.examples += examples(seen, theirs, parts, each)
        instance, category = means(found, test.labels)
        self.values.append((category, instance))

    def _trained(self, number: int, train: Pick, val: Pick, seed: int) -> Segmenter:
        """The network of a group; its rate is the best one on validation, at the first draw."""
        found = [
            (rate, fit(self._model(seed), train, val, self.setting, rate, seed))
            for rate in self.rates[number]
        ]
        best = found[len(found) // 2] if found[0][1].score is None else found[0]
        for each in found:
            best = each if each[1].score is not None and each[1].above(best[1]) else best
        self.rates[number] = [best[0]]
        self.chosen.append(best)
        model = self._model(seed)
        model.load_state_dict(best[1].weights)
        return model

    def _model(self, seed: int) -> Segmenter:
        torch.manual_seed(seed_of(seed, "weights"))
        encoder: Any = self.make()
        model = Segmenter(encoder, self.setting.catalogue, frozen=self.frozen)
        return model.to(self.setting.device)

    def rows(self, protocol: str, budget: int | str) -> Iterator[Row]:
        known = [trial.score for _, trial in self.chosen if trial.score is not None]
        chosen = {
            "val": float(np.mean(known)) if known else None,
            "learning_rate": [rate for rate, _ in self.chosen],
            "steps": [trial.step for _, trial in self.chosen],
        }
        for at, metric in enumerate(METRICS):
            values = [pair[at] for pair in self.values]
            yield Row("supervised", protocol, budget, metric, values, chosen=chosen)


def _of(pick: Pick, categories: list[int]) -> Pick:
    return pick.part(np.flatnonzero(np.isin(pick.labels, categories)))


def with_parts(whole: Problem) -> Problem:
    """The problem without shapes none of whose points knows its part."""

    def cut(pick: Pick) -> Pick:
        known = [bool((np.asarray(pick.items[at])[:, 6] >= 0).any()) for at in pick.at]
        return pick.part(np.flatnonzero(np.array(known, bool)))

    return Problem(
        cut(whole.train), cut(whole.val), cut(whole.test), whole.ids, whole.known, whole.left_out
    )


def catalogue(whole: Problem) -> Catalogue:
    """The parts that each category's shapes have, of all splits: what the data set is, as
    ShapeNetPart's table of 50 parts is for it."""
    found: list[set[int]] = [set() for _ in whole.known]
    for pick in (whole.train, whole.val, whole.test):
        for at, code in zip(pick.at, pick.labels, strict=True):
            parts = np.unique(np.asarray(pick.items[at])[:, 6].astype(np.int64))
            found[code] |= set(parts[parts >= 0].tolist())
    return Catalogue(tuple(tuple(sorted(each)) for each in found))


def _few(whole: Problem, parts: Catalogue) -> str | None:
    if len(np.unique(whole.train.labels)) < len(whole.known):
        return "a category has no training shape with parts"
    if all(len(own) == 1 for own in parts.parts):
        return "one part only: nothing to tell apart"
    return None
