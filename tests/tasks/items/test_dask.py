"""Item-wise work over a real Dask cluster, of two worker processes on this machine."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modalities.items import UserError
from tasks.ingest import ingest
from tasks.items.reading import Chunk, Done, Outcome, read_all
from tests.tasks.ingest.test_ingest import Heard, digests, params, picture

distributed = pytest.importorskip("distributed")


class Deadly:
    """Reading that dies of one file, as a decoder written in C may."""

    def chunk(self, sources: Chunk) -> Done:
        if "bad" in sources:
            os.kill(os.getpid(), signal.SIGKILL)
        return [Outcome(source, None, source, None) for source in sources], []


class Stranger:
    """What workers with another version of the code say."""

    def chunk(self, sources: Chunk) -> Done:
        raise ModuleNotFoundError("No module named 'modalities.smell'")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
    ) as cluster:
        yield cluster.scheduler_address


def test_workers_read_what_processes_read(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for at in range(6):
        picture(Path("src") / "ab"[at % 2] / f"{at}.png", at)
    Path("src/a/broken.png").write_bytes(b"no picture")
    ingest(params(), Heard(), modality="image")
    alone = digests()
    for folder in ("data", ".gleaner"):
        Path(folder).rename(f"{folder}-alone")
    ingest(params(dask=address), Heard(), modality="image")
    assert digests() == alone


@pytest.mark.slow
def test_a_file_that_kills_workers_costs_itself_alone(address: str) -> None:
    found: dict[Any, Any] = {}
    for outcomes, _ in read_all(Deadly(), [["a", "b"], ["c", "bad"], ["d"]], dask=address):
        found |= {each.source: each.reason for each in outcomes}
    reason = found.pop("bad")
    assert reason == "kills its reader (or memory ran out)"
    assert found == dict.fromkeys("abcd")


def test_other_code_on_the_workers_is_the_users_mistake(address: str) -> None:
    with pytest.raises(UserError, match=r"machine\.dask: .* need this version of Gleaner"):
        list(read_all(Stranger(), [["a"]], dask=address))


def test_no_scheduler_is_the_users_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(address: str, timeout: float) -> None:
        raise OSError(f"Timed out trying to connect to {address} after {timeout} s")

    monkeypatch.setattr(distributed, "Client", nobody)
    with pytest.raises(UserError, match=r"machine\.dask: 'tcp://x:1': no scheduler answers there"):
        list(read_all(Deadly(), [["a"]], dask="tcp://x:1"))
