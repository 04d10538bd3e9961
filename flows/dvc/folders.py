"""How the files and folders that a stage reads are hashed in our door; private parts of DVC, too.

DVC opens whatever lies in a folder: it waits for ever at a pipe, reads /dev/zero without an end,
and stops at a dangling link, at a `.dvcignore` and at a name that is not UTF-8. It looks behind no
link to a folder, where ingest reads on, and walks anew for every question. Here

- what is no file counts as what it is, "a pipe"; hidden, it does not count, as for ingest;
- what lies behind a link to a folder counts, but for circles;
- `.dvcignore` files in the folder hide nothing from us;
- what was hashed for one dependency is known to the next, until `forget`.

Of a folder without all that the hash is DVC's own, so that both doors agree.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from modalities.common.reading.folders import hidden, no_file
from modalities.items import UserError

IGNORE = ".dvcignore"

Info: TypeAlias = dict[str, Any]  # what DVC knows of a file: size, mtime, ino, ...
Patterns: TypeAlias = Callable[[str, list[str], list[str]], tuple[list[str], list[str]]]
_here = threading.local()  # .known: (path, kind of hash) -> what it was found to be


class Listed(NamedTuple):
    """What lies in one folder."""

    path: str
    key: tuple[str, ...]  # its path in the dependency
    files: dict[str, Info]
    odd: dict[str, str]  # name -> what is there, if no file


@contextmanager
def looking() -> Iterator[None]:
    """Within this each path is hashed once, and as described above."""
    _here.known = {}
    try:
        yield
    finally:
        _here.known = None


def forget() -> None:
    """What was hashed may be different now."""
    _here.known = {}


def _known() -> dict[Any, Any] | None:
    """What this thread has hashed; None: it is not `looking`."""
    found: dict[Any, Any] | None = getattr(_here, "known", None)
    return found


def install() -> None:
    """Put our parts in DVC's place, once."""
    import dvc.output
    import dvc.repo.index

    is_empty = dvc.output.Output.is_empty
    dvc.output.build = _builder(dvc.output.build)
    # DVC lists a folder once more each time, to warn that it is empty where nobody reads it.
    dvc.output.Output.is_empty = property(
        lambda self: is_empty.fget(self) if _known() is None else False
    )
    dvc.repo.index.collect_files = _collector(dvc.repo.index.collect_files)


