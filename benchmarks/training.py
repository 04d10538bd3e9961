"""Training speed: our loop against the bare step and against lightly; which settings pay.

    python -m benchmarks.training

Every number is a ratio of measurements made in turn, A B C A B C, so that a machine whose speed
drifts does not decide; the median of the rounds is shown.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 2
SECONDS = 4.0  # of each measurement, after its first steps
CASES = [("small", 32), ("small", 96), ("resnet18", 32), ("resnet18", 96)]
BATCH = {("resnet18", 96): 128}


def start(**setting: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.step", json.dumps(setting)]
    threads = str(setting.get("threads", 2))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, float]:
    """What a measurement found: `rate`, pictures/s, and `ready`, seconds until it could begin."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measurement failed: {process.args!r}")
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def shares(setting: dict[str, Any], *, lightly: bool, together: bool = False) -> str:
    """Cells: the bare step's rate, the loop's, their ratio; lightly's and the factor, or `-`.

    `together`: bare step and loop in one process and in turn, lightly before and after. Not where
    steps overlap, as on a GPU.
    """
    theirs = lightly and find_spec("lightly") is not None

    def of(way: str) -> dict[str, float]:
        return result(start(way=way, **setting))

    before = [of("lightly")["rate"]] if theirs and together else []
    found = of("share") if together else {way: of(way)["rate"] for way in ("bare", "loop")}
    if theirs:
        found["lightly"] = median([*before, of("lightly")["rate"]])
    cells = [f"{found['bare']:.0f}", f"{found['loop']:.0f}"]
    cells.append(f"**{found['loop'] / found['bare']:.2f}**")
    if theirs:
        cells += [f"{found['lightly']:.0f}", f"**{found['loop'] / found['lightly']:.1f}**"]
    return " | ".join(cells if theirs else [*cells, "-", "-"])


def against_lightly(
    rounds: int = ROUNDS, seconds: float = SECONDS, cases: Sequence[tuple[str, int]] = CASES
) -> str:
    """The table, in Markdown; without lightly installed only against the bare step."""
    ways = ["bare", "loop", *(["lightly"] if find_spec("lightly") else [])]
    lines = [
        "| encoder | side | bare step, pictures/s | our loop | lightly | loop / bare (aim 0.9) "
        "| loop / lightly (aim 3 at 32 px, 2.5 at 96) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for encoder, size in cases:
        setting = {"encoder": encoder, "size": size, "batch": BATCH.get((encoder, size), 256)}
        found = [
            {way: result(start(way=way, seconds=seconds, **setting))["rate"] for way in ways}
            for _ in range(rounds)
        ]
        cells = [f"{median(r[way] for r in found):.0f}" for way in ways]
        cells += ["-"] * (3 - len(ways))
        cells.append(f"**{median(r['loop'] / r['bare'] for r in found):.2f}**")
        times = [r["loop"] / r["lightly"] for r in found if "lightly" in r]
        cells.append(f"**{median(times):.1f}**" if times else "-")
        lines.append(f"| {encoder} | {size} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


COMPILED = "bf16, channels last, 1 thread, torch.compile"
PAIR = "two such stages of 1 thread side by side, together"
CHOICES: dict[str, dict[str, Any]] = {
    "fp32, channels first, 1 thread": {
        "precision": "fp32", "channels_last": False, "threads": 1,
    },
    "fp32, channels last, 1 thread": {"precision": "fp32", "threads": 1},
    "bf16, channels first, 1 thread": {"channels_last": False, "threads": 1},
    "bf16, channels last, 1 thread (default)": {"threads": 1},
    COMPILED: {"threads": 1, "compile": True},
    "bf16, channels last, 2 threads": {"threads": 2},
}  # fmt: skip


def choices(
    rounds: int = 1, seconds: float = SECONDS, encoders: Sequence[str] = ("small", "resnet18")
) -> tuple[str, float]:
    """The table, in Markdown, and the seconds that compiling took the larger network."""
    base = next(name for name in CHOICES if "default" in name)
    table: dict[str, list[str]] = {name: [] for name in (*CHOICES, PAIR)}
    compiled = 0.0
    for encoder in encoders:
        found: list[dict[str, float]] = []
        for _ in range(rounds):
            one: dict[str, dict[str, float]] = {
                name: result(start(way="bare", encoder=encoder, seconds=seconds, **setting))
                for name, setting in CHOICES.items()
            }
            compiled = one[COMPILED]["ready"] - one[base]["ready"]
            pair = [start(way="bare", encoder=encoder, seconds=2 * seconds, threads=1)
                    for _ in range(2)]  # fmt: skip
            rates = {name: value["rate"] for name, value in one.items()}
            found.append(rates | {PAIR: sum(result(p)["rate"] for p in pair)})
        for name, cells in table.items():
            cells.append(f"{median(r[name] / r[base] for r in found):.2f}")
    heads = " | ".join(f"{encoder}, 32 px" for encoder in encoders)
    lines = [f"| bare step | {heads} |", f"|---|{'---:|' * len(encoders)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in table.items()]
    return "\n".join(lines), compiled


if __name__ == "__main__":
    print(against_lightly())
    print(choices()[0])
