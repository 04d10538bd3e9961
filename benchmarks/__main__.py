"""All measurements, and docs/BENCHMARKS.md from them: `python -m benchmarks [--quick]`.

About twelve minutes; leave the machine alone meanwhile. `--quick` only tries that every part
runs, in about two minutes, and prints the page without keeping it.
"""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from benchmarks import commands, ingest, masking, pages, startup, training

PAGE = Path(__file__).resolve().parents[1] / "docs" / "BENCHMARKS.md"
TEXT = """# Benchmarks

Made by `make bench` (`python -m benchmarks`), which takes about twelve minutes. Machine: {machine}.
All that is compared was measured in turn in one run, each in a process of its own. A number that
misses its aim stands here as it is.

## Training, against the bare step and against lightly

SimCLR: two views of each picture, the same encoder, batch size (256; 128 for ResNet-18 at 96 px)
and objective, both cores for everybody. *Bare step*: forward, backward and optimiser in bf16 on a
batch that is in memory. *Our loop*: what `pretrain` does: reading from disk, views, step, losses,
curves, checkpoints. *lightly*: its example with plain PyTorch, with its transform, a DataLoader
with two workers, its projection head and its loss, in float32, as its documentation shows it.
Shares and factors are medians over {rounds} rounds.

{training}

## Which settings pay on this CPU

The bare step, relative to the default.

{choices}

{advice}

## Masked autoencoding

CPU time of a whole step with one thread, batch 64, 75 % of the patches masked.

{masking}

## Start-up of a stage's process

From the start of the process until everything that the stage imports is there and `params.yaml` is
read.

{startup}

## Ingest

64 x 64 PNG files to 32 x 32, with as many processes as cores. Peak memory is the sum over all
processes; pages that they share count more than once.

{ingest}

## When there is nothing to do

The default pipeline with less data; all stages are up to date.

{commands}
"""
ADVICE = """What follows for the defaults in `params.yaml`: bf16 (`training.precision`) and channels
last (always) where they are faster above; one thread for each stage (`training.threads: 1`) and a
stage per core (`machine.jobs: 0`), as long as two stages side by side get more done together than
one with two threads; no torch.compile, whose compilation of {compiled:.0f} s a process would have
to be won back within runs of a minute or two."""


def machine() -> str:
    """Cores, kind of CPU and versions, in words."""
    name = platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.exists():
        lines = dict(
            (part.strip() for part in line.split(":", 1))
            for line in info.read_text("utf-8").splitlines()
            if ":" in line
        )
        name = lines.get("model name", name)
        wide = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in lines["flags"]]
        flags = f" ({', '.join(wide)})"
    memory = psutil.virtual_memory().total / 2**30
    try:
        other = f", lightly {version('lightly')}"
    except PackageNotFoundError:
        other = ", no lightly"
    return (
        f"{psutil.cpu_count()} cores of an {name}{flags}, {memory:.0f} GB, no GPU, "
        f"Python {platform.python_version()}, torch {version('torch')}{other}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only try that every part runs")
    quick = parser.parse_args().quick
    rounds = 1 if quick else training.ROUNDS
    if quick:
        against = training.against_lightly(1, 0.5, training.CASES[:1])
        choices, compiled = training.choices(1, 0.5, ("small",))
    else:
        against = training.against_lightly()
        choices, compiled = training.choices()
    page = TEXT.format(
        machine=machine(), rounds=rounds, training=against, choices=choices,
        advice=ADVICE.format(compiled=compiled), startup=startup.main(rounds),
        masking=masking.main(1, (32,)) if quick else masking.main(),
        ingest=ingest.main((1_000,) if quick else ingest.COUNTS), commands=commands.main(rounds),
    )  # fmt: skip
    print(page)
    if not quick:
        pages.rewrite(PAGE, page)


if __name__ == "__main__":
    main()
