"""The Playroom's shapes: one watertight body each, parts as announced, the same at every making."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import trimesh

from modalities.common.training.monitor import Silence
from modalities.shape.reading import layouts
from modalities.shape.reading.meshes import Mesh, load
from modalities.shape.reading.readers import read
from tasks.playroom import shape
from tasks.playroom.shape_solids import apart, rotation, union, vary, warp
from tasks.settings.params import Machine, Params
from tasks.settings.playroom import Playroom, PlayroomShape
from tasks.settings.sections import Image

SMALL = PlayroomShape(labelled=2, unlabelled=1, val=1, test=1, points=256)


@pytest.mark.parametrize("kind", shape.kinds(), ids=lambda k: k.name)
def test_a_toy_is_one_watertight_body_that_knows_its_parts(kind: shape.Category) -> None:
    for seed in range(3):
        toy = kind.make(np.random.default_rng(seed))
        body = union(toy)
        mesh = trimesh.Trimesh(body.vertices, body.faces, process=False)
        assert mesh.is_watertight
        assert mesh.volume > 0
        loose = apart(toy)
        assert set(body.part) == set(loose.part), "no part is lost"
        # What is left of the solids is their outside: no more of it than they had.
        assert body.areas()[0].sum() <= loose.areas()[0].sum() * 1.001


def test_warps_keep_the_surface_closed_and_turn_it_as_asked() -> None:
    toy = shape.kinds()[0].make(np.random.default_rng(0))
    body = union(toy)
    for pose in ("upright", "turned", "tumbled"):
        bent = warp(body, np.random.default_rng(1), pose)
        assert trimesh.Trimesh(bent.vertices, bent.faces, process=False).is_watertight
        assert trimesh.Trimesh(bent.vertices, bent.faces).volume > 0
        turn = rotation(np.random.default_rng(2), pose)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(rotation(np.random.default_rng(2), "turned")[1], [0, 1, 0])


def params(**more: object) -> Params:
    return Params(
        image=Image(source="x", labels="x"), machine=Machine(jobs=1),
        playroom=Playroom(shape=SMALL.model_copy(update=more)),
    )  # fmt: skip


def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> Path:
    monkeypatch.chdir(tmp_path)
    shape.make(params(**more), Silence())  # type: ignore[arg-type]
    return tmp_path / shape.FOLDER


def test_it_is_read_as_shapenetpart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path, monkeypatch)
    items = layouts.find(folder)
    assert layouts.describe(folder) == "ShapeNetPart"
    count = Counter((item.label, item.split) for item in items)
    names = SMALL.categories
    assert count == Counter(
        {(n, s): k for n in names for s, k in (("train", 2), ("val", 1), ("test", 1))}
        | {(None, None): len(names)}
    )
    codes = shape.codes()
    for item in items[:12]:
        rows = read(folder / item.source, points=256)
        if item.label is None:
            assert (rows[:, 6] == -1).all()
        else:
            assert set(rows[:, 6]) <= set(codes[item.label].values())
        mesh = load((folder / item.source).with_suffix(".obj"))
        assert isinstance(mesh, Mesh)
        points = np.loadtxt(folder / item.source)[:, :3]
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        assert ((points > low - 1e-4) & (points < high + 1e-4)).all()


def test_a_shape_depends_on_the_seed_and_its_number_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one = made(tmp_path / "a", monkeypatch, categories=["lamp", "vase"])
    two = made(tmp_path / "b", monkeypatch, categories=["lamp", "vase"])
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file())
    assert all((one / f).read_bytes() == (two / f).read_bytes() for f in files)
    contents = [(one / f).read_bytes() for f in files if f.suffix == ".txt" and len(f.parts) > 1]
    assert len(set(contents)) == len(contents), "no two shapes are the same"


def test_parts_have_numbers_of_their_own() -> None:
    numbers = [n for own in shape.codes().values() for n in own.values()]
    assert numbers == list(range(len(numbers)))
    assert len(shape.kinds()) >= 6


@pytest.mark.parametrize("kind", shape.kinds(), ids=lambda k: k.name)
def test_varied_toys_stay_closed_and_keep_their_parts(kind: shape.Category) -> None:
    for seed in range(3):
        toy = kind.make(np.random.default_rng(seed))
        own = set(union(toy).part)
        vary(toy, np.random.default_rng(seed), 1.5)
        body = union(toy)
        assert trimesh.Trimesh(body.vertices, body.faces, process=False).is_watertight
        assert set(body.part) == own


def test_variety_makes_parts_more_different() -> None:
    """The share of a chair's surface that is its seat; without variety nothing changes."""
    chair = next(kind for kind in shape.kinds() if kind.name == "chair")

    def spread(amount: float) -> float:
        shares = []
        for seed in range(12):
            toy = chair.make(np.random.default_rng(seed))
            vary(toy, np.random.default_rng(seed), amount)
            body = union(toy)
            area = body.areas()[0]
            shares.append(area[body.part == toy.parts.index("seat")].sum() / area.sum())
        return float(np.std(shares))

    assert spread(1.5) > 1.5 * spread(0.0)
    job = shape.plan(SMALL, 0)[0]
    plain, varied = (
        shape.build(job, SMALL.model_copy(update={"variety": v}), 0)[0] for v in (0, 1)
    )
    assert not np.array_equal(plain.vertices, varied.vertices)
    toy = chair.make(np.random.default_rng(0))
    before = [vertices.copy() for vertices, _, _ in toy.solids()]
    vary(toy, np.random.default_rng(0), 0.0)
    for was, (now, _, _) in zip(before, toy.solids(), strict=True):
        np.testing.assert_allclose(now, was, atol=1e-9)
