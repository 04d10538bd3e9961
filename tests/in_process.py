"""`python -m tasks ...` within the tests' process, which has imported what takes seconds."""

import contextlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.__main__ import main


@dataclass(frozen=True)
class Done:
    """As `subprocess.run` tells it."""

    returncode: int
    stderr: str


def stage(place: Path, *words: str) -> Done:
    """Run a stage in a project's folder."""
    heard = io.StringIO()
    with (
        contextlib.chdir(place),
        contextlib.redirect_stdout(heard),
        contextlib.redirect_stderr(heard),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["tasks", *words])
        code = main()
    return Done(code, heard.getvalue())
