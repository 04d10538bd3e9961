"""Training speed: our loop against the bare step and against lightly; which settings pay.

    python -m benchmarks.speed.training

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

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
RUNS = 2  # side by side: one for each core
SECONDS = 4.0  # of each measurement, after its first steps
CASES = [("small", 32), ("small", 96), ("resnet18", 32), ("resnet18", 96)]
BATCH = {("resnet18", 96): 128}


def start(**setting: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.speed.loops.step", json.dumps(setting)]
    threads = str(setting.get("threads", 2))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
    environment["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # compiling counts, each time
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, float]:
    """What a measurement found: `rate`, pictures/s, and `ready`, seconds until it could begin."""
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measurement failed: {process.args!r}")
    found: dict[str, float] = json.loads(out.splitlines()[-1])
    return found


def side_by_side(**setting: Any) -> dict[str, float]:
    """What RUNS such measurements at the same time found, added up."""
    found = [result(p) for p in [start(**setting) for _ in range(RUNS)]]
    return {key: sum(each[key] for each in found) for key in found[0]}


def shares(setting: dict[str, Any], *, lightly: bool, together: bool = False) -> str:
    """Cells: the bare step's rate, the loop's, their ratio; lightly's and the factor, or `-`.

    `together`: bare step and loop in one process and in turn, in runs side by side with a thread
    each; lightly alone, before and after. Not where steps overlap, as on a GPU.
    """
    theirs = lightly and find_spec("lightly") is not None

    def of(way: str) -> dict[str, float]:
        return result(start(way=way, **setting))

    before = [of("lightly")["rate"]] if theirs and together else []
    if together:
        found = side_by_side(way="share", threads=1, **setting)
    else:
        found = {way: of(way)["rate"] for way in ("bare", "loop")}
    if theirs:
        found["lightly"] = median([*before, of("lightly")["rate"]])
    cells = [f"{found['bare']:.0f}", f"{found['loop']:.0f}"]
    cells.append(f"**{found['loop'] / found['bare']:.2f}**")
    if theirs:
        cells += [f"{found['lightly']:.0f}", f"**{found['loop'] / found['lightly']:.1f}**"]
    return " | ".join(cells if theirs else [*cells, "-", "-"])


def everybody(setting: dict[str, Any]) -> dict[str, float]:
    """One round: the pictures per second of each way to train."""
    two = side_by_side(way="share", threads=1, **setting)
    one = result(start(way="share", **setting))
    found = {"bare": two["bare"], "loop": two["loop"]}
    found |= {"bare alone": one["bare"], "loop alone": one["loop"]}
    if find_spec("lightly"):
        found["lightly"] = result(start(way="lightly", **setting))["rate"]
        twice = side_by_side(way="lightly", threads=1, lightly_workers=1, **setting)
        found["lightly twice"] = twice["rate"]
    return found


def rate(found: list[dict[str, float]], way: str) -> str:
    """The median of the rounds, or `-` for what is not installed."""
    return f"{median(each[way] for each in found):.0f}" if way in found[0] else "-"


def ratio(found: list[dict[str, float]], way: str, other: str, form: str) -> str:
    """The median of the rounds' ratios, or `-`."""
    if other not in found[0]:
        return "-"
    return f"**{median(each[way] / each[other] for each in found):{form}}**"


def against_lightly(
    rounds: int = ROUNDS, seconds: float = SECONDS, cases: Sequence[tuple[str, int]] = CASES
) -> tuple[str, str]:
    """Two tables, in Markdown: runs side by side, as `glean run` has them, and a run alone.

    Without lightly installed its columns are empty.
    """
    together = [
        "| encoder | side | bare step, pictures/s | our loop | lightly | loop / bare (aim 0.9) "
        "| loop / lightly (aim 3 at 32 px, 2.5 at 96) |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    alone = [
        "| encoder | side | bare step | our loop | loop / bare | loop / lightly "
        "| two of lightly's side by side | ours side by side / these |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for encoder, size in cases:
        batch = BATCH.get((encoder, size), 256)
        setting = {"encoder": encoder, "size": size, "batch": batch, "seconds": seconds}
        found = [everybody(setting) for _ in range(rounds)]
        name = f"| {encoder} | {size} | "
        cells = [rate(found, way) for way in ("bare", "loop", "lightly")]
        cells += [ratio(found, "loop", "bare", ".2f"), ratio(found, "loop", "lightly", ".1f")]
        together.append(f"{name}{' | '.join(cells)} |")
        cells = [rate(found, way) for way in ("bare alone", "loop alone")]
        cells.append(ratio(found, "loop alone", "bare alone", ".2f"))
        cells += [ratio(found, "loop alone", "lightly", ".1f"), rate(found, "lightly twice")]
        cells.append(ratio(found, "loop", "lightly twice", ".1f"))
        alone.append(f"{name}{' | '.join(cells)} |")
        print(together[-1], alone[-1], sep="\n", flush=True)
    return "\n".join(together), "\n".join(alone)


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
    "bf16, channels last, 1 thread, torch's convolutions": {"threads": 1, "sparing": False},
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
    print(*against_lightly(), sep="\n\n")
    print(choices()[0])
