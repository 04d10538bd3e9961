"""Sound textures against a slow, separate computation by scipy, and what is made of them."""

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import signal
from sound_world import tone

from modalities.audio.labelers.mfcc_units import MfccUnits
from modalities.audio.labelers.random import Random
from modalities.audio.labelers.sound_texture import SoundTexture
from modalities.audio.labelling import texture
from modalities.audio.labelling.clusters import clustered, purity, whitened
from modalities.audio.labelling.gallery import grouped
from modalities.audio.network.views import per_step
from modalities.audio.sound import mfcc
from modalities.common.training.monitor import Silence
from modalities.items import Arrays
from modalities.labels import LabelerInput
from tasks.playroom.sounds import KINDS, record


def sounds(each: int, seconds: float = 1.0, kinds: tuple[str, ...] = tuple(KINDS)) -> Any:
    """(len(kinds) each, T) int16 and (len(kinds) each,) codes."""
    made, codes = [], []
    for code, kind in enumerate(kinds):
        for number in range(each):
            rng = np.random.default_rng([code, number])
            made.append(record(rng, KINDS[kind](rng, round(seconds * 16_000))))
            codes.append(code)
    return np.stack(made), np.array(codes)


def slow(sound: Any) -> Any:
    """The 502 statistics in the time domain, at the full rate, with scipy's own functions."""
    x = sound.astype(float) / 32768
    hertz = np.abs(np.fft.fftfreq(len(x), 1 / 16_000))
    number = 9.265 * np.log(1 + np.array([20.0, 8000.0]) / (24.7 * 9.265))
    edges = np.linspace(*number, 34)
    place = 9.265 * np.log(1 + hertz / (24.7 * 9.265))
    moving = []
    for band in range(32):
        off = np.clip((place - edges[band + 1]) / (edges[1] - edges[0]), -1, 1)
        heard = np.fft.ifft(np.fft.fft(x) * np.cos(np.pi / 2 * off)).real
        envelope = np.abs(signal.hilbert(heard)) ** 0.3
        moving.append(signal.resample(envelope, len(x) // 40))
    e = np.array(moving)
    mean, deviation, together = e.mean(1), e.std(1), np.corrcoef(e)
    correlations = [together[i, i + k] for k in (1, 2, 3, 5) for i in range(32 - k)]
    rate = np.abs(np.fft.fftfreq(e.shape[1], 1 / 400))
    centres = np.geomspace(0.5, 200, 10)
    powers = np.zeros((32, 10))
    for j, centre in enumerate(centres):
        with np.errstate(divide="ignore"):
            off = np.clip(np.log(rate / centre) / np.log(centres[1] / centres[0]), -1, 1)
        bands = np.fft.ifft(np.fft.fft(e - mean[:, None], axis=1) * np.cos(np.pi / 2 * off), axis=1)
        powers[:, j] = np.square(bands.real).mean(1) / deviation**2
    loudness = 10 * np.log10(np.square(x).mean() + 1e-10)
    return np.concatenate([mean, deviation / mean, correlations, powers.ravel(), [loudness]])


@pytest.mark.parametrize("kind", ["metal", "rain", "engine", "crickets"])
def test_statistics_are_those_of_a_slow_reference(kind: str) -> None:
    sound = sounds(1, 2.0, (kind,))[0][0]
    found, expected = texture.statistics(sound), slow(sound)
    assert found.shape == expected.shape == (502,) and found.dtype == np.float32
    for name, part, tolerance in (
        ("mean", slice(0, 32), 1e-3), ("deviation", slice(32, 64), 2e-3),
        ("correlation", slice(64, 181), 1e-2), ("modulation", slice(181, 501), 5e-3),
        ("loudness", slice(501, 502), 1e-3),
    ):  # fmt: skip
        np.testing.assert_allclose(found[part], expected[part], atol=tolerance, err_msg=name)


def test_a_beating_tone_is_modulated_where_it_beats() -> None:
    t = np.arange(32_000) / 16_000
    beats = 0.3 * np.sin(2 * np.pi * 1000 * t) * (1 + 0.9 * np.sin(2 * np.pi * 12 * t))
    found = texture.statistics(beats.astype(np.float32))
    band = int(found[:32].argmax())
    power = found[181:501].reshape(32, 10)[band]
    centres = np.geomspace(0.5, 200, 10)
    assert abs(np.log2(centres[power.argmax()] / 12)) < 0.6


def test_silence_between_and_constant_bands_stay_finite() -> None:
    click = np.zeros(16_000, np.int16)
    click[8000] = 20_000
    for sound in (click, np.ones(16_000, np.int16), (tone() * 30_000).astype(np.int16)):
        assert np.isfinite(texture.statistics(sound)).all()
    with pytest.raises(ValueError, match="too short for a texture: 99 samples"):
        texture.statistics(np.ones(99, np.int16))


def test_whitening_makes_directions_alike() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 40)) * np.arange(1, 41)
    white = whitened(points.astype(np.float32), 5)
    np.testing.assert_allclose(white.T @ white / 200, np.eye(5), atol=1e-3)
    assert whitened(points.astype(np.float32), 30).shape[1] == 6, "no more than there are"


