"""The Playroom's sounds as files: ESC-50's layout, `audio/*.wav` and `meta/esc50.csv`.

A clip depends on (seed, split, kind, number) alone, never on how many processes make it. Its folds
are ESC-50's: 1 to 3 train, 4 validates, 5 tests; what the csv does not name is unlabelled.
"""

import csv
import json
import wave
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.channel import Channel
from tasks.playroom.sounds import KINDS, RATE, passing, record
from tasks.settings.params import Params
from tasks.stage import output, write_json

FOLDER = Path("raw/playroom/audio")
SPLITS = ("labelled", "unlabelled", "val", "test")  # the order is part of each clip's seed
FOLDS = {"val": (4,), "test": (5,), "labelled": (1, 2, 3)}
COLUMNS = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
CHUNK = 32  # clips that a process makes at a time


@dataclass(frozen=True)
class Job:
    """One clip to make."""

    split: str
    kind: str
    number: int  # among the clips of this split and kind
    file: str
    fold: int  # 0: unlabelled


def plan(params: Params, split: str) -> list[Job]:
    """All jobs of a split, shuffled: neither name nor place tells a kind of what is unlabelled."""
    seed, each = params.playroom.seed, getattr(params.playroom.audio, split)
    who = [(kind, number) for kind in KINDS for number in range(each)]
    order = np.random.default_rng([seed, 3, SPLITS.index(split)]).permutation(len(who))
    jobs = []
    for place, at in enumerate(order):
        kind, number = who[at]
        folds = FOLDS.get(split, (0,))
        fold = folds[number % len(folds)]
        target = list(KINDS).index(kind)
        name = f"{fold}-{place:05d}-A-{target}.wav" if fold else f"unlabelled-{place:05d}.wav"
        jobs.append(Job(split, kind, number, name, fold))
    return jobs


def training_items(params: Params) -> int:
    """How many clips the training split will have."""
    return sum(len(plan(params, split)) for split in ("labelled", "unlabelled"))


def make_clip(job: Job, seed: int, seconds: float, folder: Path) -> None:
    """Synthesise one clip into `folder`."""
    key = [seed, 3, SPLITS.index(job.split), zlib.crc32(job.kind.encode()), job.number]
    rng = np.random.default_rng(key)
    length = round(seconds * RATE)
    sound, behind = KINDS[job.kind](rng, length), passing(rng, length)
    write_wav(folder / job.file, record(rng, sound, behind=behind))


def write_wav(path: Path, samples: "np.ndarray[tuple[int], np.dtype[np.int16]]") -> None:
    """(T,) int16 at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _chunk(jobs: list[Job], seed: int, seconds: float, folder: Path) -> int:
    for job in jobs:
        make_clip(job, seed, seconds, folder)
    return len(jobs)


def _make_all(jobs: list[Job], params: Params, folder: Path) -> Iterator[int]:
    """How many are done, chunk by chunk."""
    from joblib import Parallel, cpu_count, delayed

    seed, seconds = params.playroom.seed, params.playroom.audio.seconds
    chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
    wanted = max(1, min(params.machine.jobs or cpu_count(), len(chunks)))
    parallel = Parallel(n_jobs=wanted, return_as="generator")
    yield from parallel(delayed(_chunk)(c, seed, seconds, folder) for c in chunks)


def make(params: Params, tell: Channel) -> None:
    """Write raw/playroom/audio: audio/, meta/esc50.csv, truth.json, metrics.json."""
    jobs = [job for split in SPLITS for job in plan(params, split)]
    with output(FOLDER) as folder:
        (folder / "audio").mkdir()
        (folder / "meta").mkdir()
        done = 0
        for count in _make_all(jobs, params, folder.absolute() / "audio"):
            done += count
            tell.progress(done / len(jobs), f"{done} of {len(jobs)} clips")
        _write_meta(folder / "meta/esc50.csv", jobs)
        truth = [{"file": f"audio/{j.file}", "kind": j.kind, "split": j.split} for j in jobs]
        (folder / "truth.json").write_text(json.dumps(truth, indent=0) + "\n", "utf-8")
        counts = {split: sum(j.split == split for j in jobs) for split in SPLITS}
        write_json(folder / "metrics.json", {"kinds": len(KINDS), "clips": counts})
    tell.metrics({split: float(count) for split, count in counts.items()})


def _write_meta(path: Path, jobs: list[Job]) -> None:
    kinds = list(KINDS)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(COLUMNS)
        for job in sorted((j for j in jobs if j.fold), key=lambda j: j.file):
            source = job.file.split("-")[1]
            out.writerow([job.file, job.fold, kinds.index(job.kind), job.kind, False, source, "A"])
