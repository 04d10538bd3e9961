"""Sounds for tests: written once, small, made by arithmetic."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

RATE = 16_000


def tone(seconds: float = 1.0, hertz: float = 440.0, rate: int = RATE, level: float = 0.3) -> Any:
    """(n,) float32."""
    t = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def wav(path: Path, sound: Any, rate: int = RATE, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, **options)
    return path


def movie(path: Path, sound: Any, frames: Any = None, rate: int = RATE, fps: int = 4) -> Path:
    """An mp4 or m4a file: AAC sound (None: none) and, if given, frames (F, H, W, 3) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = None
        if frames is not None:
            video = out.add_stream("mpeg4", rate=fps)
            video.width, video.height, video.pix_fmt = *frames.shape[2:0:-1], "yuv420p"
            video.bit_rate = 2_000_000
        audio = out.add_stream("aac", rate=rate) if sound is not None else None
        if audio is not None:
            audio.layout = "mono"
        if video is not None:
            for picture in frames:
                out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(
                sound[None].astype(np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate = rate
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path


def peak(samples: Any) -> float:
    """The loudest frequency of (T,) int16 at 16 kHz, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples.astype(float) * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE / len(samples))
