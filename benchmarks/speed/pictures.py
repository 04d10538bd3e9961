"""The engine on pictures: training, settings, start-up, ingest, an idle pipeline."""

from benchmarks.machine import machine
from benchmarks.speed import commands, ingest, masking, startup, training

TEXT = """# Benchmarks

Made by `make bench` (`python -m benchmarks`), which takes about forty minutes. Machine: {machine}.
All that is compared was measured in turn in one run. A number that misses its aim stands here as it
is.

## Training, against the bare step and against lightly

SimCLR: two views of each picture, the same encoder, batch size (256; 128 for ResNet-18 at 96 px)
and objective, both cores for everybody. *Bare step*: forward, backward and optimiser in bf16 on a
batch that is in memory. *Our loop*: what `pretrain` does: reading from disk, views, step, losses,
curves, checkpoints. *lightly*: its example with plain PyTorch, with its transform, a DataLoader
with two workers, its projection head and its loss, in float32, as its documentation shows it.
Shares and factors are medians over {rounds} rounds.

As `glean run` has it: two runs at the same time, a thread each; their pictures are added up. Each
takes a bare step and one of the loop in turn.

{together}

A single run with both threads; and two of lightly's loops at the same time, with a thread and a
loading worker each, which is not how it is documented:

{alone}

lightly has torchvision's ResNet-18. Ours is the same network, but on maps of 1 x 1 and 2 x 2, which
its last stages have at 32 px, our convolutions leave out what lies on padding
(`modalities/common/network/convolution.py`); what that saves is in the next table.

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


def page(*, quick: bool) -> str:
    """The page with its first sections."""
    rounds = 1 if quick else training.ROUNDS
    if quick:
        together, alone = training.against_lightly(1, 0.5, training.CASES[:1])
        choices, compiled = training.choices(1, 0.5, ("small",))
    else:
        together, alone = training.against_lightly()
        choices, compiled = training.choices()
    return TEXT.format(
        machine=machine(), rounds=rounds, together=together, alone=alone, choices=choices,
        advice=ADVICE.format(compiled=compiled), startup=startup.main(rounds),
        masking=masking.main(1, (32,)) if quick else masking.main(),
        ingest=ingest.main((1_000,) if quick else ingest.COUNTS), commands=commands.main(rounds),
    )  # fmt: skip
