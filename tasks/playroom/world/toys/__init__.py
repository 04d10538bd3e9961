"""The categories of the Playroom. Each is a function that builds one random instance.

A file per family; `@category` above the function declares what its pictures are annotated with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from tasks.playroom.world.solids import Toy

FAMILIES = ("furniture", "vessels", "vehicles", "animals")


@dataclass(frozen=True)
class Category:
    """A kind of toy. `skeleton` joins keypoints by name; a `novel` one is no class of the task."""

    name: str
    family: str
    parts: tuple[str, ...]
    keypoints: tuple[str, ...]
    skeleton: tuple[tuple[str, str], ...]
    novel: bool
    build: Callable[[Toy], None]

    def make(self, rng: np.random.Generator) -> Toy:
        """A new instance with its own proportions."""
        toy = Toy(rng)
        self.build(toy)
        return toy


_found: dict[str, Category] = {}


def category(
    parts: str, keypoints: str, skeleton: str = "", *, novel: bool = False
) -> Callable[[Callable[[Toy], None]], Callable[[Toy], None]]:
    """Declare a category: names separated by blanks, bones of the skeleton as `a-b`."""

    def declare(build: Callable[[Toy], None]) -> Callable[[Toy], None]:
        bones = [bone.split("-") for bone in skeleton.split()]
        _found[build.__name__] = Category(
            build.__name__,
            build.__module__.rsplit(".", 1)[-1],
            tuple(parts.split()),
            tuple(keypoints.split()),
            tuple((a, b) for a, b in bones),
            novel,
            build,
        )
        return build

    return declare


@cache
def categories(*, novel: bool = False) -> tuple[Category, ...]:
    """The known categories, or the novel ones, in alphabetical order."""
    for family in FAMILIES:
        import_module(f"{__name__}.{family}")
    return tuple(_found[name] for name in sorted(_found) if _found[name].novel == novel)
