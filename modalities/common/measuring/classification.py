"""How classification with few labels is measured; the same for every modality and every start.

- Labels: `budget` per class or "all", in several draws; a draw's smaller budgets are parts of its
  larger ones. Items of val and test are never drawn: they are splits of their own.
- Choosing: hyper-parameters and steps by accuracy on the val split, which is larger than the
  smallest budgets and the same for every row, random weights and controls included, so that rows
  can be compared; what a row owes to it is the same for all. `chosen["val"]` is the score there,
  by which protocols may be compared before anybody looks at test.
- Test: predicted once by the model that was chosen, in each draw. Fitting never sees it.
- With all labels, methods without randomness give the same in every draw: computed once, repeated.

Shapes: N items of a split, m of them picked.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modalities.base import Labelled, Tell
from modalities.common.measuring.problem import (
    FewLabels,
    Fitted,
    Method,
    Problem,
    accuracy,
    draw_labels,
    problem,
    seed_of,
)
from modalities.common.measuring.rows import Row, Skipped

Budget = int | str


@dataclass
class Meter:
    """Turns the cost of what was done into progress."""

    tell: Tell
    total: float
    done: float = 0.0
    text: str = ""

    def add(self, cost: float) -> None:
        self.done += cost
        self.tell.progress(min(1.0, self.done / max(self.total, 1e-9)), self.text)


@dataclass
class BudgetResult:
    """What one method reached at one budget, draw by draw."""

    values: list[float] = field(default_factory=list)
    predictions: list[np.ndarray] = field(default_factory=list)
    fitted: list[Fitted] = field(default_factory=list)

    def add(self, fitted: Fitted, predicted: np.ndarray, labels: np.ndarray) -> None:
        self.fitted.append(fitted)
        self.predictions.append(predicted)
        self.values.append(accuracy(predicted, labels))

    def again(self) -> None:
        """The draw before, once more."""
        self.fitted.append(self.fitted[-1])
        self.predictions.append(self.predictions[-1])
        self.values.append(self.values[-1])

    def chosen(self) -> dict[str, Any]:
        """Mean validation score; what was chosen, one value per draw."""
        scores = [f.score for f in self.fitted if f.score is not None]
        names = self.fitted[0].chosen
        listed = {name: [f.chosen[name] for f in self.fitted] for name in names}
        return {"val": float(np.mean(scores)) if scores else None, **listed}


def measure(
    methods: Callable[[Problem], Mapping[str, Method]],
    splits: Mapping[str, Labelled],
    budgets: Sequence[Budget],
    draws: int,
    seed: int,
    tell: Tell,
) -> Iterator[Row | Skipped]:
    """Every method at every budget in every draw. `methods` are made for the problem at hand."""
    whole = problem(splits)
    possible = []
    for budget in dict.fromkeys(budgets):
        reason = obstacle(whole, budget)
        if reason:
            yield Skipped(budget, reason)
        else:
            possible.append(budget)
    for name, count in whole.left_out.items():
        if count and possible:
            tell.warn(
                f"{count} {name} items are left out: no labelled training item of their class"
            )
    if possible and not len(whole.val):
        tell.warn("no labelled validation items: nothing can be chosen, middle values are used")
    if not possible:
        return
    made = methods(whole)
    meter = Meter(tell, cost(whole, made, possible, draws))
    cells = fill(whole, made, possible, draws, seed, meter)
    for (name, budget), cell in cells.items():
        codes = [_codes(whole, each, len(splits["test"].ids)) for each in cell.predictions]
        yield Row(
            "supervised", name, budget, "accuracy", cell.values,
            chosen=cell.chosen(), predictions=codes,
        )  # fmt: skip


def obstacle(whole: Problem, budget: Budget, *, classes: int = 2) -> str | None:
    """Why this budget cannot be measured, if it cannot; it takes `classes` or more."""
    if not len(whole.train):
        return "no labels: nothing to measure"
    if len(whole.known) < classes:
        return "one class only: nothing to tell apart"
    if not len(whole.test):
        return "no labelled test items: nothing to measure on"
    smallest = int(np.bincount(whole.train.labels).min())
    if budget != "all" and int(budget) > smallest:
        return f"the smallest class has {smallest} labelled training items"
    return None


def fill(
    whole: Problem, methods: Mapping[str, Method], budgets: Sequence[Budget], draws: int,
    seed: int, meter: Meter,
) -> dict[tuple[str, Budget], BudgetResult]:  # fmt: skip
    """What every method reached at every budget; draw by draw, as features are kept for one."""
    cells = {(name, budget): BudgetResult() for name in methods for budget in budgets}
    for draw in range(draws):
        for budget in budgets:
            train = whole.train.part(draw_labels(whole.train, whole.ids, budget, seed, draw))
            own = seed_of(seed, budget, draw)
            few = FewLabels(train, whole.val, len(whole.known), budget, draw, own)
            amount = "all labels" if budget == "all" else f"{budget} per class"
            for name, method in methods.items():
                meter.text = f"draw {draw + 1} of {draws}, {amount}, {name}"
                if draw and budget == "all" and method.repeats:
                    cells[name, budget].again()
                    continue
                fitted = method.fit(few, meter.add)
                cells[name, budget].add(fitted, fitted.predict(whole.test), whole.test.labels)
    return cells


def _codes(whole: Problem, predicted: np.ndarray, tests: int) -> np.ndarray:
    """Predictions as codes of the data set, (N_test,) int64; -1: an item that was left out."""
    codes = np.full(tests, -1, dtype=np.int64)
    codes[whole.test.at] = whole.known[predicted]
    return codes


def cost(
    whole: Problem, methods: Mapping[str, Method], budgets: Sequence[Budget], draws: int
) -> float:
    """The cost of all that `fill` will do."""
    total = 0.0
    for budget in budgets:
        items = len(whole.train) if budget == "all" else int(budget) * len(whole.known)
        for method in methods.values():
            times = 1 if budget == "all" and method.repeats else draws
            total += method.cost(items) * (times + method.tries - 1)
    return total
