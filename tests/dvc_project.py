"""A tiny DVC project for the tests of flows/: `first`, six `side@X` that read it, `last`."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flows.dvc import graph
from modalities.items import UserError

SIDES = tuple("abcdef")
ROOT = Path(__file__).resolve().parents[1]

DVC_YAML = (
    """\
stages:
  first:
    cmd: sh stage.sh first source.txt
    deps:
    - source.txt
    outs:
    - out/first
  side:
    foreach: ${sides}
    do:
      cmd: sh stage.sh side_${key} out/first ${item.value}
      deps:
      - out/first
      - ${key}.txt
      params:
      - sides.${key}
      outs:
      - out/side_${key}
      meta:
        gpus: 1
  last:
    cmd: sh stage.sh last out/side_a
    deps:
"""
    + "".join(f"    - out/side_{side}\n" for side in SIDES)
    + """\
    outs:
    - out/last
"""
)

# Notes that it ran; obeys hook.sh when there is one; writes its output folder by a rename.
STAGE = """\
set -e
echo $1${3:+=$3} >> ran.txt
mkdir -p out/.$1.part
if [ -e hook.sh ]; then . ./hook.sh; fi
cat $2/* > out/.$1.part/made 2>/dev/null || cat $2 > out/.$1.part/made
echo $1 $3 >> out/.$1.part/made
rm -rf out/$1
mv out/.$1.part out/$1
"""


class Project:
    """The project's folder and what tests do with it."""

    def __init__(self, root: Path, git: bool = False) -> None:
        self.root = root
        (root / ".dvc").mkdir(parents=True)
        shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
        shutil.copy(ROOT / ".dvc/.gitignore", root / ".dvc/.gitignore")
        if git:
            self.git("init", "-q")
            self.git("config", "user.name", "test")
            self.git("config", "user.email", "test@example.com")
            (root / ".gitignore").write_text("/out\n/ran.txt\n.gleaner/\n")
        else:
            (root / ".dvc/config.local").write_text("[core]\n    no_scm = true\n")
        (root / "dvc.yaml").write_text(DVC_YAML)
        (root / "stage.sh").write_text(STAGE)
        (root / "source.txt").write_text("source\n")
        for side in SIDES:
            (root / f"{side}.txt").write_text(f"{side}\n")
        self.params({})

    def params(self, values: dict[str, object]) -> None:
        sides = {side: {"value": values.get(side, 1)} for side in SIDES}
        (self.root / "params.yaml").write_text(json.dumps({"sides": sides}))

    def hook(self, script: str) -> None:
        (self.root / "hook.sh").write_text(script)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout

    def dvc(self, *arguments: str, check: bool = True) -> str:
        """Plain `dvc`, the other door."""
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root, capture_output=True, text=True, check=False, env=os.environ,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ran(self) -> list[str]:
        """Names of all commands that were ever begun, in order."""
        return [line.partition("=")[0] for line in self.begun()]

    def begun(self) -> list[str]:
        """The same with the value of the parameter: `side_a=1`."""
        path = self.root / "ran.txt"
        return path.read_text().split() if path.exists() else []

    def lock(self) -> bytes:
        return (self.root / "dvc.lock").read_bytes()

    def dirty(self) -> dict[str, tuple[str, ...]]:
        return {s.name: s.why for s in graph.plan(self.root) if not s.clean}

    def run(self, *targets: str) -> dict[str, object]:
        """As the flow does: all that is dirty, each after its upstream, side by side."""
        ended = run_all(self.root, targets)
        for how in ended.values():
            if isinstance(how, Exception) and not isinstance(how, graph.StageFailed | UserError):
                raise how  # with its traceback
        return ended


def run_all(root: Path, targets: tuple[str, ...] = ()) -> dict[str, object]:
    """Stage -> how it ended, "clean" or the exception."""
    stages = graph.plan(root, targets)
    futures: dict[str, object] = {}

    def go(stage: graph.Stage) -> str:
        for up in stage.upstream:
            futures[up].result()  # type: ignore[attr-defined]
        if stage.clean:
            return "clean"
        return graph.run_stage(root, stage.name, lambda line: None)

    with ThreadPoolExecutor(len(stages)) as pool:
        for stage in stages:
            futures[stage.name] = pool.submit(go, stage)
    return {n: f.exception() or f.result() for n, f in futures.items()}  # type: ignore[attr-defined]


if __name__ == "__main__":  # a flow of its own, to be killed or to compete
    from flows.kills.mend import repair

    here = Path.cwd()
    for line in repair(here):
        sys.stdout.write(f"healed: {line}\n")
    ended = run_all(here)
    sys.stdout.write("\n".join(f"{name} {how}" for name, how in ended.items()) + "\n")
    sys.exit(any(isinstance(how, Exception) for how in ended.values()))
