"""`glean run` and `glean status` in a checkout where everything is up to date.

python -m benchmarks.speed.commands
"""

import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import world

ROUNDS = 3


def small(params: Any) -> None:
    """A pipeline of the default's form that takes seconds."""
    image = params["playroom"]["image"]
    image.update({"labelled": 8, "unlabelled": 8, "val": 4, "test": 4, "size": 32})
    for run in params["image"]["runs"].values():
        run["epochs"] = 1
    params["image"]["controls"] = ["random", "majority"]
    params["image"]["tasks"]["classification"].update({"budgets": [1, 5], "draws": 3})
    few = {"labelled": 5, "unlabelled": 1, "val": 1, "test": 1, "points": 256}
    params["playroom"]["shape"].update(few)
    for run in params["shape"]["runs"].values():
        run.update({"epochs": 1, "batch_size": 4})
    params["shape"]["tasks"]["parts"].update({"budgets": [1, 5], "draws": 2, "max_steps": 40})


def timed(folder: Path, *arguments: str) -> float:
    started = time.perf_counter()
    world.glean(folder, *arguments)
    return time.perf_counter() - started


def main(rounds: int = ROUNDS) -> str:
    """The table, in Markdown."""
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-") as name:
        folder = world.checkout(Path(name) / "checkout")
        world.edit(folder, small)
        world.glean(folder, "run")
        found: dict[str, list[float]] = {"run": [], "status": []}
        for _ in range(rounds):
            for command, times in found.items():
                times.append(timed(folder, command))
    lines = ["| command, all up to date | seconds (aim: below 2) |", "|---|---:|"]
    lines += [f"| glean {command} | {median(times):.1f} |" for command, times in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
