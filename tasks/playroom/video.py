"""The Playroom's clips: a toy turns while it sounds, as mp4 files with their sound track.

Each category has a way to sound (an engine, a bark, what it is made of when struck), each kind of
floor an ambience that is softer. A clip depends on (seed, split, category, number) alone.
"""

import csv
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tasks.channel import Channel
from tasks.playroom.sounds import KINDS, RATE, Floats, Kind, bark, engine, record, struck
from tasks.playroom.world.render import render
from tasks.playroom.world.scene import Scene, draw_scene
from tasks.playroom.world.solids import turned
from tasks.playroom.world.toys import categories
from tasks.settings.params import Params
from tasks.settings.playroom import PlayroomVideo
from tasks.stage import output, write_json

FOLDER = Path("raw/playroom/video")
SPLITS = ("train", "val", "test")  # the order is part of each clip's seed
REST = 30  # val and test have so many times fewer clips than train: what is measured are pictures
CHUNK = 16  # clips that a process makes at a time
VOICES: dict[str, Kind] = {
    "car": partial(engine, speed=(28, 45)), "truck": partial(engine, speed=(12, 20)),
    "plane": partial(engine, speed=(70, 110)), "sailboat": KINDS["wind"], "dog": bark,
    "giraffe": KINDS["crickets"], "chair": struck("wood"), "table": KINDS["bounce"],
    "stool": struck("plastic"), "lamp": KINDS["clock"], "mug": struck("ceramic"),
    "teapot": struck("metal"),
}  # fmt: skip
PLACES = ("rain", "wind", "birds", "fire", "crickets")


@dataclass(frozen=True)
class Job:
    """One clip to make."""

    split: str
    category: str
    number: int  # among the clips of this split and category
    file: str


def plan(params: Params) -> list[Job]:
    """All jobs, shuffled within their split: neither name nor place tells a category."""
    seed, clips = params.playroom.seed, params.playroom.video.clips
    jobs = []
    for at, split in enumerate(SPLITS):
        each = clips if split == "train" else max(1, clips // REST)
        who = [(kind.name, number) for kind in categories() for number in range(each)]
        order = np.random.default_rng([seed, 4, at]).permutation(len(who))
        for place, (category, number) in enumerate(who[i] for i in order):
            jobs.append(Job(split, category, number, f"clips/{split}_{place:05d}.mp4"))
    return jobs


def training_items(params: Params) -> int:
    """How many clips the training split will have."""
    return sum(job.split == "train" for job in plan(params))


def sound(rng: np.random.Generator, category: str, scene: Scene, length: int) -> Floats:
    """(T,): the toy, and 6 to 18 dB softer the place that its floor belongs to."""
    voice = VOICES[category](rng, length)
    kinds = zlib.crc32(scene.room.floor.kind.encode()) % len(PLACES)
    place = KINDS[PLACES[kinds]](rng, length)
    level = 10 ** (-rng.uniform(6, 18) / 20)
    return np.asarray(voice / (voice.std() + 1e-9) + level * place / (place.std() + 1e-9))


def draw(job: Job, options: PlayroomVideo, seed: int, folder: Path) -> dict[str, Any]:
    """Make one clip in `folder`; what it shows."""
    key = [seed, 4, SPLITS.index(job.split), zlib.crc32(job.category.encode()), job.number]
    rng = np.random.default_rng(key)
    kind = next(k for k in categories() if k.name == job.category)
    scene = draw_scene(rng, [kind])
    sweep = rng.uniform(10, 40) * rng.choice([-1, 1])
    toy = scene.toys[0]
    frames = []
    for turn in np.linspace(-0.5, 0.5, options.frames) * sweep:
        moved = replace(toy, rotation=toy.rotation @ turned(np.eye(3), "z", float(turn)).T)
        frames.append(render(replace(scene, toys=[moved]), options.size, rng).pixels)
    track = record(rng, sound(rng, job.category, scene, round(options.seconds * RATE)))
    write_clip(folder / job.file, np.stack(frames), track, options.seconds)
    return {"file": job.file, "category": job.category, "split": job.split,
            "turn": round(float(sweep), 1), **scene.truth()}  # fmt: skip


def write_clip(
    path: Path, frames: "np.ndarray[Any, np.dtype[np.uint8]]",
    samples: "np.ndarray[Any, np.dtype[np.int16]]", seconds: float,
) -> None:  # fmt: skip
    """(F, H, W, 3) uint8 and (T,) int16 at 16 kHz as H.264 and AAC: the same bytes for the same
    clip. So in one thread, and without looking ahead: on small frames x264 then reads what happens
    to lie in memory."""
    import av

    flags = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", options=flags) as out:
        rate = Fraction(len(frames)) / Fraction(seconds).limit_denominator(1000)
        ahead = "bframes=0:mbtree=0:rc-lookahead=0"
        options = {"crf": "14", "preset": "veryfast", "threads": "1", "x264-params": ahead}
        video = out.add_stream("libx264", rate=rate, options=options)
        video.width, video.height, video.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        audio = out.add_stream("aac", rate=RATE)
        audio.layout, audio.bit_rate = "mono", 96_000
        for picture in frames:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))


def _chunk(
    jobs: list[Job], options: PlayroomVideo, seed: int, folder: Path
) -> list[dict[str, Any]]:
    return [draw(job, options, seed, folder) for job in jobs]


def _draw_all(jobs: list[Job], params: Params, folder: Path) -> Iterator[list[dict[str, Any]]]:
    from joblib import Parallel, cpu_count, delayed

    options, seed = params.playroom.video, params.playroom.seed
    chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
    wanted = max(1, min(params.machine.jobs or cpu_count(), len(chunks)))
    parallel = Parallel(n_jobs=wanted, return_as="generator")
    yield from parallel(delayed(_chunk)(c, options, seed, folder) for c in chunks)


def make(params: Params, tell: Channel) -> None:
    """Write raw/playroom/video: clips/*.mp4, labels.csv, truth.json, metrics.json."""
    jobs = plan(params)
    truth: list[dict[str, Any]] = []
    with output(FOLDER) as folder:
        (folder / "clips").mkdir()
        for made in _draw_all(jobs, params, folder.absolute()):
            truth += made
            tell.progress(len(truth) / len(jobs), f"{len(truth)} of {len(jobs)} clips")
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(["file", "label", "split"])
            out.writerows(sorted((j.file, j.category, j.split) for j in jobs))
        write_json(folder / "truth.json", truth)
        counts = {split: sum(j.split == split for j in jobs) for split in SPLITS}
        write_json(folder / "metrics.json", {"categories": len(VOICES), "clips": counts})
    tell.metrics({split: float(count) for split, count in counts.items()})