def test_clusters_are_found_and_sure_of_themselves() -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 30)
    points = (rng.normal(size=(90, 2)) + 20 * truth[:, None]).astype(np.float32)
    labels, sure = clustered(points, 3, seed=1)
    assert purity(labels, truth) == {"purity": 1.0, "nmi": pytest.approx(1.0)}
    assert sure.min() > 0.5 and sure.max() <= 1
    assert purity(labels, np.full(90, -1)) == {}
    with pytest.raises(ValueError, match="91 clusters of 90"):
        clustered(points, 91, seed=0)


def found(values: Any, items: Any, truth: Any, folder: Path, ok: Any = None) -> LabelerInput:
    ok = np.ones(len(values), bool) if ok is None else ok
    names = ["wood", "rain", *sorted(KINDS)]  # of the first two codes of most tests
    return LabelerInput(values, ok, Arrays(items), truth, names, folder, 0, Silence())


def test_texture_labels_agree_with_kinds_that_mean_mfcc_confuse(tmp_path: Path) -> None:
    kinds = ("wood", "metal", "engine", "crickets", "rain")
    items, truth = sounds(16, kinds=kinds)
    labeler = SoundTexture(k=8, components=8)
    values = np.stack([labeler.label(Path("x"), item) for item in items])
    ok = np.ones(len(items), bool)
    ok[3] = False
    made = labeler.gather(found(values, items, truth, tmp_path, ok))
    assert made.values.shape == (80,) and made.values[3] == -1 and made.confidence[3] == 0
    assert made.provenance[3] == "none"
    means = np.stack([mfcc.mean(item) for item in items])
    control = grouped(found(means, items, truth, tmp_path), kind="clusters", k=8,
                      width=13, tool="mfcc")  # fmt: skip
    assert made.metrics["purity"] > control.metrics["purity"] + 0.1
    again = labeler.gather(found(values, items, truth, tmp_path, ok))
    np.testing.assert_array_equal(made.values, again.values)


def test_the_gallery_holds_pictures_players_and_classes(tmp_path: Path) -> None:
    items, truth = sounds(6, 0.5, ("wood", "rain"))
    labeler = SoundTexture(k=2, components=4)
    values = np.stack([labeler.label(Path("x"), item) for item in items])
    labeler.gather(found(values, items, truth, tmp_path))
    page = (tmp_path / "clusters.html").read_text()
    time.sleep(1.1)  # players' streams may be numbered by the clock
    labeler.gather(found(values, items, truth, tmp_path))
    assert page == (tmp_path / "clusters.html").read_text(), "the same labels, the same bytes"
    assert (
        page.count('class="cluster"') == 2 and "<details" not in page and page.count("<audio") == 4
    )
    sizes = [int(n) for n in re.findall(r"(\d+) clips", page)]
    assert sum(sizes) == 12 and page.count("data:image/png") == sum(min(6, n) for n in sizes)
    assert "% rain" in page and "% wood" in page
    assert not re.search(r'(src|href)="(?!data:)', page), "it works offline"


