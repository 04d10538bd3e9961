"""Ingest against the number of pictures: images/s, peak memory, and the time when nothing is new.

    python -m benchmarks.speed.ingest [COUNT ...]

Pictures are 64 x 64 PNG files in ten class folders of a temporary folder. Memory is the sum over
all processes of what each holds, so pages that processes share count more than once.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
COUNTS = (1_000, 10_000, 50_000)
PARAMS = "image: {source: src, labels: src, size: 32}\n"


def make(folder: Path, start: int, end: int) -> None:
    """Smooth pictures with some noise: they compress about as rendered scenes do."""
    rng = np.random.default_rng(start)
    for number in range(start, end):
        path = folder / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = rng.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC))
        noisy = np.clip(smooth + rng.integers(-4, 5, (64, 64, 1)), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(path, compress_level=1)


def _memory(process: psutil.Process) -> int:
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(folder: Path) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MB) of `python -m tasks ingest image` in a folder."""
    return measure_modality(folder, "image")


def measure_modality(folder: Path, modality: str) -> tuple[float, float, float]:
    """(seconds, CPU seconds, peak MB) of `python -m tasks ingest MODALITY` in a folder."""
    command = [sys.executable, "-m", "tasks", "ingest", modality]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started, cpu, peak = time.monotonic(), _cpu(), 0
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as run:  # fmt: skip
        process = psutil.Process(run.pid)
        while run.poll() is None:
            try:
                peak = max(peak, _memory(process))
            except psutil.Error:
                break
            time.sleep(0.05)
    assert run.returncode == 0
    return time.monotonic() - started, _cpu() - cpu, peak / 2**20


def main(counts: tuple[int, ...] = COUNTS) -> str:
    """The table, in Markdown."""
    lines = ["| images | seconds | images/s | CPU s | peak MB | nothing new, s | one new, s |",
             "|---:|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-") as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(PARAMS)
        made = 0
        for count in sorted(counts):
            make(folder / "src", made, count)
            shutil.rmtree(folder / ".gleaner", ignore_errors=True)
            time.sleep(3)  # files changed a moment ago are never trusted
            seconds, cpu, peak = measure(folder)
            again, *_ = measure(folder)
            make(folder / "src", count, count + 1)
            one, *_ = measure(folder)
            made = count + 1
            rate = f"{count / seconds:,.0f}"
            lines.append(f"| {count:,} | {seconds:.1f} | {rate} | {cpu:.1f} | {peak:.0f} |"
                         f" {again:.1f} | {one:.1f} |")  # fmt: skip
    table = "\n".join(lines)
    print(table)
    return table


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or COUNTS)
