"""How long the process of a stage takes until all that the stage imports is there.

python -m benchmarks.speed.startup
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 3
BEFORE = ("tasks.__main__", "tasks.settings.params", "tasks.stage")
STAGES = {  # what each stage imports, also within its functions
    "playroom": ("tasks.playroom.image", "embreex.rtcore", "trimesh.creation", "joblib"),
    "ingest": ("tasks.ingest", "modalities.image.reading.readers", "joblib", "pyarrow.parquet"),
    "pretrain": (
        "tasks.pretrain", "modalities.common.training.loop", "modalities.image.network.factory",
        "modalities.image.objectives.moco_v2", "safetensors.torch",
    ),
    "transfer": (
        "tasks.transfer", "modalities.image.tasks.classification",
        "modalities.image.network.factory",
        "sklearn.linear_model", "safetensors.torch", "tasks.transfer.measures",
    ),
    "report": ("tasks.report.page", "jinja2", "sklearn.decomposition", "safetensors.torch"),
}  # fmt: skip


def measure(modules: tuple[str, ...]) -> float:
    """Seconds that a fresh Python takes to import these, and to load params.yaml."""
    names = ", ".join((*BEFORE, *modules))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    code = f"import {names}; tasks.settings.params.load(); print('ready', flush=True)"
    started = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        told = child.stdout.readline()
        seconds = time.perf_counter() - started
    assert told == b"ready\n", names
    return seconds


def main(rounds: int = ROUNDS) -> str:
    """The table, in Markdown."""
    found: dict[str, list[float]] = {stage: [] for stage in STAGES}
    for _ in range(rounds):
        for stage, modules in STAGES.items():
            found[stage].append(measure(modules))
    lines = ["| stage | seconds (aim: below 3) |", "|---|---:|"]
    lines += [f"| {stage} | {median(times):.1f} |" for stage, times in found.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(main())
