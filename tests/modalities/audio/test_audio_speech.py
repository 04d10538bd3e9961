"""Real sound: words spoken by espeak-ng in several voices and languages, through the pipeline."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import soundfile

from modalities.audio.reading import find
from modalities.common.training.monitor import Silence
from tasks.ingest import ingest
from tasks.settings.params import Params
from tasks.transfer import control

WORDS = {
    "one": ("en", "one"), "seven": ("en", "seven"), "window": ("en", "window"),
    "haus": ("de", "Haus"), "schmetterling": ("de", "Schmetterling"), "ciao": ("it", "ciao"),
    "grazie": ("it", "grazie"), "bonjour": ("fr", "bonjour"),
}  # fmt: skip
VOICES = {"train": ("m1", "m2", "m3", "f1", "f2"), "val": ("m4", "f3"), "test": ("m7", "f4", "f5")}
ESPEAK = shutil.which("espeak-ng")


def speak(folder: Path) -> None:
    """split/word/voice-speed.wav; no voice is in two splits."""
    for split, voices in VOICES.items():
        for word, (language, text) in WORDS.items():
            for voice in voices:
                for speed in (130, 170) if split == "train" else (150,):
                    path = folder / split / word / f"{voice}-{speed}.wav"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    command = ["espeak-ng", "-v", f"{language}+{voice}", "-s", str(speed)]
                    subprocess.run([*command, "-w", str(path), text], check=True, timeout=30)


@pytest.mark.slow
@pytest.mark.skipif(ESPEAK is None, reason="espeak-ng is not installed (apt-get install espeak-ng)")
def test_words_are_told_apart_across_voices_never_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From 10 examples a word: well above chance (1/8) by MFCC means, better by a network."""
    monkeypatch.chdir(tmp_path)
    speak(tmp_path / "words")
    first = tmp_path / "words/train/one/m1-130.wav"
    assert soundfile.info(first).samplerate == 22_050, "not the rate that is kept"
    assert len(find(tmp_path / "words", None)) == 8 * (10 + 2 + 3)
    task = {
        "budgets": ["all"], "draws": 2, "max_steps": 100, "scratch_factor": 1.0,
        "scratch_learning_rates": [0.01], "encoder_options": {"widths": [16, 32, 64]},
    }  # fmt: skip
    image = {"source": "x", "labels": "x"}
    audio = {"source": "words", "labels": "words", "seconds": 1.0,
             "controls": ["scratch", "mfcc"], "tasks": {"classification": task}}  # fmt: skip
    params = Params.model_validate({"image": image, "audio": audio, "machine": {"jobs": 1}})
    ingest(params, Silence(), "audio")  # type: ignore[arg-type]
    told = json.loads((tmp_path / "data/audio/metrics.json").read_text())
    assert told["ok"] == 120 and told["classes"] == 8
    reached = {}
    for name in ("mfcc", "scratch"):
        control(params, Silence(), "audio", name, "classification")  # type: ignore[arg-type]
        path = tmp_path / f"results/audio-{name}/classification/metrics.json"
        reached[name] = json.loads(path.read_text())["rows"][0]["mean"]
    assert reached["mfcc"] > 0.4
    assert reached["scratch"] > 0.6
