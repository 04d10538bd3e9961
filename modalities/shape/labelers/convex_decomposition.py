"""Which convex piece of its shape does a point lie on? Approximate convex decomposition as a label.

Gadelha, RoyChowdhury, Sharma, Kalogerakis, Cao, Learned-Miller, Wang, Maji, "Label-Efficient
Learning on Point Clouds Using Approximate Convex Decompositions", ECCV 2020, arXiv:2003.13834.

Shapes: P points of an item, N items.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt, Le

from modalities.labels import Array, Labeler, LabelerInput, Labels
from modalities.shape.drawing.pictures import numbered
from modalities.shape.labelling import gallery, hulls
from modalities.shape.labelling.isolation import Answer, Limits, decompose
from modalities.shape.reading.meshes import Mesh, load, sane
from modalities.shape.reading.readers import frame
from modalities.shape.reading.suffixes import CLOUDS, MESHES

TOOLS = ("vhacd", "coacd", "coacd, thickened", "vhacd, after coacd", "clusters")
TRUST = (1.0, 1.0, 0.9, 1.0, 0.3)  # confidence of a point that lies on its piece
FAR = 0.1  # a point so far outside of its piece (in radii of the shape) has no confidence left
FIT = 0.15  # mesh and points must agree on where the shape ends, in the same unit


class ConvexDecomposition(Labeler):
    """A component id for every point: (P,) per item, the largest component first.

    `tool`: V-HACD at most `hulls` pieces on a grid of `voxels`, split at most `depth` times down to
    a volume `error` in percent; or CoACD (needs the extra `quality`) at concavity `threshold`,
    tried again with its own repair of the surface, then V-HACD. Then neighbours are joined while
    that adds less than `merge` of the volume of all, so that each shape has its own count. Each
    mesh is taken apart by a process of its own, within `seconds` of processor time and `megabytes`.
    Shapes without a usable mesh, and those that a tool fails on, get `clusters` groups of points
    that are near and face the same way, marked by a low confidence.

    A cloud's mesh is the one of its name beside it, or in the folder `meshes` (as
    SYNSET/ID/models/model_normalized.obj there, SYNSET/ID/model.obj or SYNSET/ID.obj).
    """

    chunk = 4  # each item takes about a second

    def __init__(  # noqa: PLR0913
        self,
        *,
        tool: Literal["vhacd", "coacd"] = "vhacd",
        hulls: Annotated[int, Ge(2)] = 32,
        voxels: Annotated[int, Ge(1000)] = 50000,
        depth: Annotated[int, Ge(1), Le(32)] = 10,
        error: Annotated[float, Gt(0), Le(100)] = 1.0,
        corners: Annotated[int, Ge(8)] = 64,
        merge: Annotated[float, Ge(0), Le(1)] = 0.04,
        threshold: Annotated[float, Gt(0), Le(1)] = 0.1,
        clusters: Annotated[int, Ge(2)] = 8,
        seconds: Annotated[float, Gt(0)] = 60.0,
        megabytes: Annotated[int, Ge(100)] = 4000,
        meshes: str = "",
    ) -> None:
        self.tool, self.merge, self.clusters, self.meshes = tool, merge, clusters, meshes
        self.options: dict[str, Any] = {
            "hulls": hulls, "voxels": voxels, "depth": depth, "error": error, "corners": corners,
            "threshold": threshold, "preprocess": "auto",
        }  # fmt: skip
        self.limits = Limits(seconds, megabytes)
        if tool == "coacd":
            import coacd  # noqa: F401 (its absence is said at once, not once per shape)

    def label(self, path: Path, item: Array) -> Array:
        """(P + 1, 2) float32: component and confidence of each point; last the tool, seconds."""
        points, normals = item[:, :3].astype(np.float64), item[:, 3:6].astype(np.float64)
        pieces, tool, seconds = self._pieces(path, points)
        if pieces:
            which, outside = hulls.assign(pieces, points, normals)
            confidence = TRUST[tool] * (1 - np.minimum(outside / FAR, 1))
        else:
            which = clustered(points, normals, self.clusters)
            confidence = np.full(len(points), TRUST[tool])
        rows = np.stack([numbered(which), confidence], 1)
        return np.concatenate([rows, [[tool, seconds]]]).astype(np.float32)

    def beside(self, path: Path) -> Path | None:
        """A cloud's mesh."""
        found = self._file(path)
        return None if found == path else found

    def gather(self, found: LabelerInput) -> Labels:
        """Components (N, P) int32, -1 where there is no label."""
        values = found.values[:, :-1, 0].astype(np.int32)
        values[~found.ok] = -1
        confidence = found.values[:, :-1, 1] * found.ok[:, None]
        tool, seconds = found.values[:, -1, 0].astype(int), found.values[:, -1, 1]
        provenance = [TOOLS[t] if ok else "none" for t, ok in zip(tool, found.ok, strict=True)]
        numbers = gallery.measures(values, found)
        for at, name in enumerate(TOOLS):
            numbers[f"shapes by {name}"] = float((found.ok & (tool == at)).sum())
        # Processor time differs from run to run: it is told, and kept out of what DVC tracks.
        found.tell.metrics({"seconds a shape": float(seconds[found.ok].mean())})
        gallery.write(values, provenance, found)
        return Labels(values, confidence.astype(np.float32), provenance, numbers)

    def _pieces(self, path: Path, points: Array) -> tuple[list[hulls.Hull], int, float]:
        """Convex pieces in the item's frame, the tool that made them, its seconds."""
        mesh = self._mesh(path, points)
        spent = 0.0
        for tool, name, preprocess in self._attempts() if mesh else ():
            assert mesh is not None
            answer = self._ask(mesh, name, preprocess)
            spent += answer.seconds or self.limits.seconds
            solid = [h for piece, _ in answer.pieces if (h := hulls.hull(piece)) is not None]
            if solid:
                return hulls.merged(solid, self.merge), tool, spent
        return [], TOOLS.index("clusters"), spent

    def _attempts(self) -> list[tuple[int, str, str]]:
        if self.tool == "vhacd":
            return [(0, "vhacd", "")]
        return [(1, "coacd", "auto"), (2, "coacd", "on"), (3, "vhacd", "")]

    def _ask(self, mesh: Mesh, name: str, preprocess: str) -> Answer:
        """Along the axes of the smallest box around the mesh, where cuts are where parts meet."""
        turn = _axes(mesh.vertices)
        options = self.options | {"preprocess": preprocess}
        found = decompose(name, mesh.vertices @ turn, mesh.faces, options, self.limits)
        return Answer([(v @ turn.T, f) for v, f in found.pieces], found.failure, found.seconds)

    def _mesh(self, path: Path, points: Array) -> Mesh | None:
        """The mesh behind an item in the item's frame; None: there is none, or not this shape's."""
        file = self._file(path)
        if file is None:
            return None
        try:
            found = load(file)
            if not isinstance(found, Mesh):
                return None
            mesh = sane(frame(path, len(points)).enter(found.vertices), found.faces)
        except ValueError:
            return None
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        gap = max(np.abs(points.min(0) - low).max(), np.abs(points.max(0) - high).max())
        return mesh if gap < FIT else None

    def _file(self, path: Path) -> Path | None:
        if path.suffix.lower() in MESHES:
            return path
        if path.suffix.lower() not in CLOUDS:
            return None
        near = [path.with_suffix(suffix) for suffix in sorted(MESHES)]
        if self.meshes:
            home = Path(self.meshes) / path.parent.name
            inside = ("models/model_normalized.obj", "model.obj")
            near += [home / path.stem / name for name in inside]
            near += [home / f"{path.stem}{suffix}" for suffix in sorted(MESHES)]
        return next((each for each in near if each.is_file()), None)


def _axes(vertices: Array) -> Array:
    """Axes of the smallest box around the vertices, (3, 3), a rotation; as they are if flat."""
    from trimesh import bounds

    try:
        found, _ = bounds.oriented_bounds(vertices)  # type: ignore[no-untyped-call]
    except Exception:  # Qhull's, for what is flat; V-HACD may still make something of it
        return np.eye(3)
    turn = np.asarray(found)[:3, :3].T
    return turn if np.linalg.det(turn) > 0 else np.eye(3)


def clustered(points: Array, normals: Array, count: int) -> Array:
    """The last resort: k-means on positions and normals, (P,)."""
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    rows = np.concatenate([points, 0.3 * normals], 1)
    with threadpool_limits(1):
        fitted = KMeans(min(count, len(np.unique(rows, axis=0))), n_init=2, random_state=0).fit(
            rows
        )
    return np.asarray(fitted.labels_)
