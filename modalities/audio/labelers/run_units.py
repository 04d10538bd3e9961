"""Units from what a run has learnt: the second round of HuBERT. Hsu et al., arXiv:2106.07447.

Shapes: N sounds, T samples, F frames (one in 10 ms), w time steps of the encoder, D its width.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le

from modalities.audio.labelling.units import quantised
from modalities.common.network.trained import opened
from modalities.items import UserError
from modalities.labels import Array, Labeler, LabelerInput, Labels

PIECE = 64  # sounds at a time


class RunUnits(Labeler):
    """Features of a run's encoder at every time step, by k-means into `k` units, (N, F).

    The encoder must be a `vit`. A step's unit stands at all its frames. All is computed when items
    are gathered, not per item: it depends on the weights, which the stage depends on as a whole.
    """

    needs = ("run",)

    def __init__(
        self,
        *,
        k: Annotated[int, Ge(2), Le(4096)] = 100,
        sample: Annotated[int, Gt(0)] = 50_000,
    ) -> None:
        self.k, self.sample = k, sample

    def label(self, path: Path, item: Array) -> Array:  # noqa: ARG002
        return np.zeros(1, np.uint8)

    def gather(self, found: LabelerInput) -> Labels:
        features, step = _features(found)
        made = quantised(found, features, self.k, self.sample, f"{found.run}, k-means")
        frames = found.raw([0]).shape[1] // 160 + 1
        wide = [
            np.pad(np.repeat(part, step, 1), ((0, 0), (0, step)), mode="edge")[:, :frames]
            for part in (made.values, made.confidence)
        ]
        return Labels(wide[0], wide[1], made.provenance, made.metrics)


def _features(found: LabelerInput) -> tuple[Array, int]:
    """(N, w, D) float16 of the run's encoder, and how many frames a step has."""
    import torch

    from modalities.audio.network.encoder import PatchEncoder
    from modalities.audio.network.views import prepare

    start = opened(found.run)
    if start.config["modality"] != "audio" or start.config["encoder"] != "vit":
        text = f"{start.config['encoder']} of {start.config['modality']}"
        raise UserError(f"{start.folder}: expected an encoder vit of audio, found {text}")
    encoder = start.encoder()
    assert isinstance(encoder, PatchEncoder)
    encoder.eval()
    parts = []
    with torch.inference_mode():
        for first in range(0, len(found.items), PIECE):
            piece = np.arange(first, min(first + PIECE, len(found.items)))
            x = prepare(torch.from_numpy(found.raw(piece)))
            rows, steps = encoder.grid(x)
            tokens = encoder.tokens(x).view(len(x), rows, steps, -1).mean(1)
            parts.append(tokens.half().numpy())
            found.tell.progress(0.9 + 0.05 * first / len(found.items), "features")
    return np.concatenate(parts), encoder.patch[1]
