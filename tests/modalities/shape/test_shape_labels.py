"""Convex decomposition as a labeler: hulls, isolation, fall-backs; and the controls beside it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh

from modalities.common.training.monitor import Silence
from modalities.items import Arrays
from modalities.labels import LabelerInput
from modalities.shape.drawing.pictures import numbered
from modalities.shape.labelers.convex_decomposition import TOOLS, ConvexDecomposition, clustered
from modalities.shape.labelers.kmeans_coordinates import KmeansCoordinates
from modalities.shape.labelers.random import Random
from modalities.shape.labelling import hulls, isolation
from modalities.shape.labelling.gallery import purity
from modalities.shape.labelling.isolation import Limits, decompose
from modalities.shape.reading.readers import read
from tasks.playroom.shape import kinds
from tasks.playroom.shape_solids import Body, apart, union

FAST: dict[str, Any] = {"voxels": 5000, "depth": 5}
OPTIONS = {"hulls": 8, "voxels": 5000, "depth": 5, "error": 1.0, "corners": 32}
LIMITS = Limits(20, 4000)


def cross() -> Any:
    """Three bars through one point: seven convex pieces, or six and a middle."""
    return trimesh.boolean.union(
        [trimesh.creation.box(np.roll((3, 0.5, 0.5), i)) for i in range(3)], engine="manifold"
    )


def saved(tmp_path: Path, mesh: Any, name: str = "shape.obj") -> Path:
    path = tmp_path / name
    mesh.export(path)
    return path


def test_hulls_have_their_volume_and_flat_ones_next_to_none() -> None:
    box = trimesh.creation.box((1, 2, 3))
    found = hulls.hull(np.array(box.vertices))
    assert found is not None
    assert found.volume == pytest.approx(6)
    assert len(found.planes) == 6
    flat = hulls.hull(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0.0]]))
    assert flat is None or flat.volume < 1e-6
    assert hulls.hull(np.zeros((3, 3))) is None
    assert hulls.hull(np.full((9, 3), np.nan)) is None


def box_hull(low: float, high: float) -> hulls.Hull:
    box = trimesh.creation.box(bounds=[(low, 0, 0), (high, 1, 1)])
    found = hulls.hull(np.array(box.vertices))
    assert found is not None
    return found


def test_neighbours_are_merged_while_that_adds_little() -> None:
    halves = [box_hull(0, 1), box_hull(1, 2)]
    assert len(hulls.merged(halves, 0.01)) == 1
    far = [box_hull(0, 1), box_hull(3, 4)]
    assert len(hulls.merged(far, 10.0)) == 2, "no neighbours"
    tall = hulls.hull(np.array(trimesh.creation.box(bounds=[(1, 0, 0), (1.2, 5, 1)]).vertices))
    assert tall is not None
    assert len(hulls.merged([box_hull(0, 1), tall], 0.04)) == 2, "an L is not convex"
    assert len(hulls.merged([box_hull(0, 1), tall], 2.0)) == 1


def test_every_point_gets_the_piece_below_it() -> None:
    pieces = [box_hull(0, 1), box_hull(1, 2)]
    points = np.array([[0.5, 0.5, 1], [1.5, 0.5, 1], [2.5, 0.5, 1]])
    which, outside = hulls.assign(pieces, points, np.tile((0, 0, 1.0), (3, 1)))
    assert which.tolist() == [0, 1, 1]
    np.testing.assert_allclose(outside, [0, 0, 0.5], atol=1e-9)
    assert numbered(np.array([7, 3, 3, 9, 3, 9])).tolist() == [2, 0, 0, 1, 0, 1]


def test_bars_are_told_apart(tmp_path: Path) -> None:
    path = saved(tmp_path, cross())
    item = read(path, points=1000)
    made = ConvexDecomposition(**FAST).label(path, item)
    assert made.shape == (1001, 2)
    assert TOOLS[int(made[-1, 0])] == "vhacd"
    arms = np.abs(item[:, :3]).argmax(1) * 2 + (
        np.take_along_axis(item[:, :3], np.abs(item[:, :3]).argmax(1)[:, None], 1)[:, 0] > 0
    )
    ends = np.abs(item[:, :3]).max(1) > 0.4
    score = purity(made[:-1, 0][ends], arms[ends])
    assert score is not None
    assert score[0] > 0.95
    assert (made[:-1, 1] > 0.8).mean() > 0.9
    np.testing.assert_array_equal(
        made[:-1], ConvexDecomposition(**FAST).label(path, item)[:-1]
    )  # fmt: skip


def test_labels_lie_on_the_points_of_a_cloud_whose_mesh_is_beside_it(tmp_path: Path) -> None:
    mesh = cross()
    mesh.apply_scale(100)
    mesh.apply_translation((1000, 0, 0))
    saved(tmp_path, mesh, "a.obj")
    points, face = trimesh.sample.sample_surface(mesh, 1500, seed=0)
    np.savetxt(tmp_path / "a.txt", np.concatenate([points, mesh.face_normals[face]], 1))
    item = read(tmp_path / "a.txt", points=800)
    made = ConvexDecomposition(**FAST).label(tmp_path / "a.txt", item)
    assert TOOLS[int(made[-1, 0])] == "vhacd"
    assert (made[:-1, 1] > 0.8).mean() > 0.9
    labeler = ConvexDecomposition(**FAST)
    assert labeler.beside(tmp_path / "a.txt") == tmp_path / "a.obj"
    assert labeler.beside(tmp_path / "a.obj") is None, "a mesh is its own"
    # Another shape's mesh of the same name is not believed.
    trimesh.creation.box((1, 1, 9)).export(tmp_path / "a.obj")
    other = ConvexDecomposition(**FAST).label(tmp_path / "a.txt", item)
    assert TOOLS[int(other[-1, 0])] == "clusters"


def test_meshes_in_a_folder_of_their_own_are_found(tmp_path: Path) -> None:
    mesh = cross()
    home = tmp_path / "core" / "02691156" / "x" / "models"
    home.mkdir(parents=True)
    mesh.export(home / "model_normalized.obj")
    points, face = trimesh.sample.sample_surface(mesh, 900, seed=0)
    (tmp_path / "part" / "02691156").mkdir(parents=True)
    path = tmp_path / "part" / "02691156" / "x.txt"
    np.savetxt(path, np.concatenate([points, mesh.face_normals[face]], 1))
    labeler = ConvexDecomposition(**FAST, meshes=str(tmp_path / "core"))
    assert labeler.beside(path) == home / "model_normalized.obj"
    made = labeler.label(path, read(path, points=500))
    assert TOOLS[int(made[-1, 0])] == "vhacd"


def test_a_cloud_without_a_mesh_gets_clusters_of_low_confidence(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.xyz", np.random.default_rng(0).normal(size=(300, 3)))
    item = read(tmp_path / "a.xyz", points=300)
    made = ConvexDecomposition(clusters=5).label(tmp_path / "a.xyz", item)
    assert TOOLS[int(made[-1, 0])] == "clusters"
    assert set(made[:-1, 0]) == {0, 1, 2, 3, 4}
    assert (made[:-1, 1] < 0.5).all()
    two = np.repeat([[0.0, 0, 0], [1, 1, 1]], 4, 0)
    assert len(np.unique(clustered(two, np.zeros((8, 3)), 8))) == 2


@pytest.mark.parametrize("broken", ["flat", "nan", "empty", "gone", "one face", "holes"])
def test_broken_meshes_still_get_labels(tmp_path: Path, broken: str) -> None:
    mesh = trimesh.creation.icosphere(subdivisions=2)
    np.savetxt(tmp_path / "a.txt", np.concatenate([mesh.vertices, mesh.vertex_normals], 1))
    if broken == "flat":
        mesh.vertices[:, 2] = 0
    if broken == "nan":
        mesh.vertices[::5] = np.nan
    if broken == "one face":
        mesh = trimesh.Trimesh(mesh.vertices, mesh.faces[:1], process=False)
    if broken == "holes":
        mesh = trimesh.Trimesh(mesh.vertices, mesh.faces[::2], process=False)
    path = saved(tmp_path, mesh, "a.obj")
    if broken == "empty":
        path.write_text("")
    if broken == "gone":
        path.unlink()
    item = read(tmp_path / "a.txt", points=162)
    made = ConvexDecomposition(**FAST).label(tmp_path / "a.txt", item)
    assert (made[:-1, 0] >= 0).all()
    tool = TOOLS[int(made[-1, 0])]
    assert tool == ("vhacd" if broken == "holes" else "clusters")


HELPER = """
import os, sys
sys.path.insert(0, {home!r})
import decomposer

