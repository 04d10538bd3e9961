"""Reading many files in parallel: in chunks, so that memory stays flat; a broken file, even one
that kills its reader, never stops the rest.
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from modalities.common.reading.folders import no_file
from modalities.items import UserError

CHUNK_ITEMS = 256
CHUNK_BYTES = 16_000_000
Stamp: TypeAlias = tuple[int, int, int]  # size, mtime, ctime in ns: unchanged -> same content
Array: TypeAlias = NDArray[Any]


class Outcome(NamedTuple):
    """What became of one file; `reason` None: it was read. `sha256` None: not its content's fault,
    so it is tried again next time."""

    source: str
    stamp: Stamp | None
    sha256: str | None
    reason: str | None


Chunk: TypeAlias = list[str]
Done: TypeAlias = tuple[list[Outcome], list[Array]]  # arrays: of the outcomes without a reason


class Work(Protocol):
    """What is done to items, a chunk of them at a time."""

    def chunk(self, sources: Chunk) -> Done: ...


class Reading(NamedTuple):
    """How files are read: by `read(root / source, **options)`, which raises ValueError(reason)."""

    read: Callable[..., Array]
    root: Path
    options: dict[str, Any]

    def chunk(self, sources: Chunk) -> Done:
        outcomes, arrays = [], []
        for source in sources:
            outcome, array = self._one(source)
            outcomes.append(outcome)
            if array is not None:
                arrays.append(array)
        return outcomes, arrays

    def _one(self, source: str) -> tuple[Outcome, Array | None]:
        path = self.root / source
        try:
            for _ in range(3):
                before = stamp(path)
                sha256 = digest(path, before)
                array, reason = self._decode(path)
                if stamp(path) == before:
                    return Outcome(source, before, sha256, reason), array
            return Outcome(source, None, None, "changes while it is read"), None
        except OSError as error:
            return Outcome(source, None, None, f"cannot be opened: {error.strerror}"), None

    def _decode(self, path: Path) -> tuple[Array | None, str | None]:
        try:
            return self.read(path, **self.options), None
        except ValueError as error:
            return None, str(error)


def container(path: Path | str) -> str:
    """The file that an item lies in: of `FILE.h5::NUMBER`, one of many in it, FILE.h5."""
    text = str(path)
    at = text.find(".h5::")
    return text if at < 0 else text[: at + 3]


def digest(path: Path, before: Stamp) -> str:
    """sha256 of an item's content; of one among many in a file, of the file and its number."""
    text, file = str(path), container(path)
    whole = _digest(file) if file == text else _kept_digest(file, before)
    return (
        whole
        if file == text
        else hashlib.sha256(f"{whole}{text[len(file) :]}".encode()).hexdigest()
    )


def _digest(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@lru_cache(maxsize=64)
def _kept_digest(file: str, before: Stamp) -> str:  # noqa: ARG001
    """Once per file and stamp, not once for each of its items."""
    return _digest(file)


def stamp(path: Path | str) -> Stamp:
    """OSError for what is no readable file (opening a pipe would wait forever)."""
    file = container(path)
    status = os.stat(file)  # noqa: PTH116 (a third of the time of Path.stat)
    if stat.S_ISDIR(status.st_mode):
        raise OSError(0, "a folder that cannot be listed")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, no_file(file))
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def chunks(sized: list[tuple[str, int]]) -> list[Chunk]:
    """Cut (source, bytes) into chunks of bounded count and size."""
    found: list[Chunk] = []
    total = 0
    for source, size in sized:
        if not found or total + size > CHUNK_BYTES or len(found[-1]) == CHUNK_ITEMS:
            found.append([])
            total = 0
        found[-1].append(source)
        total += size
    return found


def read_all(
    reading: Work, todo: list[Chunk], jobs: int = 0, dask: str | None = None
) -> Iterator[Done]:
    """Read chunks as they come, in any order; `jobs` 0: one per core."""
    from joblib import cpu_count

    jobs = jobs or cpu_count()
    if dask:
        yield from _dask(reading, todo, dask)
    elif jobs == 1 or len(todo) <= 1:
        yield from map(reading.chunk, todo)
    else:
        yield from _processes(reading, todo, jobs)


def _numbered(reading: Work, number: int, chunk: Chunk) -> tuple[int, Done]:
    return number, reading.chunk(chunk)


def _parallel(reading: Work, left: dict[int, Chunk], jobs: int) -> Iterator[Done]:
    """Take from `left` what is done."""
    from joblib import Parallel, delayed

    pool = Parallel(
        jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="2*n_jobs",
        max_nbytes=None,
    )  # fmt: skip
    for number, done in pool(delayed(_numbered)(reading, n, c) for n, c in list(left.items())):
        del left[number]
        yield done


def _processes(reading: Work, todo: list[Chunk], jobs: int) -> Iterator[Done]:
    from concurrent.futures.process import BrokenProcessPool

    left = dict(enumerate(todo))
    while left:
        try:
            yield from _parallel(reading, left, jobs)
        except BrokenProcessPool:
            # one of the 2 x jobs chunks under way killed its process
            for number in list(left)[: 2 * jobs]:
                yield from _careful(reading, left.pop(number))


def _careful(reading: Work, chunk: Chunk) -> Iterator[Done]:
    """Read a chunk in one process of its own; halve it until the file that kills is alone."""
    from concurrent.futures.process import BrokenProcessPool

    from joblib.externals.loky import ProcessPoolExecutor

    try:
        with ProcessPoolExecutor(max_workers=1) as alone:  # joblib's own pool is not to be shared
            done = alone.submit(reading.chunk, chunk).result()
        yield done
    except BrokenProcessPool:
        if len(chunk) == 1:
            yield [Outcome(chunk[0], None, None, "kills its reader (or memory ran out)")], []
            return
        middle = len(chunk) // 2
        yield from _careful(reading, chunk[:middle])
        yield from _careful(reading, chunk[middle:])


def _dask(reading: Work, todo: list[Chunk], address: str) -> Iterator[Done]:
    where = f"params.yaml: machine.dask: {address!r}"
    try:
        distributed = import_module("distributed")
        client = distributed.Client(address, timeout=10)
    except ImportError:
        text = "needs the package `distributed`: pip install 'dask[distributed]'"
        raise UserError(f"{where} {text}") from None
    except OSError as error:
        raise UserError(f"{where}: no scheduler answers there: {error}") from None
    with client:
        chunks = {client.submit(reading.chunk, chunk, pure=False): chunk for chunk in todo}
        for future in distributed.as_completed(list(chunks)):
            chunk = chunks.pop(future)
            try:
                yield future.result()
            except distributed.KilledWorker:  # by one of its files, which is found out here
                yield from _careful(reading, chunk)
            except (ModuleNotFoundError, RuntimeError) as error:
                if "modalities" in str(error) or "deserialization" in str(error):
                    text = "its scheduler and workers need this version of Gleaner"
                    raise UserError(f"{where}: {text}: {error}") from None
                raise


def stack(arrays: list[Array]) -> Array:
    """Items of one shape, (...) each -> (n, ...)."""
    assert len({(a.shape, a.dtype) for a in arrays}) == 1, "read() must give one shape"
    return np.stack(arrays)
