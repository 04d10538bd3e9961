"""One server per project: found again, safe to start at once, never another process."""

import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import tiny_project as tiny

from flows import server, zombies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tiny.make(tmp_path_factory.mktemp("server") / "project")
    yield folder
    server.stop(folder)


def test_concurrent_starts_share_one(root: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(server.ensure, [root] * 4))
    assert len(found) == 1
    assert server.running(root) in found


def test_it_is_on_loopback_and_in_a_session_of_its_own(root: Path) -> None:
    found = server.ensure(root)
    addresses = {
        c.laddr.ip
        for c in psutil.Process(found.pid).net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}
    assert os.getsid(found.pid) != os.getsid(0)


def test_the_page_finds_its_api_and_asks_nobody_else(root: Path) -> None:
    """On another port than 4200 a wrong address gives a blank page."""
    found = server.ensure(root)
    told = server.call(found.page, "/ui-settings")
    assert told["api_url"] == found.api
    assert told["default_ui"] == "v1"
    assert server.call(found.api, "/admin/settings")["server"]["analytics_enabled"] is False
    with server._DIRECT.open(found.page, timeout=10) as page:
        assert b"http://" not in page.read().replace(b"http://127.0.0.1", b"")


def test_ui_prints_the_address_and_stops_it(root: Path) -> None:
    found = server.ensure(root)
    assert found.page in tiny.glean(root, "ui").stdout
    assert "stopped" in tiny.glean(root, "ui", "--stop").stdout
    assert not server.alive(found.pid, found.created)
    assert "no server was running" in tiny.glean(root, "ui", "--stop").stdout


def record(root: Path, **values: float) -> None:
    folder = root / server.FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "server.json").write_text(json.dumps(values))


def test_another_process_with_the_same_pid_is_not_the_server(tmp_path: Path) -> None:
    record(tmp_path, port=4200, pid=os.getpid(), created=time.time() - 10_000_000)
    assert server.recorded(tmp_path) is None
    assert server.stop(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"port": 1}'])
def test_a_torn_record_counts_as_none(tmp_path: Path, text: str) -> None:
    record(tmp_path)
    (tmp_path / server.FOLDER / "server.json").write_text(text)
    assert server.recorded(tmp_path) is None


def test_a_taken_port_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        assert not server._free(taken.getsockname()[1])


def test_settings_are_offline_and_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "somebody else's")
    monkeypatch.setenv("NO_PROXY", "example.org")
    for name in server.settings(tmp_path, 4250):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back at the end
    server.adopt(tmp_path, server.Server(4250, 1, 0.0))
    assert "PREFECT_API_KEY" not in os.environ
    assert os.environ["NO_PROXY"] == "127.0.0.1" or "127.0.0.1" in os.environ["NO_PROXY"]
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4250/api"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_only_the_dead_are_dead(tmp_path: Path) -> None:
    with zombies.noted(tmp_path, "alive"):
        assert zombies.dead(tmp_path) == []
        (tmp_path / zombies.FLOWS / "torn.json").write_text("{")
        (tmp_path / zombies.FLOWS / "gone.json").write_text('{"pid": 1, "created": 1.0}')
        assert [p.stem for p in zombies.dead(tmp_path)] == ["gone", "torn"]
    assert not (tmp_path / zombies.FLOWS / "alive.json").exists()


def test_reaping_waits_for_a_server_that_answers(tmp_path: Path) -> None:
    (tmp_path / zombies.FLOWS).mkdir(parents=True)
    note = tmp_path / zombies.FLOWS / "gone.json"
    note.write_text('{"pid": 1, "created": 1.0}')
    with socket.socket() as unused:
        unused.bind((server.HOST, 0))
        assert zombies.reap(tmp_path, f"http://127.0.0.1:{unused.getsockname()[1]}/api") == []
    assert note.exists()
