"""Sound: labels and ingest against real time, the training loop against the bare step, memory.

    python -m benchmarks sound [--quick]

Everything runs on one core. Real time: seconds of sound done in a second.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.ingest import measure_modality
from benchmarks.machine import machine
from modalities.audio import mfcc, texture
from tasks.playroom.audio import write_wav
from tasks.playroom.sounds import KINDS, record

SECONDS = 2.0
COUNTS = (300, 3_000)
SECTION = """
## Sounds

`python -m benchmarks sound`. Sounds of 2 s, everything on one core. Machine: {machine}.

{labels}

The training loop of `contrastive`, batch 64, sounds of 1.6 s; the bare step makes its spectrograms
anew, the loop made them once, before:

{loop}

Ingest of wav files, and what it needs of memory at ten times the data:

{ingest}
"""
PARAMS = """\
image: {source: none, labels: none}
audio: {source: src, labels: src, seconds: 2.0}
machine: {jobs: 1}
"""


def sounds(count: int) -> list[np.ndarray]:
    """Clips of all kinds in turn."""
    kinds = list(KINDS.values())
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        made.append(record(rng, kinds[number % len(kinds)](rng, int(SECONDS * 16_000))))
    return made


def labels(rounds: int = 3, count: int = 48) -> str:
    """How many times faster than real time each per-item label is."""
    clips = sounds(count)
    lines = ["| label of an item | x real time, one core |", "|---|---:|"]
    for name, make in (
        ("sound_texture, 502 statistics", texture.statistics),
        ("mfcc_units, 39 numbers a frame", mfcc.with_slopes),
        ("mfcc, mean of 13", mfcc.mean),
    ):
        make(clips[0])
        found = []
        for _ in range(rounds):
            start = time.perf_counter()
            for clip in clips:
                make(clip)
            found.append(count * SECONDS / (time.perf_counter() - start))
        lines.append(f"| {name} | {median(found):.0f} |")
    return "\n".join(lines)


def ingest(counts: tuple[int, ...] = COUNTS) -> str:
    """Wav files of 2 s through the stage `ingest`: speed, and memory at ten times the data."""
    lines = ["| clips | seconds | x real time | peak MB |", "|---:|---:|---:|---:|"]
    with tempfile.TemporaryDirectory(prefix="gleaner-bench-") as name:
        folder = Path(name)
        (folder / "params.yaml").write_text(PARAMS)
        base, made = sounds(24), 0
        for count in counts:
            for number in range(made, count):
                clip = np.roll(base[number % len(base)], number)  # another content for every file
                path = folder / "src" / str(number % 10) / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_wav(path, clip)
            made = count
            seconds, _, peak = measure_modality(folder, "audio")
            rate = f"{count * SECONDS / seconds:.0f}"
            lines.append(f"| {count:,} | {seconds:.1f} | {rate} | {peak:.0f} |")
    return "\n".join(lines)


STEP = """
import json, sys, time
import numpy as np, torch
from modalities.audio import build_encoder, prepare
from modalities.audio.objectives.contrastive import Contrastive
from modalities.base import Randomness
from modalities.common.optim import optimizer
from tasks.monitor import Silence
from tasks.training import Plan, train

torch.set_num_threads(1)
items = np.random.default_rng(0).integers(-9000, 9000, (512, 25_600), dtype=np.int16)
torch.manual_seed(0)
objective = Contrastive(build_encoder("small"))
steps, size = 24, 64


class Nothing:
    def load(self): return None
    def save(self, *_): pass


if sys.argv[1] == "loop":
    plan = Plan(epochs=steps // 8, batch_size=size)
    start = time.perf_counter()
    train(objective, items, plan, Silence(), probe=prepare(torch.from_numpy(items[:64])),
          checkpoints=Nothing())
else:
    update = optimizer("adamw", objective.parameters(), 2e-3, 1e-4)
    batches = [torch.from_numpy(items[i * size : (i + 1) * size]) for i in range(8)]
    start = time.perf_counter()
    for step in range(steps):
        rng = Randomness(torch.Generator().manual_seed(step), total=size)
        batch = {"items": batches[step % 8], "index": torch.arange(size)}
        with torch.no_grad():
            views = objective.views(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss = objective(views).loss
        loss.backward()
        update.step()
        update.zero_grad()
print(json.dumps(steps * size / (time.perf_counter() - start)))
"""


def loop(rounds: int = 3) -> str:
    """Items a second of our loop and of the same step written bare, in turn; the median ratio."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}

    def rate(way: str) -> float:
        command = [sys.executable, "-c", STEP, way]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout.splitlines()[-1])

    found = [(rate("bare"), rate("loop")) for _ in range(rounds)]
    bare, ours = (median(f[i] for f in found) for i in (0, 1))
    ratio = median(b / a for a, b in found)
    return (
        "| bare step, items/s | our loop, items/s | loop / bare (aim 0.9) |\n|---:|---:|---:|\n"
        f"| {bare:.0f} | {ours:.0f} | **{ratio:.2f}** |"
    )


def page(*, quick: bool) -> str:
    """The section."""
    few = {"rounds": 1} if quick else {}
    return SECTION.format(
        machine=machine(), labels=labels(**few), loop=loop(**few),
        ingest=ingest((100,) if quick else COUNTS),
    )  # fmt: skip