def hang(vertices, faces, options):
    while True:
        pass

def sleep(vertices, faces, options):
    import time
    time.sleep(1000)

def crash(vertices, faces, options):
    os.kill(os.getpid(), 11)

def hog(vertices, faces, options):
    import numpy as np
    return [(np.ones(1 << 36), faces)]

def fail(vertices, faces, options):
    raise RuntimeError("no\\nway")

def good(vertices, faces, options):
    return [(vertices, faces)]

for each in (hang, sleep, crash, hog, fail, good):
    decomposer.TOOLS[each.__name__] = each
decomposer.TOOLS["vhacd"] = globals()[{vhacd!r}]
out = os.fdopen(os.dup(1), "wb")
decomposer.main(sys.stdin.buffer, out)
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A helper with tools that misbehave; `tools(NAME)`: that one stands for V-HACD."""

    def install(vhacd: str = "good") -> None:
        script = tmp_path / "helper.py"
        home = str(Path(isolation.__file__).parent)
        script.write_text(HELPER.format(home=home, vhacd=vhacd))
        isolation._stop()
        monkeypatch.setattr(isolation, "SCRIPT", script)

    yield install
    isolation._stop()


@pytest.mark.parametrize(
    ("tool", "reason"),
    [("hang", "time limit"), ("sleep", "time limit"), ("crash", "crashed"), ("hog", "memory limit"),
     ("fail", "RuntimeError")],
)  # fmt: skip
def test_no_tool_can_hang_or_kill_us(tools: Any, tool: str, reason: str) -> None:
    tools()
    box = trimesh.creation.box()
    vertices, faces = np.array(box.vertices), np.array(box.faces)
    answer = decompose(tool, vertices, faces, {}, Limits(0.3, 1000))
    assert not answer.pieces
    assert answer.failure is not None
    assert reason in answer.failure
    again = decompose("good", vertices, faces, {}, LIMITS)
    assert len(again.pieces) == 1, "the next mesh finds a helper again"


def test_a_shape_that_hangs_its_tool_falls_back(tools: Any, tmp_path: Path) -> None:
    tools("hang")
    path = saved(tmp_path, cross())
    item = read(path, points=200)
    made = ConvexDecomposition(seconds=0.3).label(path, item)
    assert TOOLS[int(made[-1, 0])] == "clusters"


def test_labelers_can_be_sent_to_other_processes() -> None:
    for labeler in (ConvexDecomposition(), KmeansCoordinates(), Random()):
        assert vars(pickle.loads(pickle.dumps(labeler))) == vars(labeler)


def test_coacd_or_what_follows_it(tmp_path: Path) -> None:
    pytest.importorskip("coacd")
    path = saved(tmp_path, cross())
    item = read(path, points=500)
    made = ConvexDecomposition(tool="coacd", threshold=0.3, **FAST).label(path, item)
    assert TOOLS[int(made[-1, 0])] in TOOLS[1:4]
    assert len(np.unique(made[:-1, 0])) >= 3


def found(items: Any, values: Any, folder: Path) -> LabelerInput:
    count = len(items)
    truth = np.zeros(count, np.int64)
    return LabelerInput(
        values, np.ones(count, bool), Arrays(items), truth, ["shape"], folder, 0, Silence()
    )


def test_gathered_labels_say_who_made_them_and_how_good_they_are(tmp_path: Path) -> None:
    path = saved(tmp_path, cross())
    item = read(path, points=400)
    item[:, 6] = np.abs(item[:, :3]).argmax(1)
    labeler = ConvexDecomposition(**FAST)
    values = np.stack([labeler.label(path, item)] * 3)
    values[2, -1, 0] = TOOLS.index("clusters")
    made = labeler.gather(found(np.stack([item] * 3), values, tmp_path))
    assert made.values.shape == made.confidence.shape == (3, 400)
    assert made.provenance == ["vhacd", "vhacd", "clusters"]
    assert made.metrics["shapes by vhacd"] == 2
    assert 0.5 < made.metrics["purity"] <= 1
    assert "seconds a shape" not in made.metrics, "what differs from run to run is not kept"
    assert (tmp_path / "labels.png").stat().st_size > 1000
    assert "clusters" in (tmp_path / "labels.html").read_text()


def test_purity_counts_pairs() -> None:
    labels, parts = np.array([0, 0, 0, 1, 1, 2]), np.array([5, 5, 6, 6, 6, 6])
    score = purity(labels, parts)
    assert score is not None
    assert score[0] == pytest.approx(2 / 4)  # pairs of one label: 3 + 1 + 0; pure: 1 + 1
    assert purity(labels, np.full(6, -1)) is None
    assert purity(parts, parts) == (1.0, pytest.approx(1.0))


def test_controls_label_every_point_and_repeat_themselves(tmp_path: Path) -> None:
    item = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    for labeler in (KmeansCoordinates(clusters=6), Random(groups=6)):
        one = labeler.label(tmp_path, item)
        np.testing.assert_array_equal(one, labeler.label(tmp_path, item))
        assert one.shape == (300,)
        assert set(one) == set(range(6))
        made = labeler.gather(found(item[None], one[None], tmp_path))
        assert (made.confidence == 1).all()
    km = KmeansCoordinates(clusters=6).label(tmp_path, item)
    assert np.mean([item[km == k, :3].var(0).sum() for k in range(6)]) < 0.6 * 3


def test_separate_bodies_would_tell_the_parts(tmp_path: Path) -> None:
    """Connected components are an oracle on concatenated solids, and nothing on their union."""
    chair = next(kind for kind in kinds() if kind.name == "chair")
    scores = {"apart": [], "union": []}  # type: ignore[var-annotated]
    for seed in range(3):
        toy = chair.make(np.random.default_rng(seed))
        for name, body in (("apart", apart(toy)), ("union", union(toy))):
            scores[name].append(_connected(body))
    assert np.mean(scores["apart"]) == 1
    assert np.mean(scores["union"]) < 0.7


def _connected(body: Body) -> float:
    """The purity of connected components, over faces."""
    mesh = trimesh.Trimesh(body.vertices, body.faces, process=False)
    mesh.merge_vertices()
    label = trimesh.graph.connected_component_labels(mesh.face_adjacency, len(mesh.faces))
    score = purity(np.asarray(label), body.part)
    assert score is not None
    return score[0]
