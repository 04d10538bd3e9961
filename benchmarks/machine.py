"""What the measurements ran on."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch


def machine() -> str:
    """Cores, kind of CPU and versions, in words."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.exists():
        split = (line.partition(":") for line in info.read_text("utf-8").splitlines())
        lines = {key.strip(): value.strip() for key, colon, value in split if colon}
        name = lines.get("model name", name)
        wide = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in lines["flags"]]
        flags = f" ({', '.join(wide)})"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    memory = psutil.virtual_memory().total / 2**30
    try:
        other = f", lightly {version('lightly')}"
    except PackageNotFoundError:
        other = ", no lightly"
    return (
        f"{psutil.cpu_count()} cores of an {name}{flags}, {memory:.0f} GB, {gpu}, "
        f"Python {platform.python_version()}, torch {version('torch')}{other}"
    )