def _builder(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of DVC's `build`: of what is not stored, that is, of dependencies, our hash."""

    def build(odb: Any, path: str, fs: Any, name: str, *args: Any, **options: Any) -> Any:
        seen = _known()
        if seen is None or fs.protocol != "local" or not options.get("dry_run"):
            return original(odb, path, fs, name, *args, **options)
        if (path, name) not in seen:
            if os.path.isdir(path):  # noqa: PTH112 (paths are DVC's, of type str)
                seen[path, name] = _tree(odb, path, fs, name, options)
            elif os.path.lexists(path) and (what := no_file(path)):
                raise UserError(f"{path}: {what}; expected a file or a folder")
            else:
                seen[path, name] = original(odb, path, fs, name, *args, **options)[1:]
        return odb, *seen[path, name]

    return build


def _collector(original: Callable[..., Any]) -> Callable[..., Any]:
    """In place of DVC's `collect_files`, which looks for more stages in all folders of the project:
    in the sources, too, where it may find anything. Ours stand in the one dvc.yaml.
    """

    def collect_files(repo: Any, onerror: Any = None) -> Iterator[tuple[str, Any]]:
        from dvc.repo.index import Index

        if _known() is None:
            yield from original(repo, onerror=onerror)
        else:
            path = repo.fs.join(repo.root_dir, "dvc.yaml")
            yield path, Index.from_file(repo, path)

    return collect_files


def hurdles(folder: Path) -> dict[str, str]:
    """Names in a source folder that plain `dvc` stops or hangs at, and what is there."""
    found = {}
    for listed in _walk(str(folder), None, hide=False):
        below = "".join(f"{part}/" for part in listed.key)
        found.update({below + name: what for name, what in listed.odd.items()})
        for name in listed.files:
            if name == IGNORE:
                found[below + name] = "a file that DVC refuses"
            elif not _is_text(below + name):
                found[below + name] = "a name that is not UTF-8"
    return found


def _tree(odb: Any, path: str, fs: Any, name: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """(meta, hashed) of a folder, as DVC's `_build_tree`."""
    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.meta import Meta
    from dvc_data.hashfile.obj import HashFile
    from dvc_data.hashfile.tree import Tree

    tree: Any = Tree()  # type: ignore[no-untyped-call]
    size = 0
    for listed in _walk(path, _patterns(options.get("ignore"), path)):
        found, odd = _hashes(listed, fs, name, odb.state, options.get("checksum_jobs"))
        for file, (meta, info) in found.items():
            tree.add((*listed.key, file), meta, info)
            size += meta.size or 0
        for file, what in odd.items():
            told = hashlib.md5(what.encode(), usedforsecurity=False).hexdigest()
            tree.add((*listed.key, file), None, HashInfo(name, told))
    whole = hashlib.md5(tree.as_bytes(), usedforsecurity=False).hexdigest()
    info = HashInfo("md5", f"{whole}.dir")
    return Meta(size=size, nfiles=len(tree), isdir=True), HashFile(path, fs, info)


def _patterns(ignore: Any, path: str) -> Patterns | None:
    """What `.dvcignore` files above a folder hide in it; those in it DVC refuses."""
    if ignore is None:
        return None
    found: Patterns | None = ignore._get_trie_pattern(
        os.path.dirname(path),  # noqa: PTH120
        dnames=[],
        ignore_subrepos=False,
    )
    return found


def _walk(
    folder: str, patterns: Patterns | None, key: tuple[str, ...] = (),
    above: tuple[tuple[int, int], ...] = (), hide: bool = True,
) -> Iterator[Listed]:  # fmt: skip
    """A folder and those below it; one that cannot be listed is empty, as for DVC.

    In hidden folders, which ingest does not enter, this goes no other ways than DVC.
    """
    try:
        status = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as entries:
            found = {e.name: (_is_folder(e), e.is_symlink()) for e in entries}
    except OSError:
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    dirs = [name for name, (is_folder, _) in found.items() if is_folder]
    files = [name for name, (is_folder, _) in found.items() if not is_folder]
    if patterns:
        dirs, files = patterns(folder, dirs, files)
    unseen = any(map(hidden, key))
    yield _listed(folder, key, files, hide, unseen)
    for name in dirs:
        if not found[name][1] or not (unseen or hidden(name)):
            below = f"{folder}{os.sep}{name}"
            yield from _walk(below, patterns, (*key, name), (*above, here), hide)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _listed(
    folder: str, key: tuple[str, ...], names: list[str], hide: bool, unseen: bool
) -> Listed:
    from dvc_data.fsutils import _localfs_info

    files: dict[str, Info] = {}
    odd: dict[str, str] = {}
    for name in names:
        path = f"{folder}{os.sep}{name}"
        try:
            info = _localfs_info(path)
        except OSError:
            info = {"type": "other"}
        if info["type"] == "file":
            files[name] = info
        elif not (hide and (unseen or hidden(name))) and os.path.lexists(path):
            odd[name] = no_file(path) or "changes"
    return Listed(folder, key, files, odd)


def _hashes(
    listed: Listed, fs: Any, name: str, state: Any, jobs: int | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """File -> (meta, hash), from DVC's memory if it is as it was; what is no file, or is not to be
    opened -> what it is."""
    found: dict[str, Any] = {}
    odd = dict(listed.odd)
    text = {file for file in listed.files if _is_text(f"{listed.path}{file}")}
    for files, memory in ((text, state), (listed.files.keys() - text, None)):  # DVC keeps only text
        infos = {f"{listed.path}{os.sep}{f}": listed.files[f] for f in files}
        try:
            hashes = _get_hashes(infos, fs, name, memory, jobs)
        except OSError:  # one of them is not to be opened, or gone
            hashes = {}
            for path, info in infos.items():
                try:
                    hashes |= _get_hashes({path: info}, fs, name, memory, jobs)
                except FileNotFoundError:
                    continue
                except OSError as error:
                    odd[os.path.basename(path)] = error.strerror or "cannot be read"  # noqa: PTH119
        found |= {os.path.basename(p): h for p, h in hashes.items()}  # noqa: PTH119
    return found, odd


def _get_hashes(
    infos: dict[str, Info], fs: Any, name: str, state: Any, jobs: int | None
) -> dict[str, Any]:
    from dvc_data.hashfile import build

    told = build._get_hashes([*infos], fs, name, infos, state=state, jobs=jobs)
    return {path: (meta, info) for path, (meta, info, _) in told.items()}


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
