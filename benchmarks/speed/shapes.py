"""Convex decomposition, point networks and neighbour search: `python -m benchmarks shapes`.

Shapes a second for each setting of the labeler, the gain of a second process, our loop against the
bare step, and sampling and search against trimesh and scipy. One thread a process; seconds
are those of the processor but where two processes are compared with one.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import trimesh
from joblib import Parallel, delayed
from scipy.spatial import cKDTree

from benchmarks.machine import machine
from benchmarks.speed.loops import steps
from modalities.common.training.loop import Plan
from modalities.shape.labelers.convex_decomposition import ConvexDecomposition
from modalities.shape.network.encoder import build
from modalities.shape.network.neighbours import nearest
from modalities.shape.network.views import prepare
from modalities.shape.objectives.convexity import Convexity
from modalities.shape.reading.meshes import Mesh
from modalities.shape.reading.readers import read, scattered
from tasks.playroom.shape import Job, kinds
from tasks.playroom.shape import build as make
from tasks.settings.playroom import PlayroomShape

SETTINGS: dict[str, dict[str, Any]] = {
    "V-HACD, 50,000 voxels, depth 10 (the labeler's default)": {},
    "V-HACD, 30,000 voxels, depth 6 (the default run)": {"voxels": 30000, "depth": 6},
    "V-HACD, 10,000 voxels, depth 5": {"voxels": 10000, "depth": 5},
    "CoACD, threshold .1": {"tool": "coacd"},
}
BATCH, POINTS = 16, 512
SECTION = """
## Shapes

`python -m benchmarks shapes`. 24 shapes of the Playroom; processor seconds of the tool, one
thread a process. Machine: {machine}.

{tables}
"""


def meshes(folder: Path, count: int) -> list[Path]:
    """Meshes of the Playroom's categories in turn."""
    options, found = PlayroomShape(), []
    for number in range(count):
        kind = kinds()[number % len(kinds())]
        body, _ = make(Job("labelled", kind, number, "", ""), options, 0)
        path = folder / f"{number}.obj"
        trimesh.Trimesh(body.vertices, body.faces, process=False).export(path)
        found.append(path)
    return found


def label(paths: list[Path], options: dict[str, Any]) -> list[float]:
    """What each shape took, in processor seconds of its tool."""
    labeler = ConvexDecomposition(**options)
    return [float(labeler.label(p, read(p, points=1024))[-1, 1]) for p in paths]


def labelling(paths: list[Path]) -> list[str]:
    lines = ["| setting | seconds a shape | longest |", "|---|---:|---:|"]
    for name, options in SETTINGS.items():
        try:
            taken = label(paths, options)
        except ImportError:
            continue
        lines.append(f"| {name} | {np.mean(taken):.2f} | {max(taken):.2f} |")
        print(lines[-1], flush=True)
    return lines


def scaling(paths: list[Path]) -> str:
    """The gain of two processes, each taking the next shape when it is done with one, over one."""
    options = {"voxels": 30000, "depth": 6}
    taken = []
    for jobs in (1, 2):
        with Parallel(jobs) as parallel:
            parallel(delayed(label)(paths[:1], options) for _ in range(jobs))  # start-up
            started = time.monotonic()
            parallel(delayed(label)([path], options) for path in paths)
            taken.append(time.monotonic() - started)
    return f"Two processes label {taken[0] / taken[1]:.2f} times as fast as one (aim 1.8)."


def timed(body: Callable[[], object], times: int) -> float:
    """The median of processor seconds, after once for nothing."""
    body()
    taken = []
    for _ in range(times):
        started = time.process_time()
        body()
        taken.append(time.process_time() - started)
    return median(taken)


def training(times: int, **options: Any) -> str:
    """Our loop, from a memory map to the checkpoint, and the step alone, in turn."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    items = rng.normal(0, 0.4, (30 * BATCH, 1024, 7)).astype(np.float32)
    pieces = rng.integers(0, 8, items.shape[:2], dtype=np.int16)
    few = {"items": torch.from_numpy(items[:BATCH]),
           "free_label": torch.from_numpy(pieces[:BATCH])}  # fmt: skip
    plan = Plan(epochs=1000, batch_size=BATCH, precision="bf16")
    probe = prepare(torch.from_numpy(items[:64]))
    bare = steps.alone(Convexity(build("small", **options)), few)
    ours = steps.looped(
        Convexity(build("small", **options)), items, probe, plan, {"free_label": pieces}
    )
    step, loop = steps.in_turn(bare, ours, 0.6 * times)
    return (
        f"Convexity, {BATCH} clouds of {POINTS} points: {BATCH / loop:.0f} clouds/s in our loop "
        f"(reading, views, step, curves, checkpoints), {step / loop:.2f} of the bare step on views "
        "in memory (aim 0.9)."
    )


def libraries(path: Path, times: int) -> list[str]:
    """Sampling a surface and finding neighbours, and what trimesh and scipy take for it."""
    loaded = trimesh.load_mesh(path, process=False)
    mesh = Mesh(np.asarray(loaded.vertices), np.asarray(loaded.faces))
    cloud = torch.randn(BATCH, POINTS, 3)
    centres = cloud[:, :128]

    def trees() -> None:
        for place, wanted in zip(cloud.numpy(), centres.numpy(), strict=True):
            cKDTree(place).query(wanted, 16)

    pairs = {
        "2,048 points on a mesh; trimesh": (
            lambda: scattered(mesh, 2048), lambda: trimesh.sample.sample_surface(loaded, 2048),
        ),
        f"16 neighbours of 128 centres, {BATCH} clouds; scipy": (
            lambda: nearest(cloud, centres, 16), trees,
        ),
    }  # fmt: skip
    lines = ["| | ours, ms | the library, ms |", "|---|---:|---:|"]
    for name, (ours, theirs) in pairs.items():
        one, two = timed(ours, times), timed(theirs, times)
        lines.append(f"| {name} | {1000 * one:.1f} | {1000 * two:.1f} |")
    return lines


def main(count: int = 24, times: int = 7, **options: Any) -> str:
    """All tables, in Markdown."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = meshes(Path(folder), count)
        parts = [*labelling(paths), "", scaling(paths), "", training(times, **options), "",
                 *libraries(paths[0], times)]  # fmt: skip
    return "\n".join(parts)


def page(*, quick: bool) -> str:
    """The section."""
    return SECTION.format(machine=machine(), tables=main(2, 1) if quick else main())
