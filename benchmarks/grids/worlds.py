"""The data of the grids: Playrooms with something changed, made once and kept.

Every world has the same toys; what differs is how many pictures there are and how they are made.
So an encoder can be pretrained in one and measured in another.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.world import ROOT

HOME = ROOT / ".gleaner" / "grids"
TRAIN = ["labelled", "unlabelled"]
ALL = [*TRAIN, "val", "test"]
SEVERE = {"corruption": "noise", "severity": 5}
FEW = {"unlabelled": 100}  # per category, so 2,400 to pretrain on
UNMEASURED = FEW | {"val": 1, "test": 1}  # where nothing is measured
# Options of playroom.image; what is not named is the default Playroom's.
WORLDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "few": FEW,
    "tumbled": FEW | {"shift": {"splits": ALL, "pose": "tumbled"}},
    "noisy": UNMEASURED | {"shift": {"splits": TRAIN, **SEVERE}},
    "blurred": UNMEASURED | {"shift": {"splits": TRAIN, **SEVERE, "corruption": "blur"}},
    "coarse": UNMEASURED | {"shift": {"splits": TRAIN, "resolution": 0.25}},
    "shifted pool": FEW | {"shift": {"splits": ["unlabelled"], "pose": "tumbled", **SEVERE}},
}
SIZE = 32  # pixels


def params(world: str) -> dict[str, Any]:
    """params.yaml of a world, as plain values."""
    source = "raw/playroom/image"
    return {
        "playroom": {"make": ["image"], "image": WORLDS[world]},
        "image": {"source": source, "labels": source, "size": SIZE},
    }


def data(world: str) -> Path:
    """The world's `data/image`, made where there is none yet."""
    folder = HOME / "worlds" / world.replace(" ", "-")
    made = folder / "data" / "image"
    if not (made / "meta.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        from ruamel.yaml import YAML

        YAML().dump(params(world), folder / "params.yaml")
        for stage in ("playroom", "ingest"):
            run_stage(folder, stage, "image")
    return made


def run_stage(folder: Path, *words: str) -> None:
    """A stage as a plain process in a folder with a params.yaml; RuntimeError if it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tasks", *words]
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{folder.name}: {' '.join(words)}: {done.stderr[-2000:]}")
