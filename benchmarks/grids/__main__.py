"""Grids of experiments, each a section of docs/RESULTS.md: `python -m benchmarks.grids NAME ...`.

Without a name all of them, in about 40 minutes of one core. What is computed is kept in
`.gleaner/grids/`, so that a grid that was stopped goes on where it was, and one whose cells are
all there only writes its section again.
"""

import argparse

from benchmarks import pages
from benchmarks.grids import page, sections
from benchmarks.grids.plans import GRIDS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grids", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sections.SECTIONS))
    names = parser.parse_args().names or list(sections.SECTIONS)
    for name in names:
        if name not in sections.SECTIONS:
            parser.error(f"no grid {name!r}; there are {', '.join(sections.SECTIONS)}")
    for name in names:
        section = sections.SECTIONS[name](GRIDS[name]())
        pages.write(page.TARGET, section)
        print(section, flush=True)


if __name__ == "__main__":
    main()
