"""A tiny project folder to train in, and a stage that is killed again and again.

`python training_world.py FOLDER KILLS`: run the stage `pretrain` undisturbed, then with SIGKILLs at
random moments until there were KILLS of them; a line of JSON with every digest of models/RUN.
The processes are forked after the imports, which would take longer than the training.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

RUN = {
    "objective": "moco_v2",
    "options": {"queue": 32, "momentum": 0.9, "splits": 2},
    "encoder_options": {"widths": [4, 8]},
    "epochs": 12,
    "batch_size": 16,
}


def make(folder: Path, items: int = 64, size: int = 16) -> None:
    """data/image as ingest leaves it."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = folder / "data" / "image"
    data.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (items, 4, 4, 3), dtype=np.uint8)
    np.save(data / "items.npy", pictures.repeat(size // 4, 1).repeat(size // 4, 2))
    none = pa.array([None] * items, pa.string())
    columns = {
        "id": [f"{i:016x}" for i in range(items)],
        "split": ["train"] * items, "label": none, "source": ["x.png"] * items,
        "sha256": ["0"] * items, "status": ["ok"] * items, "reason": none,
        "row": list(range(items)), "extra": none,
    }  # fmt: skip
    pq.write_table(pa.table(columns), data / "items.parquet")
    meta = {
        "modality": "image", "classes": [], "fingerprint": "f",
        "counts": {"train": {"labelled": 0, "unlabelled": items}},
    }  # fmt: skip
    (data / "meta.json").write_text(json.dumps(meta))


def params(run: dict[str, Any] | None = None, machine: dict[str, Any] | None = None) -> Any:
    from tasks.settings.params import Params

    return Params.model_validate(
        {
            "machine": machine or {},
            "image": {"source": "raw", "labels": "raw", "size": 16, "runs": {"tiny": run or RUN}},
        }
    )


def digest(folder: Path) -> str:
    """One name for all files of a folder: their paths and their bytes."""
    found = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def _start(workers: int) -> int:
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    from modalities.common.training import loop
    from modalities.common.training.monitor import Silence
    from tasks import pretrain

    loop.SECONDS = 0.0
    status = 1
    try:
        pretrain.pretrain(params(machine={"workers": workers}), Silence(), run="tiny")  # type: ignore[arg-type]
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def main(folder: Path, kills: int) -> None:
    for name in ("dvc.repo", "numpy.ma", "pyarrow.parquet"):
        import_module(name)
    import torch
    from dvclive.live import Live  # noqa: F401

    import tasks.pretrain

    torch.set_num_threads(1)
    os.chdir(folder)
    tasks.pretrain.construct(params(), "tiny")  # imports what an objective imports
    chance = random.Random(0)
    started = time.monotonic()
    assert os.waitpid(_start(0), 0)[1] == 0
    whole = time.monotonic() - started
    digests, done = [digest(Path("models/tiny"))], 0
    while done < kills:
        shutil.rmtree("models")
        finished = False
        while not finished:
            child = _start(chance.choice([0, 0, 1, 2]))
            deadline = time.monotonic() + chance.uniform(0.02, 1.1) * whole
            while time.monotonic() < deadline and not finished:
                finished = os.waitpid(child, os.WNOHANG)[0] == child
                time.sleep(0.002)
            if not finished:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                done += 1
        digests.append(digest(Path("models/tiny")))
    left = [str(p) for p in Path(".checkpoints").rglob("*") if p.is_file()]
    sys.stdout.write(json.dumps({"digests": digests, "kills": done, "left": left}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
