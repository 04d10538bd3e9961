"""Pages in docs/ that several commands write, each its own sections.

A section stands between its heading of level 2 and the next one.
"""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "BENCHMARKS.md"


def sections(page: str) -> dict[str, str]:
    """By heading; what stands before the first one has the heading ""."""
    first, *rest = ("\n" + page.strip()).split("\n## ")
    return {"": first.strip()} | {part.split("\n", 1)[0]: part.strip() for part in rest}


def joined(found: dict[str, str]) -> str:
    head, *rest = found.values()
    return "\n\n".join([head, *(f"## {part}" for part in rest)]).strip() + "\n"


def put(page: str, section: str) -> str:
    """The page with the section in the place of the one of its heading, or at the end."""
    new = sections(section)
    assert not new.pop(""), "a section begins with its heading"
    return joined(sections(page) | new)


def keep(old: str, new: str) -> str:
    """The new page, and after it what else the old one has."""
    return joined(
        sections(new) | {k: v for k, v in sections(old).items() if k not in sections(new)}
    )


def write(target: Path, section: str) -> None:
    target.write_text(put(target.read_text("utf-8"), section), "utf-8")


def rewrite(target: Path, page: str) -> None:
    """A page without the sections of other commands, which stay as they are."""
    old = target.read_text("utf-8") if target.exists() else ""
    target.write_text(keep(old, page) if old else page, "utf-8")
