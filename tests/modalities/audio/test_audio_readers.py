"""Reading sounds: any format, rate and length becomes 16 kHz int16, or a reason why not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from sound_world import movie, peak, tone, wav

from modalities.audio.reading import find, read, thumbnails
from modalities.audio.reading.layouts import describe
from modalities.audio.reading.readers import fit
from modalities.items import UserError


@pytest.mark.parametrize("extension", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_every_format_gives_the_same_sound(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{extension}"
    if extension == "m4a":
        movie(path, tone(2))
    else:
        wav(path, tone(2))
    sound = read(path, seconds=1.0)
    assert sound.shape == (16_000,) and sound.dtype == np.int16
    assert abs(peak(sound) - 440) <= 1
    assert abs(np.abs(sound).max() / 32767 - 0.3) < 0.03


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_keeps_the_pitch(rate: int, tmp_path: Path) -> None:
    sound = read(wav(tmp_path / "a.wav", tone(1.5, 1000, rate), rate), seconds=1.0)
    assert abs(peak(sound) - 1000) <= 1


def test_what_is_above_the_new_limit_goes_and_does_not_fold(tmp_path: Path) -> None:
    mixed = tone(1, 500, 48_000) + tone(1, 15_000, 48_000)
    sound = read(wav(tmp_path / "a.wav", mixed, 48_000), seconds=1.0)
    spectrum = np.abs(np.fft.rfft(sound[1000:-1000] * np.hanning(14_000)))
    assert spectrum[900:].max() < 0.01 * spectrum.max()


def test_eight_bits_and_many_channels(tmp_path: Path) -> None:
    eight = read(wav(tmp_path / "8.wav", tone(), subtype="PCM_U8"), seconds=1.0)
    assert abs(peak(eight) - 440) <= 1
    channels = np.stack([tone(), tone(hertz=880), np.zeros(16_000, np.float32)], 1)
    mixed = read(wav(tmp_path / "3.wav", channels), seconds=1.0)
    np.testing.assert_allclose(mixed / 32767, channels.mean(1), atol=1e-4)


def test_channels_that_cancel_each_other_are_heard(tmp_path: Path) -> None:
    sound = read(wav(tmp_path / "a.wav", np.stack([tone(), -tone()], 1)), seconds=1.0)
    assert abs(np.abs(sound).max() / 32767 - 0.3) < 0.01


def test_what_is_beyond_full_scale_is_scaled_not_clipped(tmp_path: Path) -> None:
    sound = read(wav(tmp_path / "a.wav", tone(level=2.5), subtype="FLOAT"), seconds=1.0)
    np.testing.assert_allclose(sound / 32767, tone(level=1.0), atol=1e-3)


def test_a_short_sound_is_repeated_and_of_a_long_one_the_loudest_is_kept() -> None:
    short = fit(np.array([0.1, 0.2, 0.3], np.float32), 8)
    np.testing.assert_array_equal(short[:3], short[3:6])
    quiet = np.full(48_000, 0.01, np.float32)
    quiet[20_000:36_000] = 0.5
    assert (fit(quiet, 16_000) > 16_000).all()


def test_an_hour_is_read_in_places(tmp_path: Path) -> None:
    """Where nothing but the last minutes sounds, these are found; little memory is needed."""
    path = tmp_path / "hour.wav"
    with soundfile.SoundFile(path, "w", 8_000, 1) as file:
        for minute in range(60):
            file.write(tone(60, 440, 8_000, level=0.3 if minute > 50 else 0.001))
    sound = read(path, seconds=1.0)
    assert abs(peak(sound) - 440) <= 1
    assert np.abs(sound).max() > 9_000


def test_the_sound_track_of_a_video(tmp_path: Path) -> None:
    frames = np.zeros((8, 32, 32, 3), np.uint8)
    sound = read(movie(tmp_path / "a.mp4", tone(2), frames), seconds=1.0)
    assert abs(peak(sound) - 440) <= 1
    with pytest.raises(ValueError, match="video without a sound track"):
        read(movie(tmp_path / "b.mp4", None, frames), seconds=1.0)


def broken(folder: Path, name: str) -> Path:
    """One file of every kind of damage."""
    path = folder / f"{name}.wav"
    sound = tone()
    if name == "not_finite":
        sound[7] = np.nan
        return wav(path, sound, subtype="FLOAT")
    if name in ("silent", "one_sample", "no_samples"):
        return wav(path, {"silent": sound * 0, "one_sample": sound[9:10]}.get(name, sound[:0]))
    if name.startswith("cut_"):
        whole = folder / f"whole.{name[4:]}"
        if name == "cut_m4a":
            movie(whole, tone(2))
        else:
            wav(whole, tone(2))
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        return path
    content = {"empty": b"", "text": b"no sound at all", "header": b"RIFF\0\0\0\0WAVEfmt "}
    path.write_bytes(content.get(name, np.random.default_rng(0).bytes(5000)))
    return path


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "empty file"), ("text", "not a sound: it is text"), ("silent", "silent"),
        ("one_sample", "too short: 1 samples at 16000 Hz"), ("no_samples", "empty: no samples"),
        ("not_finite", "not finite: 1 of 16000"), ("header", "truncated or damaged"),
        ("noise", "truncated or damaged"), ("cut_flac", "truncated or damaged"),
        ("cut_m4a", "truncated or damaged"),
    ],
)  # fmt: skip
def test_broken_files_say_why(name: str, reason: str, tmp_path: Path) -> None:
    path = broken(tmp_path, name)
    with pytest.raises(ValueError, match=reason) as error:
        read(path, seconds=1.0)
    assert str(tmp_path) not in str(error.value), "a reason is the same on every machine"


def test_what_is_left_of_a_cut_wav_is_read(tmp_path: Path) -> None:
    assert abs(peak(read(broken(tmp_path, "cut_wav"), seconds=0.5)) - 440) <= 2


def test_esc50_as_it_is_on_disk(tmp_path: Path) -> None:
    for fold in range(1, 6):
        wav(tmp_path / f"audio/{fold}-100-A-0.wav", tone(0.1))
    wav(tmp_path / "audio/extra.wav", tone(0.1))
    rows = [f"{f}-100-A-0.wav,{f},0,dog,True,100,A" for f in range(1, 6)]
    header = "filename,fold,target,category,esc10,src_file,take"
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/esc50.csv").write_text("\n".join([header, *rows]) + "\n")
    items = {i.source: i for i in find(tmp_path, None)}
    assert describe(tmp_path) == "ESC-50"
    splits = [items[f"audio/{f}-100-A-0.wav"].split for f in range(1, 6)]
    assert splits == ["train", "train", "train", "val", "test"]
    assert items["audio/1-100-A-0.wav"].label == "dog"
    assert items["audio/extra.wav"].label is None
    (tmp_path / "meta/esc50.csv").write_text(f"{header}\ngone.wav,1,0,dog,True,1,A\n")
    with pytest.raises(UserError, match=r"line 2: audio/gone\.wav"):
        find(tmp_path, None)
    (tmp_path / "meta/esc50.csv").write_text("file,fold\n")
    with pytest.raises(UserError, match="expected a column 'filename', found file, fold"):
        find(tmp_path, None)


def test_speech_commands_as_they_are_on_disk(tmp_path: Path) -> None:
    for name in ("yes/a.wav", "yes/b.wav", "no/a.wav", "no/c.wav", "_background_noise_/hum.wav"):
        wav(tmp_path / name, tone(0.1))
    (tmp_path / "testing_list.txt").write_text("yes/b.wav\nmissing/x.wav\n")
    (tmp_path / "validation_list.txt").write_text("no/c.wav\n")
    found = {i.source: (i.label, i.split) for i in find(tmp_path, None)}
    assert describe(tmp_path) == "Speech Commands"
    assert found == {
        "yes/a.wav": ("yes", "train"), "yes/b.wav": ("yes", "test"), "no/a.wav": ("no", "train"),
        "no/c.wav": ("no", "val"), "_background_noise_/hum.wav": (None, None),
    }  # fmt: skip


def test_thumbnails_show_the_spectrum(tmp_path: Path) -> None:
    low, high = (thumbnails(fit(tone(hertz=h), 16_000)[None])[0] for h in (300, 5000))
    assert low.shape == (64, 64, 3) and low.dtype == np.uint8
    rows = [int(p.astype(int).sum((1, 2)).argmax()) for p in (low, high)]
    assert rows[0] > rows[1], "low sounds are at the bottom"
