"""What sections of docs/RESULTS.md are made of: tables, figures, and which orderings hold."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from benchmarks.grids.cells import Rows, pretrained
from benchmarks.grids.plans import Line
from benchmarks.world import ROOT

TARGET = ROOT / "docs" / "RESULTS.md"
FIGURES = ROOT / "docs" / "figures"
PROTOCOLS = {"linear": "linear", "knn": "k-NN", "finetune": "fine-tuned"}


def values(rows: Iterable[Rows], protocol: str, budget: int) -> list[list[float]]:
    """By pretraining seed, what each label draw gave."""
    return [
        list(row["values"])
        for seed in rows
        for row in seed
        if (row["protocol"], row["budget"]) == (protocol, budget)
    ]


def metric(rows: Iterable[Rows], name: str) -> list[list[float]]:
    """The same of the only protocol and budget that there are, by the metric's name."""
    return [list(row["values"]) for seed in rows for row in seed if row["metric"] == name]


def number(found: Sequence[Sequence[float]]) -> str:
    """Mean over all and 95 % interval over label draws; over seeds where there are several."""
    from tasks.transfer.measures import interval

    if not found:
        return ""
    several = [math.fsum(each) / len(each) for each in found]
    mean, low, _ = interval(several if len(found) > 1 else found[0])
    return f"{100 * mean:.1f} ± {100 * (mean - low):.1f}"


def mean(found: Sequence[Sequence[float]]) -> float:
    flat = [value for each in found for value in each]
    return math.fsum(flat) / len(flat)


def table(head: Sequence[Any], body: Sequence[Sequence[str]]) -> str:
    lines = [[str(h) for h in head], ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def simple(lines: Sequence[Line], protocols: Sequence[str] = ("linear", "knn")) -> str:
    """A row for each line, a column for each protocol and budget, and what pretraining cost."""
    budgets = (5, 50)
    head = ["", *(f"{PROTOCOLS[p]}, {b} per class" for p in protocols for b in budgets), "CPU s"]
    body = []
    for line in lines:
        cells = [number(values(line.rows(), p, b)) for p in protocols for b in budgets]
        body.append([line.name, *cells, cost(line)])
    return table(head, body)


def cost(line: Line) -> str:
    """CPU seconds of pretraining, the mean over seeds that were never interrupted."""
    spent = [pretrained(c)["cpu_seconds"] for c in line.cells if not c.control]
    spent = [each for each in spent if each is not None]  # None: it was stopped and went on
    return f"{math.fsum(spent) / len(spent):.0f}" if spent else ""


def best(rows: Sequence[Rows], budget: int) -> tuple[str, list[list[float]]]:
    """The protocol that validation prefers, by the mean over seeds, and its values."""
    scores: dict[str, list[float]] = {}
    for seed in rows:
        for row in seed:
            if row["budget"] == budget:
                scores.setdefault(row["protocol"], []).append(row["chosen"].get("val") or 0.0)
    chosen = max(scores, key=lambda p: math.fsum(scores[p]) / len(scores[p]))
    return chosen, values(rows, chosen, budget)


def spread(rows: Sequence[Rows], budget: int, protocol: str = "linear") -> str:
    """The mean over label draws of each pretraining seed."""
    found = values(rows, protocol, budget)
    return ", ".join(f"{100 * math.fsum(v) / len(v):.1f}" for v in found)


def claims(found: Mapping[str, float], told: Sequence[tuple[str, str, str]]) -> str:
    """(text, higher, lower): whether each ordering holds in `found`, with both numbers."""
    lines = []
    for text, higher, lower in told:
        if missing := [name for name in (higher, lower) if name not in found]:
            lines.append(f"- {text}: not run yet ({', '.join(missing)}).")
            continue
        one, other = found[higher], found[lower]
        word = "holds" if one > other else "does not hold"
        lines.append(f"- {text}: **{word}** ({100 * one:.1f} against {100 * other:.1f}).")
    return "\n".join(lines)


class Bar(Protocol):
    """What a bar is drawn of: pretrained, or a control."""

    @property
    def name(self) -> str: ...

    @property
    def learnt(self) -> bool: ...

    def rows(self) -> Sequence[Rows]: ...


def bars(name: str, lines: Sequence[Bar], budgets: Sequence[int] = (5, 50)) -> str:
    """A figure of the protocols that validation prefers; the Markdown that shows it."""
    plt = plot()
    figure, axes = plt.subplots(
        1, len(budgets), figsize=(4.2 * len(budgets), 0.3 * len(lines) + 1), sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axis, budget in zip(axes, budgets, strict=True):
        for at, line in enumerate(lines):
            _, found = best(line.rows(), budget)
            flat = [100 * value for each in found for value in each]
            axis.barh(at, math.fsum(flat) / len(flat), color="C0" if line.learnt else "0.7")
            axis.plot(flat, [at] * len(flat), "k.", markersize=3)
        axis.set(title=f"{budget} labels per class", xlabel="accuracy, %")
    axes[0].set_yticks(range(len(lines)), [line.name for line in lines])
    axes[0].invert_yaxis()
    return save(figure, name)


def matrix(name: str, names: Sequence[str], found: Mapping[str, float], title: str) -> str:
    """A symmetric matrix as a picture: one alone on the diagonal, pairs beside it."""
    plt = plot()
    figure, axis = plt.subplots(figsize=(3.6, 3.2), layout="constrained")
    cells = [
        [100 * found.get(" + ".join(dict.fromkeys(sorted((a, b), key=list(names).index))), 0.0)
         for b in names] for a in names
    ]  # fmt: skip
    shown = axis.imshow(cells, cmap="viridis")
    for i, row in enumerate(cells):
        for j, value in enumerate(row):
            axis.text(j, i, f"{value:.1f}", ha="center", va="center", color="w")
    axis.set_xticks(range(len(names)), names)
    axis.set_yticks(range(len(names)), names)
    axis.set_title(title, fontsize=9)
    figure.colorbar(shown)
    return save(figure, name)


def plot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    return plt


def save(figure: Any, name: str) -> str:
    FIGURES.mkdir(exist_ok=True)
    path = FIGURES / f"{name}.png"
    figure.savefig(path, dpi=100, metadata={"Software": ""})
    plot().close(figure)
    return f"![{name}]({path.relative_to(TARGET.parent).as_posix()})"
