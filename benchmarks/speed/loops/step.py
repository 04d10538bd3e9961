"""One measurement of training, in a process of its own, with its setting as JSON.

    python -m benchmarks.speed.loops.step JSON

Prints {"rate": pictures/s, "ready": seconds until the first one that counts}. Ways: `bare` is
forward, backward and optimiser on a resident batch; `loop` is our whole training loop from a memory
map on the disk; `share` is both, a step of each in turn, and prints {"bare": ..., "loop": ...};
`lightly` is lightly's own loop as its documentation shows it: its transform, a DataLoader with two
workers, its head and loss. Not `sparing`: with torch's own convolutions.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.speed.loops import steps

warnings.filterwarnings("ignore")

DEFAULT = {
    "way": "loop",
    "objective": "simclr",
    "options": {},
    "encoder": "small",
    "size": 32,
    "batch": 256,
    "seconds": 8.0,
    "precision": "bf16",
    "channels_last": True,
    "threads": 2,
    "compile": False,
    "sparing": True,
    "lightly_workers": 2,
}
BYTES = 1 << 25  # of all pictures: so many that an epoch is long, as they are in practice
ITEMS = 2048  # pictures at least


def pictures(size: int) -> np.ndarray:
    """(N, size, size, 3) uint8, smooth with noise."""
    rng = np.random.default_rng(0)
    items = max(ITEMS, BYTES // (3 * size * size))
    coarse = rng.integers(0, 255, (items, 4, 4, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, size // 4, 1), size // 4, 2) ^ rng.integers(
        0, 16, (items, size, size, 1), dtype=np.uint8
    )


def rate(made: Iterator[int], seconds: float) -> tuple[float, float]:
    """Pictures per second of an endless training, and the seconds that it took to get going.

    Each step yields its number of pictures.
    """
    began = now()
    for _ in range(steps.WARM):
        next(made)
    started, done = now(), 0
    while time.perf_counter() - started < seconds:
        done += next(made)
    return done / (now() - started), started - began


def now() -> float:
    """Seconds, when all that a GPU was told to do is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def device() -> str:
    """Where everybody trains."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def objective_of(setting: dict[str, Any]) -> Any:
    """The objective with its encoder, as a run of params.yaml makes it."""
    from torch import nn

    from modalities.common.network.convolution import Conv
    from tasks.pretrain import construct
    from tasks.settings.params import Params

    run = {key: setting[key] for key in ("objective", "encoder", "options")}
    image = {"source": "none", "labels": "none", "runs": {"bench": run}}
    objective = construct(Params.model_validate({"image": image}), "bench")
    if not setting["sparing"]:
        for each in objective.modules():
            if isinstance(each, Conv):
                each.__class__ = nn.Conv2d  # type: ignore[assignment]
    return objective


def bare(setting: dict[str, Any]) -> Iterator[int]:
    """The step that any loop must make: its rate is the ceiling."""
    import torch

    items = torch.from_numpy(pictures(setting["size"])[: setting["batch"]])
    return steps.alone(
        objective_of(setting), {"items": items}, precision=setting["precision"], where=device(),
        channels_last=setting["channels_last"], compiled=setting["compile"],
    )  # fmt: skip


def loop(setting: dict[str, Any]) -> Iterator[int]:
    """What `python -m tasks pretrain` does, checkpoints and all."""
    import torch

    from modalities.common.training.loop import Plan
    from modalities.image.network import prepare

    items = pictures(setting["size"])
    plan = Plan(epochs=10_000, batch_size=setting["batch"], precision=setting["precision"])
    probe = prepare(torch.from_numpy(items[:256]))
    return steps.looped(objective_of(setting), items, probe, plan)


def lightly(setting: dict[str, Any]) -> Iterator[int]:
    """lightly's example of the objective with plain PyTorch."""
    from benchmarks.speed.loops.lightly_loops import LOOPS, Pictures, encoder_of

    encoder = encoder_of(setting["encoder"]).to(device())
    workers, items = setting["lightly_workers"], pictures(setting["size"])
    shown = Pictures(items, setting["batch"], workers, device())
    return LOOPS[setting["objective"]](encoder, shown)


def share(setting: dict[str, Any]) -> dict[str, float]:
    """Pictures per second of the bare step and of our loop, taken in turn."""
    taken = steps.in_turn(bare(setting), loop(setting), 2 * setting["seconds"], now)
    return {way: setting["batch"] / each for way, each in zip(("bare", "loop"), taken, strict=True)}


WAYS: dict[str, Callable[[dict[str, Any]], Iterator[int]]] = {
    "bare": bare, "loop": loop, "lightly": lightly,
}  # fmt: skip


def main() -> None:
    setting = DEFAULT | json.loads(sys.argv[1])
    import torch

    torch.set_num_threads(setting["threads"])
    torch.manual_seed(0)
    if setting["way"] == "share":
        print(json.dumps(share(setting)))
        return
    found, ready = rate(WAYS[setting["way"]](setting), setting["seconds"])
    print(json.dumps({"rate": found, "ready": ready}))


if __name__ == "__main__":
    main()
