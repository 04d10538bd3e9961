"""What holds for every test; `make test` spreads them over processes by file, longest first."""

import os
import signal
from pathlib import Path
from typing import Any

# Before anything imports numpy, for what tests start as well: as many threads as stages have, since
# several of these processes share the cores.
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import pytest
from xdist.scheduler import LoadFileScheduling

from modalities.common.steps.deterministic import use_deterministic

# A shell starts what runs in its background with Ctrl-C ignored, and a child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As `--durations` tells: what is begun last should be short. Others follow in their own order.
LONGEST = (
    "test_end_to_end", "test_real_pictures", "test_training_resume", "test_pipeline_serve",
    "test_pipeline", "test_heal", "test_profiles", "test_objectives", "test_dvc_graph",
)  # fmt: skip
KILLS = ("test_heal", "test_supervise", "test_training_resume", "test_ingest")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


class ByFile(LoadFileScheduling):
    """A file's tests share a process, as they share projects; those that kill share one for all."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.split("::", 1)[0]
        return "kills" if Path(path).stem in KILLS else path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """In place of marks of groups, which pytest-xdist 3.8 cannot read with pytest 9.2."""
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _exact() -> None:
    """Where there is a GPU, tests get from it what stages do: the same bits every time."""
    use_deterministic()
