"""Clips: read as frames with their sound, generated, labelled by sound, learnt from."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sound_world import movie, peak, tone

from modalities.base import Randomness
from modalities.common.training.monitor import Silence
from modalities.image.network.factory import build
from modalities.items import Arrays, UserError
from modalities.labels import LabelerInput
from modalities.video.clips import frames_of, pack, shape_of, sound_of, sounds_of
from modalities.video.labelers.sound_texture import SoundTexture
from modalities.video.network import prepare
from modalities.video.network.views import any_frame
from modalities.video.objectives.ambient_sound import AmbientSound
from modalities.video.reading import find, read, thumbnails
from tasks.ingest import ingest
from tasks.label import label
from tasks.playroom.video import VOICES, draw, plan
from tasks.playroom.video import make as make_clips
from tasks.playroom.world.toys import categories
from tasks.settings.params import Params
from tasks.settings.playroom import PlayroomVideo

torch.set_num_threads(1)


def greys(*levels: int, side: int = 32) -> Any:
    """(F, side, side, 3): one level a frame."""
    return np.stack([np.full((side, side, 3), level, np.uint8) for level in levels])


def test_packing_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (5, 3, 8, 6, 3), dtype=np.uint8)
    sounds = rng.integers(-32768, 32768, (5, 70_001), dtype=np.int16)
    rows = np.stack([pack(f, s) for f, s in zip(frames, sounds, strict=True)])
    assert tuple(shape_of(rows[0])) == (3, 8, 6, 70_001)
    np.testing.assert_array_equal(frames_of(rows), frames)
    np.testing.assert_array_equal(frames_of(torch.from_numpy(rows)).numpy(), frames)
    np.testing.assert_array_equal(sound_of(rows[2]), sounds[2])
    np.testing.assert_array_equal(sounds_of(rows[[4, 1]]), sounds[[4, 1]])


def test_a_clip_is_frames_in_their_order_and_their_sound(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mp4", tone(2, 800), greys(*range(20, 240, 28)))  # 8 frames, 4 a s
    row = read(path, size=16, frames=4, seconds=2.0)
    assert tuple(shape_of(row)) == (4, 16, 16, 32_000)
    levels = frames_of(row[None])[0].mean((1, 2, 3))
    assert (np.diff(levels) > 30).all(), "evenly spread, in order"
    assert abs(peak(sound_of(row)) - 800) <= 1


def test_of_a_long_clip_frames_and_sound_are_of_the_same_moment(tmp_path: Path) -> None:
    """Dark and low, then bright and high, then dark and low again: the middle is kept."""
    frames = greys(*[20] * 12, *[220] * 8, *[20] * 12)
    sound = np.concatenate([tone(3, 300), tone(2, 2000), tone(3, 300)])
    row = read(movie(tmp_path / "a.mp4", sound, frames), size=16, frames=2, seconds=1.0)
    assert frames_of(row[None]).mean() > 180
    assert abs(peak(sound_of(row)) - 2000) <= 2


def test_wide_frames_keep_their_centre(tmp_path: Path) -> None:
    wide = np.zeros((4, 32, 64, 3), np.uint8)
    wide[:, :, 16:48] = 200
    row = read(movie(tmp_path / "a.mp4", tone(1), wide), size=16, frames=1, seconds=1.0)
    assert frames_of(row[None]).mean() > 180
    assert thumbnails(row[None]).shape == (1, 16, 16, 3)


def test_broken_clips_say_why(tmp_path: Path) -> None:
    good = movie(tmp_path / "good.mp4", tone(2), greys(*[90] * 8)).read_bytes()
    cases = {
        "no sound track": movie(tmp_path / "a.mp4", None, greys(1, 2, 3, 4)),
        "no pictures": movie(tmp_path / "b.mp4", tone(1)),
        "silent": movie(tmp_path / "c.mp4", tone(1) * 0, greys(1, 2, 3, 4)),
    }
    for name, content in (("empty file", b""), ("truncated or damaged", good[: len(good) // 2]),
                          ("truncated or damaged: Invalid", b"no clip")):  # fmt: skip
        cases[name] = tmp_path / f"{len(cases)}.mp4"
        cases[name].write_bytes(content)
    for reason, path in cases.items():
        with pytest.raises(ValueError, match=reason) as error:
            read(path, size=16, frames=2, seconds=1.0)
        assert str(tmp_path) not in str(error.value)


def batch(count: int = 8) -> torch.Tensor:
    rows = [pack(greys(10 * i, 10 * i + 5, side=8), np.full(8, i, np.int16)) for i in range(count)]
    return torch.from_numpy(np.stack(rows))


def test_views_take_any_frame_of_each_clip() -> None:
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    frames = any_frame(batch(), rng)
    assert frames.shape == (8, 8, 8, 3)
    offsets = frames[:, 0, 0, 0].int() - 10 * torch.arange(8)
    assert set(offsets.tolist()) == {0, 5}
    assert prepare(batch()).shape == (8, 3, 8, 8)


def test_clusters_and_codes_are_predicted_and_missing_ones_left_out() -> None:
    torch.manual_seed(0)
    objective = AmbientSound(build("small", widths=[4, 8]), outputs=4)
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    labels = torch.tensor([0, 1, 2, 3, -1, -1, 0, 1])
    seen = objective.views({"items": batch(), "free_label": labels}, rng)
    loss = objective(seen).loss
    objective.eval()
    logits = objective.head(objective.encoder(seen["image"]))[labels >= 0]
    expected = torch.nn.functional.cross_entropy(logits, labels[labels >= 0])
    torch.testing.assert_close(objective(seen).loss, expected)
    assert torch.isfinite(loss)
    codes = torch.randint(0, 2, (8, 3))
    codes[2] = -1
    known = codes >= 0
    found = objective(seen | {"label": codes}).loss
    logits = objective.head(objective.encoder(seen["image"]))[:, :3]
    bits = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], codes[known].float())
    torch.testing.assert_close(found, bits)
    with pytest.raises(UserError, match=r"outputs: found 4, the labels"):
        objective.views({"items": batch(), "free_label": labels + 1}, rng)


def params(**video: Any) -> Params:
    return Params.model_validate(
        {
            "image": {"source": "x", "labels": "x"},
            "playroom": {"make": ["video"], "video": {"clips": 3, "size": 32, "frames": 2,
                                                      "seconds": 1.0}},
            "video": {"labels": "raw/playroom/video/labels.csv", "size": 16, "frames": 2,
                      "seconds": 1.0, **video},
            "machine": {"jobs": 1},
        }
    )  # fmt: skip


@pytest.mark.slow
def test_from_the_playroom_to_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert VOICES.keys() == {kind.name for kind in categories()}, "every toy has a voice"
    chosen = params(labelers={"sounds": {"labeler": "sound_texture", "options": {"k": 6}}})
    make_clips(chosen, Silence())  # type: ignore[arg-type]
    folder = tmp_path / "raw/playroom/video"
    before = {p.name: p.read_bytes() for p in folder.rglob("*.mp4")}
    make_clips(chosen, Silence())  # type: ignore[arg-type]
    assert before == {p.name: p.read_bytes() for p in folder.rglob("*.mp4")}
    with (folder / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(before) == 12 * 5
    assert len(find(folder, None)) == 60
    ingest(chosen, Silence(), "video")  # type: ignore[arg-type]
    told = json.loads((tmp_path / "data/video/metrics.json").read_text())
    assert (told["ok"], told["classes"], told["quarantined"]) == (60, 12, 0)
    label(chosen, Silence(), "sounds")  # type: ignore[arg-type]
    values = np.load(tmp_path / "labels/sounds/labels.npy")
    assert values.shape == (36,) and set(values) == set(range(6)), "of the train split alone"
    page = (tmp_path / "labels/sounds/clusters.html").read_text()
    assert page.count('class="cluster"') == 6 and "<audio" in page


def test_units_that_respond_to_one_thing_are_shown(tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = AmbientSound(build("small", widths=[4, 8]), outputs=4)
    rng = Randomness(torch.Generator().manual_seed(0), total=8)
    objective.eval()
    objective.show({"items": batch()}, rng, tmp_path)
    page = (tmp_path / "units.html").read_text()
    assert page.count("<b>Unit") == 8 and page.count("data:image/png") == 64


def test_frames_go_with_their_cluster(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(12):
        sound = rng.normal(size=8_000) if i % 2 else tone(0.5, 600) * 3
        rows.append(pack(greys(10 * i), (sound * 3000).astype(np.int16)))
    items = np.stack(rows)
    labeler = SoundTexture(k=2, components=3)
    values = np.stack([labeler.label(tmp_path, row) for row in items])
    truth = np.arange(12) % 2
    found = LabelerInput(
        values, np.ones(12, bool), Arrays(items), truth, ["a", "b"], tmp_path, 0, Silence()
    )
    made = labeler.gather(found)
    assert made.metrics["purity"] == 1
    assert (tmp_path / "clusters.html").read_text().count("data:image/png") == 24


@pytest.mark.slow
def test_a_clip_has_the_same_bytes_whatever_lies_in_memory(tmp_path: Path) -> None:
    rng, usual = np.random.default_rng(0), PlayroomVideo()
    jobs = [job for job in plan(params(labelers={})) if job.split == "test"]
    (tmp_path / "clips").mkdir()
    found: dict[str, set[bytes]] = {job.file: set() for job in jobs}
    for _ in range(4):
        for job in jobs:
            litter = [rng.bytes(int(rng.integers(100, 200_000))) for _ in range(5)]
            draw(job, usual, 0, tmp_path)
            found[job.file].add((tmp_path / job.file).read_bytes())
            del litter
    assert len(jobs) == 12 and {len(each) for each in found.values()} == {1}
