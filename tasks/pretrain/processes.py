"""One training run in several processes, by `accelerate launch`."""

import os
import subprocess
import sys
from pathlib import Path

from modalities.items import UserError

ROOT = Path(__file__).resolve().parents[2]


def launch(processes: int, run: str, folder: Path) -> None:
    """Start `work` in several processes; the first one writes."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    words = command(processes, "tasks.pretrain", run, str(folder))
    done = subprocess.run(words, env=env, check=False)
    if done.returncode:
        raise UserError(f"pretrain {run}: one of {processes} processes failed, see above")


def command(processes: int, module: str, *arguments: str) -> list[str]:
    """What starts a module in several processes of one machine."""
    words = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    words += [f"--num_processes={processes}", "--num_machines=1", "--mixed_precision=no"]
    words += ["--dynamo_backend=no", "--main_process_port=0", *_kind()]
    return [*words, "-m", module, *arguments]


def _kind() -> list[str]:
    import torch

    return ["--multi_gpu"] if torch.cuda.is_available() else ["--cpu"]
