"""The Playroom's pictures: who is drawn where, in parallel, into a COCO folder.

A picture depends on (seed, split, category, number) alone, never on how many processes draw.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modalities.items import UserError
from tasks.channel import Channel
from tasks.playroom.coco import CocoFile, annotations, compact
from tasks.playroom.degrade import degrade
from tasks.playroom.world.render import render
from tasks.playroom.world.scene import draw_scene
from tasks.playroom.world.toys import Category, categories
from tasks.settings.params import Params
from tasks.settings.playroom import PlayroomImage
from tasks.stage import output, write_json

FOLDER = Path("raw/playroom/image")
# Name in params.yaml -> name of the annotation file. The order is part of each picture's seed.
SPLITS = {"labelled": "train", "unlabelled": "unlabelled", "val": "val", "test": "test"}
CHUNK = 32  # pictures that a process draws at a time


@dataclass(frozen=True)
class Job:
    """One picture to draw."""

    split: str
    category: str
    number: int  # among the pictures of this split and category
    file: str


@dataclass(frozen=True)
class Drawn:
    """What came of a job: annotations and truth; the picture is on disk."""

    job: Job
    notes: list[tuple[Category, dict[str, Any]]]
    truth: dict[str, Any]


def counts(options: PlayroomImage, seed: int, split: str) -> dict[str, int]:
    """Pictures of each category in a split: long-tailed training, balanced evaluation."""
    known = [kind.name for kind in categories()]
    most: int = getattr(options, split)
    if split in {"val", "test"}:
        return dict.fromkeys(known, most)
    order = np.random.default_rng([seed, 1]).permutation(len(known))
    shares = options.long_tail ** -(np.arange(len(known)) / (len(known) - 1))
    size_of = dict(zip(order.tolist(), np.rint(most * shares).astype(int).tolist(), strict=True))
    sizes = {name: min(most, max(1, size_of[at])) for at, name in enumerate(known)}
    if split == "unlabelled":
        novel = categories(novel=True)[: options.novel]
        sizes.update({kind.name: most for kind in novel})
    return sizes


def training_items(params: Params) -> int:
    """How many pictures the training split will have."""
    made, seed = params.playroom.image, params.playroom.seed
    return sum(sum(counts(made, seed, split).values()) for split in ("labelled", "unlabelled"))


def plan(options: PlayroomImage, seed: int, split: str) -> list[Job]:
    """All jobs of a split, shuffled: neither name nor place tells a category."""
    who = [(name, at) for name, n in counts(options, seed, split).items() for at in range(n)]
    order = np.random.default_rng([seed, 2, list(SPLITS).index(split)]).permutation(len(who))
    width = max(5, len(str(len(who))))
    files = [f"{SPLITS[split]}_{place:0{width}d}.png" for place in range(len(who))]
    return [Job(split, who[at][0], who[at][1], file) for at, file in zip(order, files, strict=True)]


def draw(job: Job, options: PlayroomImage, seed: int, folder: Path) -> Drawn:
    """Draw one picture into `folder`."""
    from PIL import Image

    key = [seed, list(SPLITS).index(job.split), zlib.crc32(job.category.encode()), job.number]
    rng = np.random.default_rng(key)
    known = categories()
    main = next(k for k in [*known, *categories(novel=True)] if k.name == job.category)
    low, high = options.objects
    others = rng.integers(len(known), size=int(rng.integers(low, high + 1)) - 1)
    kinds = [main, *(known[at] for at in others)]
    shifted = job.split in options.shift.splits
    scene = draw_scene(rng, kinds, tumbled=shifted and options.shift.pose == "tumbled")
    picture = render(scene, options.size, rng)
    pixels = degrade(picture.pixels, options.shift, rng) if shifted else picture.pixels
    Image.fromarray(pixels).save(folder / job.file, compress_level=1)
    truth = {"file": f"images/{job.file}", "category": job.category, **scene.truth()}
    return Drawn(job, annotations(picture, kinds), {**truth, "shifted": shifted})


def _draw_all(jobs: list[Job], params: Params, folder: Path) -> Iterator[Drawn]:
    """In the order of the jobs, however many processes share them."""
    from joblib import Parallel, cpu_count, delayed

    options, seed = params.playroom.image, params.playroom.seed
    chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
    wanted = min(params.machine.jobs or cpu_count(), len(chunks))
    parallel = Parallel(n_jobs=max(1, wanted), return_as="generator")
    for chunk in parallel(delayed(_draw_chunk)(c, options, seed, folder) for c in chunks):
        yield from chunk


def _draw_chunk(jobs: list[Job], options: PlayroomImage, seed: int, folder: Path) -> list[Drawn]:
    return [draw(job, options, seed, folder) for job in jobs]


def make(params: Params, tell: Channel) -> None:
    """Write raw/playroom/image: images/, annotations/ (COCO), truth.json, metrics.json."""
    options, seed = params.playroom.image, params.playroom.seed
    available = len(categories(novel=True))
    if options.novel > available:
        raise UserError(
            f"params.yaml: playroom.image.novel: found {options.novel}, but there are only "
            f"{available} novel categories"
        )
    plans = {split: plan(options, seed, split) for split in SPLITS}
    with output(FOLDER) as folder:
        (folder / "images").mkdir()
        (folder / "annotations").mkdir()
        _write(plans, params, folder, tell)
        write_json(folder / "metrics.json", _metrics(plans))
    tell.metrics(_metrics(plans)["pictures"])


def _write(plans: dict[str, list[Job]], params: Params, folder: Path, tell: Channel) -> None:
    """Draw every split and write its annotations; the unlabelled ones go to the truth only."""
    total, done, known = sum(map(len, plans.values())), 0, categories()
    size = params.playroom.image.size
    images = folder.absolute() / "images"
    with (folder / "truth.json").open("w", encoding="utf-8") as truth:
        for split, jobs in plans.items():
            with CocoFile(folder / "annotations" / f"{SPLITS[split]}.json", known) as coco:
                for drawn in _draw_all(jobs, params, images):
                    coco.add(drawn.job.file, size, [] if split == "unlabelled" else drawn.notes)
                    truth.write(("[\n" if not done else ",\n") + compact(drawn.truth))
                    done += 1
                    tell.progress(done / total, f"{split}: {done} of {total} pictures")
        truth.write("]\n")


def _metrics(plans: dict[str, list[Job]]) -> dict[str, Any]:
    """Counts only: what differs from run to run goes to the costs."""
    novel = {kind.name for kind in categories(novel=True)}
    jobs = [job for split in plans.values() for job in split]
    return {
        "categories": len(categories()),
        "pictures": {SPLITS[split]: len(split_jobs) for split, split_jobs in plans.items()},
        "novel": sum(job.category in novel for job in jobs),
    }
