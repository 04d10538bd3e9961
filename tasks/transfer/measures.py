"""Rows of a result: intervals over draws, the table of predictions, the picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.transfer.metrics import is_fraction

if TYPE_CHECKING:
    from modalities.base import Labelled
    from modalities.common.measuring.rows import Row


def leading(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a result's first metric, which stands for the others in tables and pictures."""
    return [row for row in rows if row["metric"] == rows[0]["metric"]]


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95 % Student-t interval of the mean over draws, not clipped."""
    from scipy.special import stdtrit  # scipy.stats has it by a nicer name and takes half a second

    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        raise ValueError("an interval needs two draws or more")
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
    half = float(stdtrit(count - 1, 0.975)) * spread / math.sqrt(count)
    return mean, mean - half, mean + half


def row_of(row: "Row") -> dict[str, Any]:
    """A row as metrics.json has it; the interval of a share ends at 0 and 1."""
    mean, low, high = interval(row.values)
    if is_fraction(row.metric):
        low, high = max(0.0, low), min(1.0, high)
    return {
        "learner": row.learner,
        "protocol": row.protocol,
        "budget": row.budget,
        "metric": row.metric,
        "higher_is_better": row.higher_is_better,
        "draws": len(row.values),
        "values": list(row.values),
        "mean": mean,
        "low": low,
        "high": high,
        "chosen": dict(row.chosen),
    }


def write_predictions(path: Path, rows: "Sequence[Row]", test: "Labelled | None") -> None:
    """(id, protocol, budget, draw, prediction, label) of every test item in every row and draw."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    word = pa.dictionary(pa.int32(), pa.string())
    schema = pa.schema(
        [
            ("id", pa.string()), ("protocol", word), ("budget", word), ("draw", pa.int32()),
            ("prediction", word), ("label", word),
        ]
    )  # fmt: skip
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for row in rows if test else []:
            for draw, codes in enumerate(row.predictions):
                writer.write_table(_table(schema, row, draw, codes, test))


def _table(schema: Any, row: "Row", draw: int, codes: Any, test: Any) -> Any:
    import numpy as np
    import pyarrow as pa

    at = np.flatnonzero(codes >= 0)
    classes = pa.array(test.classes, pa.string())

    def coded(values: Any, words: Any) -> Any:
        return pa.DictionaryArray.from_arrays(pa.array(values, pa.int32()), words)

    def same(word: Any) -> Any:
        return coded(np.zeros(len(at), dtype=np.int32), pa.array([str(word)]))

    columns = [
        pa.array([test.ids[i] for i in at], pa.string()), same(row.protocol), same(row.budget),
        pa.array(np.full(len(at), draw), pa.int32()), coded(codes[at], classes),
        coded(np.asarray(test.labels)[at], classes),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=schema)


def draw_picture(path: Path, metrics: dict[str, Any]) -> None:
    """The first metric against budget with intervals, a line per protocol."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = leading(metrics["rows"])
    budgets = list(dict.fromkeys(str(row["budget"]) for row in rows))
    figure, axes = plt.subplots(figsize=(5, 3.2), layout="constrained")
    for protocol in dict.fromkeys(row["protocol"] for row in rows):
        own = [row for row in rows if row["protocol"] == protocol]
        x = [budgets.index(str(row["budget"])) for row in own]
        axes.plot(x, [row["mean"] for row in own], marker="o", label=protocol)
        axes.fill_between(x, [r["low"] for r in own], [r["high"] for r in own], alpha=0.2)
    axes.set_xticks(range(len(budgets)), budgets)
    axes.set(xlabel="labels per class", ylabel=rows[0]["metric"], title=metrics["run"])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
