"""Decoded items by content, outside DVC's outputs: adding one file to 10,000 reads one file.

`.gleaner/items/MODALITY/KEY/*.npz` are shards: `index`, JSON [[sha256, reason or null], ...], and
`items`, the arrays of those without a reason. KEY stands for the reader's code and options.
`.gleaner/items/MODALITY/files` tells which unchanged file (size, times) has which content.
Everything may be deleted, torn or damaged at any time: it is read again then.
"""

import json
import os
import shutil
import time
import uuid
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tasks.items.reading import Array, Outcome, Stamp, stack

KEYS = 3  # caches of so many readers and options are kept
SETTLED = 2_000_000_000  # ns: a file changed this shortly ago could change again unnoticed
# What np.load raises for a damaged file; zip's checksums find what is not plain wrong.
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error,
           NotImplementedError)  # fmt: skip


class FileIndex:
    """Unchanged file -> sha256, in checked lines, so that a killed ingest loses little."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path, self.root = path, str(root.resolve())
        self.known: dict[str, tuple[Stamp, str]] = {}
        self.settled = time.time_ns() - SETTLED
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_bytes().splitlines() if path.exists() else []:
            self._load(line)

    def _load(self, line: bytes) -> None:
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return
        root, entries = json.loads(body)
        if root == self.root:
            self.known.update((s, (tuple(t), sha)) for s, t, sha in entries)

    def sha256(self, source: str, stamp: Stamp) -> str | None:
        found = self.known.get(source)
        return found[1] if found and found[0] == stamp else None

    def add(self, outcomes: list[Outcome]) -> None:
        for source, stamp, sha256, _ in outcomes:
            if stamp and sha256 and stamp[1] < self.settled:
                self.known[source] = (stamp, sha256)
        new = [o.source for o in outcomes if o.source in self.known]
        with self.path.open("ab") as file:
            # the leading line end keeps a torn line of a killed run apart
            file.write(b"\n" + self._line(new))

    def _line(self, sources: list[str]) -> bytes:
        body = json.dumps([self.root, [[s, *self.known[s]] for s in sources]]).encode()
        return b"%08x %s\n" % (zlib.crc32(body), body)

    def compact(self, sources: list[str]) -> None:
        """Keep only what the source still has."""
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            for start in range(0, len(sources), 1000):
                file.write(
                    self._line([s for s in sources[start : start + 1000] if s in self.known])
                )
        part.replace(self.path)


class ItemCache:
    """Content -> decoded item, or the reason why it cannot be decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)  # for `forget`
        self.reasons: dict[str, str | None] = {}  # sha256 -> reason
        self.shards: dict[Path, list[str]] = {}  # shard -> sha256 of its items, in their order
        self.owner: dict[str, Path] = {}  # sha256 -> shard
        self.damaged = 0
        for path in sorted(folder.glob("*.npz")):
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            # opened here: of a damaged file np.load would leave it open
            with path.open("rb") as file, np.load(file) as shard:
                entries = json.loads(shard["index"].tobytes())
                assert len(shard["items"]) == sum(reason is None for _, reason in entries)
        except (*DAMAGED, AssertionError):
            self.damaged += 1
            path.unlink(missing_ok=True)
        else:
            self._enter(path, entries)

    def _enter(self, path: Path, entries: list[tuple[str, str | None]]) -> None:
        self.shards[path] = [sha for sha, reason in entries if reason is None]
        for sha, reason in entries:
            self.reasons[sha] = reason
            self.owner[sha] = path

    def add(self, outcomes: list[Outcome], arrays: list[Array]) -> None:
        """Keep what was read as a new shard; contents that are known already are left out."""
        items = iter(arrays)
        fresh: dict[str, tuple[str | None, Array | None]] = {}
        for outcome in outcomes:
            array = next(items) if outcome.reason is None else None
            if outcome.sha256 and outcome.sha256 not in self.reasons:
                fresh[outcome.sha256] = (outcome.reason, array)
        if fresh:
            kept = [array for _, array in fresh.values() if array is not None]
            self._write([(sha, reason) for sha, (reason, _) in fresh.items()], kept)

    def _write(self, entries: list[tuple[str, str | None]], arrays: list[Array]) -> None:
        path = self.folder / f"{uuid.uuid4().hex}.npz"
        part = path.with_suffix(".part")
        index = np.frombuffer(json.dumps(entries).encode(), np.uint8)
        with part.open("wb") as file:
            np.savez(file, index=index, items=stack(arrays) if arrays else np.empty(0, np.uint8))
        part.replace(path)
        self._enter(path, entries)

    def write_array(self, path: Path, contents: list[str]) -> None:
        """Write the items of `contents` as one .npy, holding one shard in memory at a time."""
        rows: dict[Path, list[tuple[int, str]]] = {}
        for row, sha in enumerate(contents):
            rows.setdefault(self.owner[sha], []).append((row, sha))
        start: int | None = None
        with path.open("wb") as file:
            for shard, wanted in rows.items():
                items = self._items(shard)
                if start is None:
                    shape = (len(contents), *items.shape[1:])
                    header: dict[str, Any] = {"descr": items.dtype.str, "fortran_order": False}
                    np.lib.format.write_array_header_1_0(file, {**header, "shape": shape})
                    file.flush()
                    start = file.tell()
                place = {sha: i for i, sha in enumerate(self.shards[shard])}
                for row, sha in wanted:
                    _put(file.fileno(), items[place[sha]], start, row)

    def _items(self, shard: Path) -> Array:
        with np.load(shard) as loaded:
            return np.ascontiguousarray(loaded["items"])

    def clean(self, live: set[str]) -> None:
        """Drop contents that are no longer wanted once they outweigh those that are."""
        for part in self.folder.glob("*.part"):
            if time.time() - part.stat().st_mtime > 3600:  # not one of a run beside this one
                part.unlink(missing_ok=True)
        if len(self.reasons) <= 2 * len(live & self.reasons.keys()):
            return
        owned: dict[Path, list[str]] = {path: [] for path in self.shards}
        for sha, path in self.owner.items():
            owned[path].append(sha)
        for path, contents in owned.items():
            kept = [sha for sha in contents if sha in live]
            if len(kept) == len(contents):
                continue
            if kept:
                self._rewrite(path, kept)
            path.unlink(missing_ok=True)
            del self.shards[path]

    def _rewrite(self, path: Path, kept: list[str]) -> None:
        items = self._items(path)
        place = {sha: i for i, sha in enumerate(self.shards[path])}
        arrays = [items[place[sha]] for sha in kept if sha in place]
        self._write([(sha, self.reasons[sha]) for sha in kept], arrays)


def _put(file: int, item: Array, start: int, row: int) -> None:
    if os.pwrite(file, item.data, start + row * item.nbytes) != item.nbytes:
        raise OSError("the disk is full")


def forget(folder: Path) -> None:
    """Delete the caches of readers and options that were used longest ago."""
    used = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
    for path in used[:-KEYS]:
        shutil.rmtree(path, ignore_errors=True)
