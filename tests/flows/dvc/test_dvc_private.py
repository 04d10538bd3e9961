"""What flows/dvc/private.py and flows/dvc/folders.py rely on and DVC does not promise.

A failure here means that DVC changed: read its new code, adapt flows/dvc/private.py or
flows/dvc/folders.py, then the pin.
"""

import hashlib
import importlib
import inspect
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import dvc
import pytest
from packaging.specifiers import SpecifierSet

from flows.dvc import private

# module:object -> digest of its source. Replaced by us, or called in a way that we rely on.
PINNED = {
    "dvc.stage.run:cmd_run": "d2696e63976b",
    "dvc.stage.run:run_stage": "d4b66f275003",
    "dvc.stage.run:prepare_kwargs": "b7f2672fdcd4",
    "dvc.stage.run:get_executable": "e6e3f9864745",
    "dvc.stage.run:_make_cmd": "1f0d02534025",
    "dvc.stage.run:_enforce_cmd_list": "e2f456bb1e5a",
    "dvc.stage.decorators:unlocked_repo": "48479e14bcce",
    "dvc.stage.decorators:rwlocked": "2f9910ef188b",
    "dvc.stage.cache:StageCache._load": "387d30ed4675",
    "dvc.stage.cache:StageCache.save": "49b8f5c04149",
    "dvc.stage.cache:_get_stage_hash": "72e8460cc11b",
    "dvc.stage:Stage.run": "d0e5527866ee",
    "dvc.stage:Stage.save": "277cc65d776c",
    "dvc.stage:Stage.save_deps": "28d20539e956",
    "dvc.rwlock:rwlock": "e8e87c10cc64",
    "dvc.lock:Lock": "8840bc14fa02",
    "dvc.utils.serialize._yaml:modify_yaml": "f12395992e53",
    "dvc.utils.serialize._yaml:dumps_yaml": "7c7c1731e1b5",
    "dvc.utils.serialize._common:_modify_data": "5d8432d4d300",
    "dvc.dvcfile:Lockfile.dump_stages": "be78a3c7bd28",
    "dvc.repo.reproduce:_reproduce_stage": "32cb1baa118f",
    "dvc.repo:lock_repo": "77da8142ad03",
    "dvc.repo.index:collect_files": "720306ce0e9a",
    "dvc.repo.index:Index.from_repo": "4d6c3b6e7b11",
    "dvc.output:Output._build": "ca43c2a6f470",
    "dvc.output:Output._get_hash_meta": "09224fe48913",
    "dvc.output:Output.save": "778821cfa71d",
    "dvc.ignore:DvcIgnoreFilter._get_trie_pattern": "a8fb06bb3507",
    "dvc.ignore:DvcIgnorePatterns.__call__": "47ccd4629800",
    "dvc_data.hashfile.build:build": "23d0d05b3da8",
    "dvc_data.hashfile.build:_build_tree": "581f7177588e",
    "dvc_data.hashfile.build:_build_files": "e377bae3b267",
    "dvc_data.hashfile.build:_get_hashes": "4a321783a08f",
    "dvc_data.hashfile.tree:Tree.digest": "246a2a2d1e99",
    "dvc_data.hashfile.tree:Tree.as_list": "43875f67ee24",
    "dvc_data.fsutils:_localfs_info": "a83aa5e234a1",
    "dvc_objects.fs.local:FsspecLocalFileSystem.walk": "0e8f547d62c0",
}


def digest(name: str) -> str:
    module, _, path = name.partition(":")
    found = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    text = inspect.getsource(inspect.unwrap(found))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def pristine():
    """Digests from a process of its own: in this one our parts may be in place already."""
    code = (
        "from test_dvc_private import PINNED, digest\nfor name in PINNED: print(name, digest(name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", PINNED)
def test_dvc_is_as_we_know_it(pristine, name):
    assert pristine[name] == PINNED[name], f"DVC {dvc.__version__} changed {name}"


def test_the_version_is_bounded():
    bounds = [r for r in metadata.requires("gleaner") or [] if r.startswith("dvc<") or "dvc>" in r]
    assert bounds, "pyproject.toml must bound DVC"
    assert SpecifierSet(bounds[0].removeprefix("dvc")).contains(dvc.__version__)
    assert not SpecifierSet(bounds[0].removeprefix("dvc")).contains("3.68.0")


def test_our_parts_take_the_same_arguments_as_what_they_replace(pristine):
    assert pristine  # DVC is as we know it, so the signatures written here are its own
    private._dvc()
    import dvc.dvcfile
    import dvc.rwlock
    import dvc.stage.run

    assert list(inspect.signature(dvc.stage.run.cmd_run).parameters) == ["stage", "dry", "run_env"]
    assert list(inspect.signature(dvc.rwlock.rwlock).parameters) == [
        "tmp_dir", "fs", "cmd", "read", "write", "hardlink",
    ]  # fmt: skip
    assert list(inspect.signature(dvc.dvcfile.modify_yaml).parameters) == ["path", "fs"]


def test_only_two_files_touch_what_dvc_keeps_private():
    """`dvc.repo`, `dvc.exceptions` and `dvc.api` are how DVC is used as a library."""
    allowed = {"private.py", "folders.py"}
    public = ("dvc.exceptions",)
    for path in (Path(__file__).parents[3] / "flows").rglob("*.py"):
        imported = re.findall(
            r"^\s*(?:from|import) (dvc(?:_data|_objects)?(?:\.\w+)*)\b", path.read_text(), re.M
        )
        if path.name not in allowed:
            assert set(imported) <= set(public), path.name


def test_params_yaml_is_parsed_once_for_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    import dvc.dependency.param as module

    read: list[str] = []
    monkeypatch.setattr(module, "load_path", lambda path, fs: read.append(path) or {"a": 1})
    with private.params_read_once():
        found = [module.read_param_file(None, "params.yaml") for _ in range(3)]  # type: ignore[arg-type]
    assert found == [{"a": 1}] * 3 and len(read) == 1
    module.read_param_file(None, "params.yaml")  # type: ignore[arg-type]
    assert len(read) == 2, "a change between two plans is seen"
