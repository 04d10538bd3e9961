"""Files with meshes or point clouds, read and made fit for use, in the file's own coordinates.

Every failure is a ValueError whose text is `reason` or `reason: detail`.

Shapes: V vertices, F faces, n points.
"""

import logging
import warnings
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import trimesh
from numpy.typing import NDArray

from modalities.shape.reading import partnet
from modalities.shape.reading.suffixes import CLOUDS

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

logging.getLogger("trimesh").addHandler(logging.NullHandler())
LARGE = 2_000_000_000  # bytes: more are never opened
JUDGED = 500_000  # faces: of larger meshes nobody asks whether they are inside out
PARTS = 65_536  # a part's number is below
NEIGHBOURS = 16  # of a point, from which its normal is guessed where a file has none


class Mesh(NamedTuple):
    """Triangles that can be used: finite, with valid indices, every vertex referenced."""

    vertices: Floats  # (V, 3)
    faces: Ints  # (F, 3)

    def cross(self) -> Floats:
        """Of two sides of each face, (F, 3): its direction is the normal's, its length 2 areas."""
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return np.asarray(np.cross(b - a, c - a))


def load(path: Path) -> Mesh | Floats:
    """The mesh of a file, its scene flattened; or, of a file of points only, rows as `cloud`."""
    if partnet.MEMBER in path.name or path.suffix == ".h5":
        return completed(partnet.rows(path))
    _check_size(path)
    if path.suffix.lower() in CLOUDS:
        return cloud(path)
    meshes, points = _parsed(path)
    if not meshes:
        # An obj of vertices only is one that was cut off; other formats say how much they hold.
        if not points or path.suffix.lower() == ".obj":
            raise ValueError("no faces")
        return completed(np.concatenate(points))
    usable = [_upright(sane(vertices, faces)) for vertices, faces in meshes if len(faces)]
    if not usable:
        raise ValueError("no faces")
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in usable)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in usable]),
        np.concatenate([mesh.faces + at for mesh, at in zip(usable, starts, strict=False)]),
    )


def _check_size(path: Path) -> None:
    size = path.stat().st_size
    if size == 0:
        raise ValueError("empty file")
    if size > LARGE:
        raise ValueError(f"too large: {size} bytes, at most {LARGE}")


def _parsed(path: Path) -> tuple[list[tuple[Any, Any]], list[Floats]]:
    try:
        return _geometry(path)
    except MemoryError:
        raise ValueError("too large for this machine's memory") from None
    except Exception as error:  # damaged files raise nearly anything
        text = str(error).split("\n", maxsplit=1)[0][:100] or type(error).__name__
        raise ValueError(f"truncated or damaged: {text}") from None


def _geometry(path: Path) -> tuple[list[tuple[Any, Any]], list[Floats]]:
    """(vertices, faces) of all meshes and (n, 3) of all clouds of a file, transforms applied."""
    extra: dict[str, Any] = {"skip_materials": True} if path.suffix.lower() == ".obj" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scene = trimesh.load_scene(str(path), process=False, **extra)
        parts = scene.dump(concatenate=False)
    meshes, points = [], []
    for part in parts:
        if isinstance(part, trimesh.Trimesh):
            meshes.append((np.asarray(part.vertices), np.asarray(part.faces)))
        elif isinstance(part, trimesh.PointCloud):
            points.append(np.asarray(part.vertices, np.float64))
    return meshes, points


def sane(vertices: Any, faces: Any) -> Mesh:
    """A mesh without vertices that no face uses; ValueError for what no tool should see."""
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f"no triangles: arrays of {vertices.shape} and {faces.shape}")
    if not len(faces):
        raise ValueError("no faces")
    if faces.min() < 0 or faces.max() >= len(vertices):
        text = f"{faces.min()}..{faces.max()} of {len(vertices)} vertices"
        raise ValueError(f"face index out of range: {text}")
    used, inverse = np.unique(faces, return_inverse=True)
    vertices = vertices[used]
    wrong = int((~np.isfinite(vertices)).any(1).sum())
    if wrong:
        raise ValueError(f"not finite: {wrong} of {len(vertices)} vertices")
    span = np.ptp(vertices, axis=0).max()
    if not 0 < span < 1e150:  # squares must stay finite
        raise ValueError(f"no extent: all vertices within {span:g}")
    found = Mesh(vertices, inverse.reshape(-1, 3))
    if not found.cross().any():
        raise ValueError("no surface: no face has an area")
    return found


