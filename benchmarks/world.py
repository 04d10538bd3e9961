"""A fresh checkout in a folder of its own, to run the pipeline in without touching this one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
CODE = ("flows", "tasks", "modalities", "profiles", ".dvc", ".dvcignore", ".gitignore",
        "labels/none", "models/none", "dvc.yaml", "params.yaml")  # fmt: skip


def checkout(folder: Path) -> Path:
    """Copy the code to `folder` and make it a git repository, as a clone would be."""
    folder.mkdir(parents=True)
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "cache", "tmp", "config.local")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def edit(folder: Path, change: Callable[[Any], object]) -> None:
    """Change params.yaml as a person would: comments stay."""
    yaml, path = YAML(), folder / "params.yaml"
    params = yaml.load(path.read_text("utf-8"))
    change(params)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def run(folder: Path, *command: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout with its own code first on the path."""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    return subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=timeout
    )


def glean(folder: Path, *arguments: str, timeout: float = 900) -> str:
    """`glean ...` in the checkout; what it printed. RuntimeError if it failed."""
    done = run(folder, str(BIN / "python"), "-m", "flows", *arguments, timeout=timeout)
    if done.returncode:
        raise RuntimeError(done.stdout[-4000:] + done.stderr[-4000:])
    return done.stdout + done.stderr


def digits(folder: Path) -> Path:
    """scikit-learn's 1,797 handwritten digits as grey 8 x 8 PNG files, a folder per class."""
    from sklearn.datasets import load_digits

    found = load_digits()
    for number, (picture, label) in enumerate(zip(found.images, found.target, strict=True)):
        path = folder / str(label) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture * 255 / 16).astype("uint8")).save(path)
    return folder
