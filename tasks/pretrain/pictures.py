"""After training: the objective draws what its task is and how well it does it, for the report.

Shapes: B items of the batch that is shown.
"""

import inspect
import shutil
from pathlib import Path

import numpy as np
import torch

from modalities.base import Batch, Objective, Randomness, Tell
from modalities.common.training.batches import Rows, mixed

ITEMS = 64  # of the training data, at most
FOLDER = "pictures"


def draw(objective: Objective, rows: Rows, seed: int, folder: Path, tell: Tell) -> None:
    """Fill folder/pictures, from rows of the training data; the same bytes for a same run.

    The encoder is not changed. A picture that fails must not cost a run that took hours: it is said
    and left out.
    """
    target = folder / FOLDER
    device = next(objective.parameters()).device
    batch = _batch(rows, seed, device)
    generator = torch.Generator().manual_seed(mixed(seed, 1))
    rng = Randomness(generator, total=len(batch["items"]), device=device)
    training = objective.training
    objective.eval()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with torch.no_grad():
            objective.show(batch, rng, target)
    except Exception as error:
        shutil.rmtree(target, ignore_errors=True)
        tell.warn(f"no pictures of the pretext task: {type(error).__name__}: {error}")
    finally:
        objective.train(training)
        if target.is_dir() and not any(target.iterdir()):
            target.rmdir()


def _batch(rows: Rows, seed: int, device: torch.device) -> Batch:
    """A few items in random order, as a batch of training would have them."""
    chosen = np.random.default_rng(seed).permutation(len(rows))[:ITEMS]
    return {name: column.to(device) for name, column in rows[chosen].items()}


def about(objective: Objective) -> str:
    """What the pretext task is: the first paragraph of its docstring."""
    return " ".join((inspect.getdoc(type(objective)) or "").split("\n\n")[0].split())