def _upright(mesh: Mesh) -> Mesh:
    """Turned right side out if it is closed and inside out; the same corners are one vertex."""
    if len(mesh.faces) > JUDGED:
        return mesh
    vertices, inverse = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = inverse.ravel()[mesh.faces]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there, back = edges @ [len(vertices), 1], edges @ [1, len(vertices)]
    if np.array_equal(np.sort(there), np.sort(back)):
        a, b, c = (vertices[faces[:, i]] - vertices.mean(0) for i in range(3))
        if np.einsum("fi,fi->f", a, np.cross(b, c)).sum() < 0:
            faces = faces[:, ::-1]
    return Mesh(vertices, np.ascontiguousarray(faces))


def cloud(path: Path) -> Floats:
    """Rows (n, 7) of a file of points: x y z, normal, part; -1 where the file has no parts.

    Text with 3, 6 or 7 numbers a line, blanks or commas between them, or the same as `.npy`.
    """
    try:
        if path.suffix.lower() == ".npy":
            rows = np.load(path, allow_pickle=False).astype(np.float64)
        else:
            text = path.read_text("utf-8").replace(",", " ")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows = np.loadtxt(text.splitlines(), ndmin=2)
    except (ValueError, UnicodeDecodeError, OSError, EOFError) as error:
        text = str(error).split("\n", maxsplit=1)[0][:100]
        raise ValueError(f"truncated or damaged: {text}") from None
    if rows.ndim != 2 or not len(rows):
        raise ValueError("no points")
    if rows.shape[1] not in (3, 6, 7):
        raise ValueError(f"columns: expected 3, 6 or 7, found {rows.shape[1]}")
    return completed(rows)


def completed(rows: Floats) -> Floats:
    """Rows of 3, 6 or 7 columns -> 7: normals guessed, parts -1; ValueError for impossible ones."""
    wrong = int((~np.isfinite(rows)).any(1).sum())
    if wrong:
        raise ValueError(f"not finite: {wrong} of {len(rows)} points")
    if not 0 < (span := np.ptp(rows[:, :3], axis=0).max()) < 1e150:
        raise ValueError(f"no extent: all points within {span:g}")
    normals = rows[:, 3:6] if rows.shape[1] > 3 else np.zeros((len(rows), 3))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, 1e-12)
    if (missing := length[:, 0] < 1e-6).any():
        normals[missing] = guessed_normals(rows[:, :3])[missing]
    parts = rows[:, 6] if rows.shape[1] > 6 else np.full(len(rows), -1.0)
    if ((parts != np.round(parts)) | (parts < -1) | (parts >= PARTS)).any():
        raise ValueError(f"parts: expected whole numbers from -1 to {PARTS - 1}")
    return np.concatenate([rows[:, :3], normals, parts[:, None]], 1)


def guessed_normals(points: Floats) -> Floats:
    """(n, 3) -> the direction in which each point's neighbours spread least, (n, 3), pointing away
    from the middle: right for what bulges, a guess for the rest."""
    from scipy.spatial import cKDTree

    _, near = cKDTree(points).query(points, min(NEIGHBOURS, len(points)))
    patch = points[near.reshape(len(points), -1)]
    centred = patch - patch.mean(1, keepdims=True)
    _, axes = np.linalg.eigh(centred.transpose(0, 2, 1) @ centred)
    normals = axes[:, :, 0]
    outward = np.einsum("ni,ni->n", normals, points - points.mean(0))
    return np.asarray(normals * np.where(outward < 0, -1, 1)[:, None])
