"""Meshes and clouds of every format, whole and deliberately broken; the layouts of folders."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import trimesh

from modalities.items import UserError
from modalities.shape.reading import layouts
from modalities.shape.reading.meshes import Mesh, load
from modalities.shape.reading.readers import frame, read
from tasks.items.reading import Reading, container

FORMATS = ("obj", "off", "stl", "ply", "glb", "3mf")


def torus() -> Any:
    return trimesh.creation.torus(1.0, 0.3)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_shape(tmp_path: Path, kind: str) -> None:
    mesh = torus()
    mesh.apply_translation((5, -3, 100))
    mesh.apply_scale(40)
    path = tmp_path / f"torus.{kind}"
    mesh.export(path)
    item = read(path, points=2048)
    assert item.shape == (2048, 7)
    assert item.dtype == np.float32
    assert np.abs(item[:, :3].mean(0)).max() < 1e-5
    assert np.linalg.norm(item[:, :3], axis=1).max() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(np.linalg.norm(item[:, 3:6], axis=1), 1, atol=1e-5)
    assert (item[:, 6] == -1).all()
    np.testing.assert_array_equal(item, read(path, points=2048))
    # On a torus of radii 1 and .3 every point is .3 from the middle circle, and normals point out.
    place, normal = item[:, :3] * 1.3, item[:, 3:6]
    axis = 2 if kind != "glb" else int(np.argmin(np.ptp(place, axis=0)))
    flat = np.delete(np.arange(3), axis)
    ring = np.linalg.norm(place[:, flat], axis=1)
    away = np.hypot(ring - 1, place[:, axis])
    assert np.abs(away - 0.3).max() < 0.03
    centre = np.zeros_like(place)
    centre[:, flat] = place[:, flat] / ring[:, None]
    assert (np.einsum("ni,ni->n", place - centre, normal) > 0).mean() > 0.999


def test_points_are_spread_by_area(tmp_path: Path) -> None:
    box = trimesh.creation.box((1, 1, 4)).subdivide_to_size(0.7)
    path = tmp_path / "box.ply"
    box.export(path)
    item = read(path, points=4000)
    ends = np.abs(item[:, 5]) > 0.9
    assert ends.mean() == pytest.approx(2 / 18, abs=0.01)


def test_a_scene_is_flattened_with_its_transforms(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    ball = trimesh.creation.icosphere(subdivisions=2)
    for x in (-10, 10):
        scene.add_geometry(ball, transform=trimesh.transformations.translation_matrix((x, 0, 0)))
    path = tmp_path / "two.glb"
    scene.export(path)
    x = read(path, points=1000)[:, 0]
    assert 400 < (x < 0).sum() < 600
    assert np.abs(x).min() > 0.7


def test_inside_out_bodies_are_turned(tmp_path: Path) -> None:
    good, bad = trimesh.creation.icosphere(), trimesh.creation.icosphere()
    bad.invert()
    bad.apply_translation((4, 0, 0))
    path = tmp_path / "pair.glb"
    trimesh.Scene([good, bad]).export(path)
    item = read(path, points=500)
    centre = np.where(item[:, :1] < 0, -1, 1) * np.array([2 / 3, 0, 0])
    assert (np.einsum("ni,ni->n", item[:, :3] - centre, item[:, 3:6]) > 0).all()


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


BOX = trimesh.creation.box()
BROKEN: dict[str, tuple[str, Callable[[], str], str]] = {
    "empty": ("a.obj", lambda: "", "empty file"),
    "noise": ("a.ply", lambda: "hello\n" * 9, "truncated or damaged"),
    "no faces": ("a.off", lambda: "OFF\n0 0 0\n", "no faces|truncated or damaged"),
    "not finite": ("a.obj", lambda: "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite: 1 of 3"),
    "infinite": ("a.obj", lambda: "v 0 0 inf\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
    "a needle": ("a.obj", lambda: "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "no surface"),
    "a spot": ("a.obj", lambda: "v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n", "no extent"),
    "indices": (
        "a.off",
        lambda: "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n",
        "out of range|truncated",
    ),
    "columns": ("a.txt", lambda: "1 2 3 4\n5 6 7 8\n", "columns: expected 3, 6 or 7, found 4"),
    "words": ("a.txt", lambda: "x y z\n", "truncated or damaged"),
    "parts": ("a.txt", lambda: "0 0 0 0 0 1 .5\n1 0 0 0 0 1 1\n", "parts: expected whole"),
    "lost points": ("a.xyz", lambda: "0 0 nan\n1 1 1\n", "not finite: 1 of 2 points"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    file, text, reason = BROKEN[name]
    with pytest.raises(ValueError, match=reason) as caught:
        read(write(tmp_path / file, text()), points=64)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_files_are_refused_or_read(tmp_path: Path, kind: str) -> None:
    """Whatever is cut off, the answer is an array or a reason."""
    path = tmp_path / f"whole.{kind}"
    torus().export(path)
    content = path.read_bytes()
    refused = 0
    for share in (0.02, 0.3, 0.6, 0.95):
        path.write_bytes(content[: int(len(content) * share)])
        try:
            assert np.isfinite(read(path, points=64)).all()
        except ValueError:
            refused += 1
    assert refused >= 1


def test_vertices_that_no_face_uses_play_no_role(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1e9 nan 0\nf 1 2 3\n"
    found = load(write(tmp_path / "a.obj", text))
    assert isinstance(found, Mesh)
    assert len(found.vertices) == 3


def test_sheets_and_soups_are_read(tmp_path: Path) -> None:
    sheet = write(tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert np.isfinite(read(sheet, points=64)).all()
    soup = torus()
    path = tmp_path / "b.stl"
    trimesh.Trimesh(soup.triangles.reshape(-1, 3), np.arange(3 * len(soup.faces)).reshape(-1, 3),
                    process=False).export(path)  # fmt: skip
    assert read(path, points=64).shape == (64, 7)


@pytest.mark.slow
def test_five_million_faces(tmp_path: Path) -> None:
    """A binary STL of 250 MB: read, and its memory is that of its arrays."""
    base = torus().triangles.astype(np.float32)
    count = 5_000_000
    record = np.zeros(count, dtype=[("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")])
    record["v"] = base[np.arange(count) % len(base)]
    with (tmp_path / "big.stl").open("wb") as file:
        file.write(b"\0" * 80 + np.uint32(count).tobytes())
        record.tofile(file)
    item = read(tmp_path / "big.stl", points=256)
    assert np.isfinite(item).all()


def test_clouds_keep_their_points_normals_and_parts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(50, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    rows = np.concatenate([rng.normal(size=(50, 3)), normals, np.arange(50)[:, None] % 4], 1)
    np.savetxt(tmp_path / "a.txt", rows)
    np.save(tmp_path / "a.npy", rows)
    item = read(tmp_path / "a.txt", points=50)
    place = frame(tmp_path / "a.txt", 50)
    np.testing.assert_allclose(item[:, :3], place.enter(rows[:, :3]), atol=1e-5)
    np.testing.assert_allclose(item[:, 3:], rows[:, 3:], atol=1e-5)
    np.testing.assert_array_equal(item, read(tmp_path / "a.npy", points=50))
    many = read(tmp_path / "a.txt", points=120)  # each of them twice or three times
    counts = np.unique(many[:, :3], axis=0, return_counts=True)[1]
    assert set(counts.tolist()) == {2, 3}
    assert len(np.unique(read(tmp_path / "a.txt", points=20)[:, :3], axis=0)) == 20


def test_normals_are_guessed_where_there_are_none(tmp_path: Path) -> None:
    ball = trimesh.creation.icosphere(subdivisions=4).vertices
    np.savetxt(tmp_path / "ball.xyz", ball)
    item = read(tmp_path / "ball.xyz", points=512)
    assert (np.einsum("ni,ni->n", item[:, :3], item[:, 3:6]) > 0.98).all()


def shapenetpart(top: Path) -> None:
    top.joinpath("synsetoffset2category.txt").write_text("Airplane\t02691156\nCap\t02954340\n")
    (top / "train_test_split").mkdir()
    rows = "0 0 0 0 0 1 {0}\n1 0 0 0 1 0 {0}\n0 1 0 1 0 0 {1}\n"
    for folder, parts in (("02691156", (0, 3)), ("02954340", (6, 7))):
        (top / folder).mkdir()
        for name in ("a", "b", "c"):
            (top / folder / f"{name}.txt").write_text(rows.format(*parts))
    for split, name in (("train", "a"), ("val", "b"), ("test", "c")):
        entries = [f"shape_data/02691156/{name}", f"shape_data/02954340/{name}"]
        path = top / "train_test_split" / f"shuffled_{split}_file_list.json"
        path.write_text(json.dumps(entries))


def test_shapenetpart_as_it_is_on_disk(tmp_path: Path) -> None:
    shapenetpart(tmp_path)
    found = {i.source: (i.label, i.split) for i in layouts.find(tmp_path)}
    assert found["02691156/a.txt"] == ("Airplane", "train")
    assert found["02954340/b.txt"] == ("Cap", "val")
    assert found["02954340/c.txt"] == ("Cap", "test")
    assert len(found) == 6
    assert layouts.describe(tmp_path) == "ShapeNetPart"
    (tmp_path / "02954340" / "c.txt").unlink()
    missing = {i.source: i.split for i in layouts.find(tmp_path)}
    assert missing["02954340/c.txt"] == "test", "named, so that it is quarantined by name"


def test_modelnet40_meshes_and_points(tmp_path: Path) -> None:
    for name in ("bed", "night_stand"):
        for split in ("train", "test"):
            folder = tmp_path / "meshes" / name / split
            folder.mkdir(parents=True)
            BOX.export(folder / f"{name}_0001.off")
        (tmp_path / "points" / name).mkdir(parents=True)
        np.savetxt(tmp_path / "points" / name / f"{name}_0001.txt", np.eye(3, 6), delimiter=",")
    (tmp_path / "points" / "modelnet40_train.txt").write_text("bed_0001\n")
    (tmp_path / "points" / "modelnet40_test.txt").write_text("night_stand_0001\n")
    meshes = {(i.label, i.split) for i in layouts.find(tmp_path / "meshes")}
    assert meshes == {(n, s) for n in ("bed", "night_stand") for s in ("train", "test")}
    points = {(i.label, i.split) for i in layouts.find(tmp_path / "points")}
    assert points == {("bed", "train"), ("night_stand", "test")}
    # The header without a line break, which many of ModelNet40's files have.
    path = tmp_path / "odd.off"
    path.write_text("OFF3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    assert read(path, points=64).shape == (64, 7)


def test_partnet_files_hold_many_items(tmp_path: Path) -> None:
    home = tmp_path / "ins_seg_h5" / "Lamp"
    home.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with h5py.File(home / "train-00.h5", "w") as file:
        file["pts"] = rng.normal(size=(3, 100, 3))
        file["label"] = rng.integers(4, size=(3, 100))
    (home / "test-00.h5").write_bytes(b"no HDF5")
    found = layouts.find(tmp_path)
    assert layouts.describe(tmp_path) == "PartNet"
    assert [(i.label, i.split) for i in found] == [("Lamp", "test")] + [("Lamp", "train")] * 3
    outcomes, arrays = Reading(read, tmp_path, {"points": 64}).chunk([i.source for i in found])
    assert [o.reason is None for o in outcomes] == [False, True, True, True]
    assert len({o.sha256 for o in outcomes}) == 4
    assert all(a.shape == (64, 7) and set(a[:, 6]) <= {0, 1, 2, 3} for a in arrays)
    assert container("x/train-00.h5::2") == "x/train-00.h5"
    with h5py.File(home / "val-00.h5", "w") as file:
        file["data"] = rng.normal(size=(1, 100, 3))
        file["data_num"] = [40]
        file["label_seg"] = np.arange(100)[None] % 3
    item = read(home / "val-00.h5::0", points=40)
    assert set(item[:, 6]) == {-1.0, 1.0, 2.0}, "class 0 is `other`"


def test_a_mesh_beside_its_cloud_is_no_item_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        BOX.export(folder / "x.obj")
        BOX.export(folder / "y.obj")
        np.savetxt(folder / "x.txt", BOX.vertices)
        (folder / "readme.txt").write_text("about")
    found = [i.source for i in layouts.find(tmp_path)]
    assert found == ["a/x.txt", "a/y.obj", "b/x.txt", "b/y.obj"]


def test_a_folder_without_shapes_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no shapes found.*\.obj"):
        layouts.find(tmp_path)
