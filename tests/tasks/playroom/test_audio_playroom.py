"""The Playroom's sounds: a public layout, the same from one seed, not told by a mean spectrum."""

import csv
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modalities.audio.reading import find
from modalities.audio.reading.layouts import describe
from modalities.audio.sound import mfcc
from modalities.common.measuring.linear import fit_linear
from modalities.common.training.monitor import Silence
from tasks.playroom.audio import make, plan
from tasks.playroom.sounds import KINDS, blow, passing, record
from tasks.settings.params import Params


def params(seed: int = 0, jobs: int = 1, **counts: Any) -> Params:
    sizes = {"labelled": 3, "unlabelled": 2, "val": 1, "test": 1, "seconds": 0.5, **counts}
    return Params.model_validate(
        {
            "image": {"source": "x", "labels": "x"},
            "playroom": {"make": ["audio"], "seed": seed, "audio": sizes},
            "machine": {"jobs": jobs},
        }
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_it_is_esc50_on_disk_and_follows_from_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "raw/playroom/audio"
    make(params(), Silence())  # type: ignore[arg-type]
    first = contents(folder)
    make(params(jobs=2), Silence())  # type: ignore[arg-type]
    assert contents(folder) == first, "whatever the number of processes"
    assert describe(folder) == "ESC-50"
    items = find(folder, None)
    by_split = {s: sum(i.split == s for i in items) for s in ("train", "val", "test", None)}
    assert by_split == {"train": 36, "val": 12, "test": 12, None: 24}
    assert {i.label for i in items if i.split == "train"} == set(KINDS)
    with (folder / "meta/esc50.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert all(r["filename"].startswith(f"{r['fold']}-") for r in rows)
    with wave.open(str(folder / "audio" / rows[0]["filename"])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 8_000)
    truth = json.loads((folder / "truth.json").read_text())
    assert len(truth) == 84 and sum(t["split"] == "unlabelled" for t in truth) == 24
    make(params(seed=1), Silence())  # type: ignore[arg-type]
    other = contents(folder)
    assert all(other[n] != first[n] for n in other.keys() & first.keys() if n.endswith(".wav"))


def test_more_clips_leave_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {(j.kind, j.number) for j in plan(params(labelled=2), "labelled")}
    many = {(j.kind, j.number) for j in plan(params(labelled=4), "labelled")}
    assert few < many


def test_decay_tells_materials_and_pitch_does_not() -> None:
    def ring(material: str, seed: int) -> float:
        sound = blow(np.random.default_rng(seed), material)
        energy = np.cumsum(sound**2) / np.sum(sound**2)
        return float(np.searchsorted(energy, 0.9) / 16_000)

    rings = {m: np.median([ring(m, s) for s in range(30)]) for m in ("wood", "ceramic", "metal")}
    assert 3 * rings["wood"] < rings["ceramic"] < rings["metal"] / 2


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_sounds_from_beginning_to_end_of_any_length(kind: str) -> None:
    for length in (8_000, 25_600):
        rng = np.random.default_rng(1)
        behind = passing(rng, length)
        assert np.sqrt(np.mean(behind**2)) == pytest.approx(1, abs=0.3)
        sound = record(rng, KINDS[kind](rng, length), behind=behind)
        assert sound.shape == (length,) and sound.dtype == np.int16
        assert 100 < np.sqrt(np.mean(sound.astype(float) ** 2)) < 8_000


@pytest.mark.slow
def test_a_mean_spectrum_does_not_tell_kinds() -> None:
    """Logistic regression on mean MFCC, 20 labels a kind: far from solved (chance is 8 %)."""
    features, labels = [], []
    for code, kind in enumerate(KINDS):
        for number in range(30):
            rng = np.random.default_rng([7, code, number])
            sound, behind = KINDS[kind](rng, 16_000), passing(rng, 16_000)
            features.append(mfcc.mean(record(rng, sound, behind=behind)))
            labels.append(code)
    x, y, train = np.stack(features), np.array(labels), np.arange(len(labels)) % 30 < 20
    models = fit_linear(x[train], y[train], [0.01, 0.1, 1.0])
    best = max(float((m.predict(x[~train]) == y[~train]).mean()) for m in models)
    assert 0.1 < best < 0.65
