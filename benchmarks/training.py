"""Training speed: our loop against the bare step and against lightly; which settings pay.

    python -m benchmarks.training

Every number is a ratio of measurements made in turn, A B C A B C, so that a machine whose speed
drifts does not decide; the median of the rounds is shown, and the rates it came from.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3
CASES = [("small", 32), ("small", 96), ("resnet18", 32), ("resnet18", 96)]
AIMS = {32: 3.0, 96: 2.5}
BATCH = {("resnet18", 96): 128}


def start(**setting: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.step", json.dumps(setting)]
    threads = str(setting.get("threads", 2))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> float:
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a measurement failed: {process.args}")
    return float(json.loads(out.splitlines()[-1])["rate"])


def against_lightly() -> str:
    lines = [
        "| encoder | side | bare step, pictures/s | our loop | lightly | loop / bare (aim 0.9) "
        "| loop / lightly (aim 3 at 32, 2.5 at 96) |",
        "|---|---|---|---|---|---|---|",
    ]
    for encoder, size in CASES:
        setting = {"encoder": encoder, "size": size, "batch": BATCH.get((encoder, size), 256)}
        rounds = [
            {way: result(start(way=way, **setting)) for way in ("bare", "loop", "lightly")}
            for _ in range(ROUNDS)
        ]
        bare, loop, other = (median(r[w] for r in rounds) for w in ("bare", "loop", "lightly"))
        share = median(r["loop"] / r["bare"] for r in rounds)
        times = median(r["loop"] / r["lightly"] for r in rounds)
        lines.append(
            f"| {encoder} | {size} | {bare:.0f} | {loop:.0f} | {other:.0f} "
            f"| **{share:.2f}** | **{times:.1f}** |"
        )
        print(lines[-1], flush=True)
    return "\n".join(lines)


CHOICES: dict[str, dict[str, Any]] = {
    "fp32, channels first, 1 thread": {
        "precision": "fp32", "channels_last": False, "threads": 1,
    },
    "fp32, channels last, 1 thread": {"precision": "fp32", "threads": 1},
    "bf16, channels first, 1 thread": {"channels_last": False, "threads": 1},
    "bf16, channels last, 1 thread (default)": {"threads": 1},
    "bf16, channels last, 1 thread, torch.compile": {"threads": 1, "compile": True},
    "bf16, channels last, 2 threads": {"threads": 2},
}  # fmt: skip


def choices() -> str:
    lines = ["| bare step | small, 32 px | ResNet-18, 32 px |", "|---|---|---|"]
    table: dict[str, list[float]] = {name: [] for name in (*CHOICES, "side by side")}
    for encoder in ("small", "resnet18"):
        rounds: list[dict[str, float]] = []
        for _ in range(2):
            found = {
                name: result(start(way="bare", encoder=encoder, seconds=5.0, **setting))
                for name, setting in CHOICES.items()
            }
            pair = [start(way="bare", encoder=encoder, seconds=8.0, threads=1) for _ in range(2)]
            found["side by side"] = sum(result(p) for p in pair)
            rounds.append(found)
        base = next(name for name in CHOICES if "default" in name)
        for name, cells in table.items():
            cells.append(median(r[name] / r[base] for r in rounds))
    for name, (small, resnet) in table.items():
        shown = "two such stages side by side, together" if name == "side by side" else name
        lines.append(f"| {shown} | {small:.2f} | {resnet:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(against_lightly())
    print(choices())
