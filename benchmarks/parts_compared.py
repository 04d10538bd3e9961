"""Starts of part segmentation side by side: the tables and sentences of `benchmarks.parts`."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from benchmarks.grids import page
from tasks.transfer.measures import interval

Reached = Mapping[str, Mapping[int, Sequence[Sequence[float]]]]
# category -> budget -> for each seed of pretraining the mIoU of each draw
Found = Mapping[str, Reached]  # by start


def budgets(found: Found) -> list[int]:
    """Labelled shapes, as measured."""
    first = next(iter(found.values()))
    return list(next(iter(first.values())))


def by_draw(found: Sequence[Sequence[float]]) -> list[float]:
    """Of each draw the mean over whatever else there is."""
    drawn: list[float] = np.mean(found, axis=0).tolist()
    return drawn


def over_all(found: Reached, budget: int) -> list[float]:
    """Of each draw the mean over categories and seeds of pretraining."""
    return by_draw([by_draw(of[budget]) for of in found.values()])


def table(found: Found) -> str:
    """For each budget a row for each start; a column for each category, and their mean."""
    names = list(found[next(iter(found))])
    body = []
    for budget in budgets(found):
        for start in found:
            cells = [by_draw(found[start][name][budget]) for name in names]
            cells.append(over_all(found[start], budget))
            body.append([f"{budget}", start, *(page.number([cell]) for cell in cells)])
    return page.table(["shapes", "", *names, "mean"], body)


def verdict(found: Found) -> str:
    """What the first start is ahead of the others by, draw by draw, at each budget."""
    first, *others = found
    ours = partial(over_all, found[first])
    lines = []
    for budget in budgets(found):
        for start in others:
            theirs = over_all(found[start], budget)
            gain = [a - b for a, b in zip(ours(budget), theirs, strict=True)]
            _, low, high = interval(ours(budget))
            _, least, most = interval(theirs)
            lines.append(
                f"At {budget} shape{'s' * (budget > 1)} {first} is {page.number([gain])} points "
                f"from {start} (difference of each draw), intervals "
                f"{'apart' if low > most or high < least else 'overlapping'}."
            )
    return "\n".join(f"- {line}" for line in lines)


def luck(found: Found, starts: Sequence[str]) -> str:
    """How much seeds of pretraining differ, of the starts that have some."""
    lines = []
    for start in starts:
        each = ((budget, by_seed(found[start], budget)) for budget in budgets(found))
        told = (f"{', '.join(f'{100 * m:.1f}' for m in means)} at {b}" for b, means in each)
        lines.append(f"- Means of the seeds of pretraining, {start}: {'; '.join(told)}.")
    return "\n".join(lines)


def by_seed(found: Reached, budget: int) -> list[float]:
    """Of each seed of pretraining the mean over categories and draws."""
    means: list[float] = np.mean([of[budget] for of in found.values()], axis=(0, 2)).tolist()
    return means
