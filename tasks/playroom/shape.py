"""The Playroom's shapes: toys as watertight meshes with named parts, in ShapeNetPart's format.

    synsetoffset2category.txt          category, folder
    SYNSET/ID.txt, SYNSET/ID.obj       points `x y z nx ny nz part`, and the mesh they lie on
    unlabelled/ID.txt, ID.obj          the same without parts, of a category that nobody tells
    train_test_split/shuffled_{train,val,test}_file_list.json
    parts.json                         category -> the names of its parts, by number

y is up (before the pose), lengths have no unit. A shape depends on (seed, split, category, number)
alone, never on how many processes make it.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.channel import Channel
from tasks.playroom.shape_solids import Body, union, vary, warp
from tasks.playroom.vase import VASE
from tasks.playroom.world.toys import Category, categories
from tasks.settings.params import Params
from tasks.settings.playroom import PlayroomShape
from tasks.stage import output, write_json

FOLDER = Path("raw/playroom/shape")
KINDS = ("chair", "dog", "lamp", "mug", "plane", "table", "truck")  # and the vase
SPLITS = ("labelled", "unlabelled", "val", "test")  # the order is part of each shape's seed
CHUNK = 16  # shapes that a process makes at a time


def kinds() -> list[Category]:
    """The categories of shapes, in alphabetical order."""
    return [*(kind for kind in categories() if kind.name in KINDS), VASE]


def codes() -> dict[str, dict[str, int]]:
    """Category -> its parts' numbers, which no other category shares."""
    found: dict[str, dict[str, int]] = {}
    count = 0
    for kind in kinds():
        found[kind.name] = {part: count + i for i, part in enumerate(kind.parts)}
        count += len(kind.parts)
    return found


def synset(kind: Category) -> str:
    """The folder of a category: eight digits, as WordNet's offsets have; 9 marks our own."""
    return f"9{kinds().index(kind):07d}"


@dataclass(frozen=True)
class Job:
    """One shape to make."""

    split: str
    kind: Category
    number: int
    folder: str
    name: str


def plan(options: PlayroomShape, seed: int) -> list[Job]:
    """All shapes; among the unlabelled ones neither name nor place tells a category."""
    jobs = []
    chosen = [kind for kind in kinds() if kind.name in options.categories]
    for split in SPLITS:
        who = [(kind, n) for kind in chosen for n in range(getattr(options, split))]
        order = np.random.default_rng([seed, 3, SPLITS.index(split)]).permutation(len(who))
        for place, at in enumerate(order):
            folder = "unlabelled" if split == "unlabelled" else synset(who[at][0])
            kind, number = who[at]
            jobs.append(Job(split, kind, number, folder, f"{split}{place:05d}"))
    return jobs


def training_items(params: Params) -> int:
    """How many shapes the training split will have."""
    jobs = plan(params.playroom.shape, params.playroom.seed)
    return sum(job.split in ("labelled", "unlabelled") for job in jobs)


def build(job: Job, options: PlayroomShape, seed: int) -> tuple[Body, np.random.Generator]:
    """The body of one shape; its parts are numbered as in the files."""
    key = [seed, 4, SPLITS.index(job.split), zlib.crc32(job.kind.name.encode()), job.number]
    rng = np.random.default_rng(key)
    toy = job.kind.make(rng)
    if options.variety:
        vary(toy, rng, options.variety)
    body = warp(union(toy), rng, options.pose)
    code = codes()[job.kind.name]
    number = np.array([code[part] for part in toy.parts])
    return Body(body.vertices, body.faces, number[body.part]), rng


def _write(job: Job, options: PlayroomShape, seed: int, folder: Path) -> None:
    body, rng = build(job, options, seed)
    points, normals, parts = body.sample(options.points, rng)
    columns: list[np.ndarray] = [points, normals]
    form = ["%.5f"] * 3 + ["%.4f"] * 3
    if job.split != "unlabelled":
        columns.append(parts[:, None])
        form.append("%d")
    home = folder / job.folder
    np.savetxt(home / f"{job.name}.txt", np.concatenate(columns, 1), form)
    with (home / f"{job.name}.obj").open("w", encoding="utf-8") as file:
        file.write("".join(f"v {x:.5f} {y:.5f} {z:.5f}\n" for x, y, z in body.vertices.tolist()))
        file.write("".join(f"f {a} {b} {c}\n" for a, b, c in (body.faces + 1).tolist()))


def _write_all(jobs: list[Job], options: PlayroomShape, seed: int, folder: Path) -> int:
    for job in jobs:
        _write(job, options, seed, folder)
    return len(jobs)


def _made(jobs: list[Job], params: Params, folder: Path) -> Iterator[int]:
    from joblib import Parallel, cpu_count, delayed

    chunks = [jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK)]
    workers = max(1, min(params.machine.jobs or cpu_count(), len(chunks)))
    parallel = Parallel(n_jobs=workers, return_as="generator")
    options, seed = params.playroom.shape, params.playroom.seed
    yield from parallel(delayed(_write_all)(chunk, options, seed, folder) for chunk in chunks)


def make(params: Params, tell: Channel) -> None:
    """Write raw/playroom/shape."""
    jobs = plan(params.playroom.shape, params.playroom.seed)
    with output(FOLDER) as folder:
        for name in {job.folder for job in jobs}:
            (folder / name).mkdir()
        done = 0
        for made in _made(jobs, params, folder.absolute()):
            done += made
            tell.progress(done / len(jobs), f"{done} of {len(jobs)} shapes")
        _describe(jobs, params.playroom.shape.categories, folder)
        counts = {split: sum(job.split == split for job in jobs) for split in SPLITS}
        categories = len(params.playroom.shape.categories)
        write_json(folder / "metrics.json", {"categories": categories, "shapes": counts})
    tell.metrics(counts)


def _describe(jobs: list[Job], chosen: list[Any], folder: Path) -> None:
    """The files that say what lies where."""
    lines = [f"{kind.name}\t{synset(kind)}\n" for kind in kinds() if kind.name in chosen]
    (folder / "synsetoffset2category.txt").write_text("".join(lines), "utf-8")
    (folder / "train_test_split").mkdir()
    for split, name in (("labelled", "train"), ("val", "val"), ("test", "test")):
        entries = [f"shape_data/{job.folder}/{job.name}" for job in jobs if job.split == split]
        path = folder / "train_test_split" / f"shuffled_{name}_file_list.json"
        path.write_text(json.dumps(entries) + "\n", "utf-8")
    names: dict[str, Any] = {
        kind: {str(code): part for part, code in own.items()}
        for kind, own in codes().items() if kind in chosen
    }  # fmt: skip
    write_json(folder / "parts.json", names)