def test_codes_are_signs_of_components(tmp_path: Path) -> None:
    items, truth = sounds(8, 0.5, ("wood", "rain", "wind"))
    labeler = SoundTexture(k=6, kind="code")
    values = np.stack([labeler.label(Path("x"), item) for item in items])
    made = labeler.gather(found(values, items, truth, tmp_path))
    assert made.values.shape == (24, 6) and set(np.unique(made.values)) == {0, 1}
    assert 0.3 < made.metrics["ones"] < 0.7
    np.testing.assert_array_equal(made.values, whitened(values, 6) > 0)


def test_units_repeat_where_the_sound_does(tmp_path: Path) -> None:
    """A sound of two tones in turn has two units, in turn."""
    turn = np.concatenate([tone(0.25, 300), tone(0.25, 3000)] * 2)
    items = np.stack([(turn * 30_000).astype(np.int16)] * 4)
    labeler = MfccUnits(k=2, sample=300)
    values = np.stack([labeler.label(Path("x"), item) for item in items])
    assert values.shape == (4, 101, 39)
    made = labeler.gather(found(values, items, np.full(4, -1), tmp_path))
    units = made.values[0]
    middle = [units[12], units[37], units[62], units[87]]
    assert middle[0] == middle[2] != middle[1] == middle[3]
    assert (tmp_path / "units.html").read_text().count("<b>Unit") == 2
    np.testing.assert_array_equal(per_step(made.values, 8)[0, :3], units[[4, 12, 20]])


def test_random_labels_know_nothing(tmp_path: Path) -> None:
    truth = np.repeat(np.arange(4), 100)
    made = Random(k=4).gather(found(np.zeros((400, 1)), None, truth, tmp_path))
    assert made.metrics["purity"] < 0.4
    assert len(np.unique(made.values)) == 4


def test_mfcc_of_a_louder_sound_differ_in_the_first_only() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=16_000)
    soft, loud = (mfcc.mean((noise * s).astype(np.int16)) for s in (500, 2000))
    np.testing.assert_allclose(soft[1:], loud[1:], atol=0.05)
    expected = np.sqrt(40) * np.log(16)
    assert abs(loud[0] - soft[0] - expected) < 0.05
    assert mfcc.with_slopes(noise.astype(np.int16)).shape == (101, 39)


def test_the_second_round_takes_units_from_what_a_run_learnt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    import torch
    from safetensors.torch import save_file

    from modalities.audio.labelers.run_units import RunUnits
    from modalities.audio.network import build_encoder
    from modalities.items import UserError

    monkeypatch.chdir(tmp_path)
    turn = np.concatenate([tone(0.24, 300), tone(0.24, 3000)] * 2)
    items = np.stack([(turn * 30_000).astype(np.int16)] * 4)
    labeler = RunUnits(k=2, sample=60)
    features = np.stack([labeler.label(Path("x"), item) for item in items])
    with pytest.raises(UserError, match="run `python -m tasks pretrain first` first"):
        labeler.gather(replace(found(features, items, np.full(4, -1), tmp_path), run="first"))
    folder = tmp_path / "models/first"
    folder.mkdir(parents=True)
    options = {"bands": 64, "frames": 8, "width": 16, "depth": 1, "heads": 2}
    torch.manual_seed(0)
    encoder = build_encoder("vit", **options)
    torch.nn.init.zeros_(encoder.blocks[0].out.weight)  # a step knows nothing of the others
    save_file(encoder.state_dict(), folder / "encoder.safetensors")
    config = {"modality": "audio", "encoder": "vit", "encoder_options": options}
    (folder / "config.json").write_text(json.dumps(config))
    made = labeler.gather(replace(found(features, items, np.full(4, -1), tmp_path), run="first"))
    assert made.values.shape == (4, items.shape[1] // 160 + 1)
    assert (made.values == made.values[:1]).all(), "equal sounds have equal units"
    assert set(np.unique(made.values)) == {0, 1}
    changes = np.flatnonzero(np.diff(made.values[0])) + 1
    assert (changes % 8 == 0).all(), "a step's unit stands at all its frames"
