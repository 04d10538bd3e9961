"""Sound: labels and ingest against real time, the training loop against the bare step, memory.

    python -m benchmarks sound [--quick]

Everything runs on one core. Real time: seconds of sound done in a second.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.machine import machine
from benchmarks.speed.ingest import measure_modality
from benchmarks.speed.loops import steps
from modalities.audio.labelling import texture
from modalities.audio.network import build_encoder, prepare
from modalities.audio.objectives.contrastive import Contrastive
from modalities.audio.sound import mfcc
from modalities.common.training.loop import Plan
from tasks.playroom.audio import write_wav
from tasks.playroom.sounds import KINDS, record

SECONDS = 2.0
BATCH = 64
COUNTS = (300, 3_000)
SECTION = """
## Sounds

`python -m benchmarks sound`. Sounds of 2 s, everything on one core. Machine: {machine}.

{labels}

The training loop of `contrastive` (reading, views, step, curves, checkpoints), batch 64, sounds of
1.6 s, beside the bare step on views in memory:

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


def training(seconds: float = 5.0) -> str:
    """Our loop with `contrastive`, from a memory map to the checkpoint, and the step alone."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    items = np.random.default_rng(0).integers(-9000, 9000, (28 * BATCH, 25_600), dtype=np.int16)
    plan = Plan(epochs=1000, batch_size=BATCH, precision="bf16")
    probe = prepare(torch.from_numpy(items[:BATCH]))
    bare = steps.alone(
        Contrastive(build_encoder("small")), {"items": torch.from_numpy(items[:BATCH])}
    )
    ours = steps.looped(Contrastive(build_encoder("small")), items, probe, plan)
    step, loop = steps.in_turn(bare, ours, seconds)
    return (
        "| bare step, items/s | our loop, items/s | loop / bare (aim 0.9) |\n|---:|---:|---:|\n"
        f"| {BATCH / step:.0f} | {BATCH / loop:.0f} | **{step / loop:.2f}** |"
    )


def page(*, quick: bool) -> str:
    """The section."""
    return SECTION.format(
        machine=machine(), labels=labels(1 if quick else 3), loop=training(0.1 if quick else 5.0),
        ingest=ingest((100,) if quick else COUNTS),
    )  # fmt: skip
