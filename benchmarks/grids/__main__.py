"""Grids of experiments, each a section of docs/RESULTS.md: `python -m benchmarks.grids NAME ...`.

Without a name all of them but `patient`, which wants a GPU, in about 75 minutes of one core. What
is computed is kept in `.gleaner/grids/`, so that a grid that was stopped goes on where it was, and
one whose cells are all there only writes its section again.
"""

import argparse

from benchmarks import pages
from benchmarks.grids import page, sections
from benchmarks.grids.plans import GRIDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grids", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sections.SECTIONS))
    parser.add_argument("--kept", action="store_true", help="write what is there, compute nothing")
    told = parser.parse_args()
    names = told.names or [name for name in sections.SECTIONS if name != "patient"]
    for name in names:
        if name not in sections.SECTIONS:
            parser.error(f"no grid {name!r}; there are {', '.join(sections.SECTIONS)}")
    for name in names:
        if section := made(name, told.kept):
            pages.write(page.TARGET, section)
            print(section, flush=True)


def made(name: str, kept: bool) -> str:
    """A grid's section; with `kept` only of lines that are there, "" if there are none."""
    lines = GRIDS[name]()
    missing = [line.name for line in lines if kept and not line.kept()]
    there = [line for line in lines if line.name not in missing]
    if not there:
        return ""
    section = sections.SECTIONS[name](there)
    if missing:
        section = f"{section.rstrip()}\n\nNot run yet: {', '.join(missing)}.\n"
    return section


if __name__ == "__main__":
    main()
