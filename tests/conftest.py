"""What holds for every test."""

import signal

import pytest

from modalities.common.steps.deterministic import use_deterministic

# A shell starts what runs in its background with Ctrl-C ignored, and a child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _exact() -> None:
    """Where there is a GPU, tests get from it what stages do: the same bits every time."""
    use_deterministic()
