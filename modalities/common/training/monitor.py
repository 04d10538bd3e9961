"""Watching a run: has the network collapsed, does the computer wait for data?

Shapes: B items of a fixed batch, D feature width.
"""

import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from modalities.base import Encoder, Tell

SPREAD = 0.1  # below: all items look the same to the encoder
RANK = 2.0  # below: all items lie on a line
PART = 64  # items of the probe at a time: an encoder of points needs megabytes for each
EARLY = 0.1  # share of a run before which an encoder may still look collapsed
WAIT = 0.3  # share of the time


def spread(features: Tensor) -> float:
    """Standard deviation of l2-normalised features (B, D), times sqrt(D): healthy is about 1."""
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return float(unit.std(0, correction=0).mean() * features.shape[1] ** 0.5)


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised singular values of the centred features (B, D).

    Roy and Vetterli 2007; 1: a line; D: every direction alike.
    """
    values = torch.linalg.svdvals((features - features.mean(0)).double())
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


@torch.no_grad()
def health(encoder: Encoder, probe: Tensor) -> dict[str, float]:
    """`feature_spread` and `effective_rank` on a fixed batch, the encoder left as it was."""
    was = encoder.training
    encoder.eval()
    features = torch.cat([encoder(p).float().cpu() for p in torch.split(probe, PART)])  # (B, D)
    encoder.train(was)
    return {"feature_spread": spread(features), "effective_rank": effective_rank(features)}


def spacing(items: int, probe: int, steps: int, point: int) -> int:
    """Steps between two looks at the probe's health, a multiple of `point`.

    All looks see a fifth of the items that training does, so they take a few per cent of its time
    (an item costs them about a third), or there are about five; at most one in five points.
    """
    looks = max(5.0, 0.2 * items / probe)
    return point * max(5, math.ceil(steps / looks / point))


def diagnose(found: dict[str, float], fraction: float) -> str | None:
    """The name of what is wrong with the features, or None."""
    if fraction < EARLY:
        return None
    if found["feature_spread"] < SPREAD:
        return (
            f"collapse: the features of different items are nearly the same (feature spread "
            f"{found['feature_spread']:.3f}, healthy: about 1)"
        )
    if found["effective_rank"] < RANK:
        return (
            f"dimensional collapse: the features vary along one direction only (effective rank "
            f"{found['effective_rank']:.1f})"
        )
    return None


class Clock:
    """Where the time goes: items a second and the share of it spent waiting for data."""

    def __init__(self, tell: Tell) -> None:
        self.tell = tell
        self.warned = False
        self.reset()

    def reset(self) -> None:
        self.started, self.waited, self.items = time.monotonic(), 0.0, 0

    def text(self) -> str:
        seconds = max(1e-9, time.monotonic() - self.started)
        return f"{self.items / seconds:.0f} items/s  wait {self.waited / seconds:.0%}"

    def check(self) -> None:
        """Warn, once, of data starvation."""
        share = self.waited / max(1e-9, time.monotonic() - self.started)
        if share > WAIT and not self.warned:
            self.warned = True
            self.tell.warn(
                f"data starvation: {share:.0%} of the time is spent waiting for data; "
                "raise machine.workers, or keep data/ on a faster disk"
            )


class Silence:
    """What the processes beside the first one tell: nothing."""

    def progress(self, fraction: float, text: str = "") -> None: ...
    def log(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def metrics(self, values: Mapping[str, float]) -> None: ...
    def table(self, name: str, rows: list[dict[str, Any]]) -> None: ...
    def picture(self, name: str, path: Any) -> None: ...
