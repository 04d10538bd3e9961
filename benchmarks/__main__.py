"""All measurements, and docs/BENCHMARKS.md from them: `python -m benchmarks [PART...] [--quick]`.

About forty minutes; leave the machine alone meanwhile. `--quick` only tries that every part runs,
in some ten minutes, and prints what it made without keeping it.
"""

import argparse
from importlib import import_module

import torch

from benchmarks import pages

PARTS = ("pictures", "objectives", "sound", "shapes", "gpu")  # modules of benchmarks/speed


def there() -> list[str]:
    """The parts that this machine can measure."""
    return [part for part in PARTS if part != "gpu" or torch.cuda.is_available()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; none: all")
    parser.add_argument("--quick", action="store_true", help="only try that every part runs")
    told = parser.parse_args()
    for name in told.parts:
        if name not in PARTS:
            parser.error(f"no part {name!r}; there are {', '.join(PARTS)}")
    for name in told.parts or there():
        made = import_module(f"benchmarks.speed.{name}").page(quick=told.quick)
        print(made, flush=True)
        if told.quick:
            continue
        keep = pages.rewrite if made.startswith("# ") else pages.write
        keep(pages.PAGE, made)


if __name__ == "__main__":
    main()
