"""A process that decomposes meshes and may be lost: run as a script, it needs nothing of ours.

It reads pickled (tool, vertices, faces, options, limits) from stdin and answers on what was stdout
(the tools print there) with ("ok", [(vertices, faces), ...], seconds) or ("error", text, seconds).
The system ends it when a task takes too long: limits are on processor time, so that a busy machine
changes no label, and ten times as long on the clock, for what hangs without working.
"""

import os
import pickle
import signal
import struct
import sys
import time
from typing import Any, BinaryIO

import numpy as np


def vhacd(vertices: Any, faces: Any, options: dict[str, Any]) -> list[tuple[Any, Any]]:
    """V-HACD 4 (Mamou); at most `hulls` pieces on a grid of `voxels`."""
    import vhacdx

    rows = np.concatenate([np.full((len(faces), 1), 3), faces], 1).astype(np.uint32).ravel()
    found = vhacdx.compute_vhacd(
        np.asarray(vertices, np.float64), rows, maxConvexHulls=options["hulls"],
        resolution=options["voxels"], maxRecursionDepth=options["depth"],
        minimumVolumePercentErrorAllowed=options["error"],
        maxNumVerticesPerCH=options["corners"], asyncACD=False, findBestPlane=True,
    )  # fmt: skip
    return [(np.array(v), np.array(f)) for v, f in found]


def coacd(vertices: Any, faces: Any, options: dict[str, Any]) -> list[tuple[Any, Any]]:
    """CoACD (Wei et al., SIGGRAPH 2022, arXiv:2205.02961), on the union where there is one."""
    import coacd as tool

    tool.set_log_level("off")
    vertices, faces = _united(vertices, faces)
    found = tool.run_coacd(
        tool.Mesh(vertices, faces), threshold=options["threshold"],
        preprocess_mode=options["preprocess"], mcts_iterations=60, mcts_max_depth=2, mcts_nodes=15,
        resolution=1000, seed=0,
    )  # fmt: skip
    return [(np.array(v), np.array(f)) for v, f in found]


def _united(vertices: Any, faces: Any) -> tuple[Any, Any]:
    """The boolean union of a mesh's bodies if each is a manifold, else the mesh itself."""
    import manifold3d as m

    solid = m.Manifold(m.Mesh(vertices.astype(np.float32), faces.astype(np.uint32)))
    if solid.status() != m.Error.NoError or solid.is_empty():
        return vertices, faces
    mesh = m.Manifold.batch_boolean(solid.decompose(), m.OpType.Add).to_mesh()
    return np.asarray(mesh.vert_properties[:, :3], np.float64), np.asarray(mesh.tri_verts, np.int32)


TOOLS = {"vhacd": vhacd, "coacd": coacd}


def limit(megabytes: int) -> None:
    """No more address space than that above what the process has now."""
    import resource

    used = 0
    if os.path.exists("/proc/self/statm"):  # noqa: PTH110 (nothing more to import)
        with open("/proc/self/statm") as file:  # noqa: PTH123
            used = int(file.read().split()[0]) * resource.getpagesize()
    most = used + megabytes * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def answer(task: Any) -> Any:
    """What becomes of one task."""
    tool, vertices, faces, options, seconds, megabytes = task
    limit(megabytes)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 10 * seconds)
    started = time.process_time()
    try:
        found = ("ok", TOOLS[tool](vertices, faces, options))
    except MemoryError:
        found = ("error", "memory limit")  # type: ignore[assignment]
    except Exception as error:  # tools raise nearly anything
        found = ("error", f"{type(error).__name__}: {error}"[:200])  # type: ignore[assignment]
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    return (*found, time.process_time() - started)


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Answer until nobody asks."""
    while len(head := source.read(8)) == 8:
        said = pickle.dumps(answer(pickle.loads(source.read(struct.unpack("<q", head)[0]))))
        sink.write(struct.pack("<q", len(said)) + said)
        sink.flush()


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    main(sys.stdin.buffer, out)
