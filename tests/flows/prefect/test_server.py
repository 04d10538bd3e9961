"""One server per project: found again, safe to start at once, never another process."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
import tiny_project as tiny
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from flows.prefect import api, lost_runs, server
from flows.prefect.api import Server
from modalities.items import UserError


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Two projects whose servers were started at the same time, by processes side by side."""
    folder = tmp_path_factory.mktemp("server")
    roots = [tiny.make(folder / name) for name in ("project", "other")]
    started = [tiny.start(root, "ui") for root in roots]
    try:
        for process, root in zip(started, roots, strict=True):
            told, _ = process.communicate(timeout=120)
            found = server.running(root)
            assert found and found.link in told, told
        yield roots
    finally:
        for root in roots:
            server.stop(root)


@pytest.fixture(scope="module")
def root(pair: list[Path]) -> Path:
    return pair[0]


class Stranger(BaseHTTPRequestHandler):
    """Says that it is well, whatever it is asked, and keeps what it hears."""

    heard: list[str]

    def do_GET(self) -> None:
        self.heard.append(f"{self.path}\n{self.headers}")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Another server, on the port that a project would take first."""
    Stranger.heard = []
    with ThreadingHTTPServer((server.HOST, 0), Stranger) as there:
        thread = threading.Thread(target=there.serve_forever)
        thread.start()
        monkeypatch.setattr(server, "PORTS", range(there.server_port, there.server_port + 20))
        yield there.server_port
        there.shutdown()
        thread.join()


def test_two_projects_have_two_servers(pair: list[Path]) -> None:
    one, other = (server.running(root) for root in pair)
    assert one and other
    assert (one.port, one.pid, one.key) != (other.port, other.pid, other.key)
    assert one.port != other.port
    api.call(one, "/flows/", {"name": "only-here"})
    assert [f["name"] for f in api.call(one, "/flows/filter", {})] == ["only-here"]
    assert api.call(other, "/flows/filter", {}) == []


def test_concurrent_starts_share_one(root: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(server.ensure, [root] * 4))
    assert found == {server.running(root)}


def test_a_stranger_is_not_taken_for_the_server(tmp_path: Path, stranger: int) -> None:
    """Neither on the port to begin with, nor on the port that the record tells."""
    folder = tmp_path / server.FOLDER
    folder.mkdir()
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    with subprocess.Popen(sleeping, cwd=folder) as former:
        created = psutil.Process(former.pid).create_time()
        record(tmp_path, port=stranger, pid=former.pid, created=created)
        key = api.make_key(tmp_path)
        assert server.recorded(tmp_path)
        assert server.running(tmp_path) is None
        server._children.append(former)  # type: ignore[arg-type]
        try:
            found = server.ensure(tmp_path)
            assert former.poll() is not None
            assert found.port != stranger
            assert found.key == key
        finally:
            server.stop(tmp_path)
    assert Stranger.heard
    assert not [text for text in Stranger.heard if key in text or "Authorization" in text]


def test_a_copied_project_does_not_touch_the_server_of_the_first(
    root: Path, tmp_path: Path
) -> None:
    found = server.ensure(root)
    (tmp_path / server.FOLDER).mkdir()
    for name in (server.RECORD, api.KEY):
        shutil.copy(root / name, tmp_path / name)
    assert server.recorded(tmp_path) is None
    assert server.stop(tmp_path) is None
    assert server.running(root) == found


def status(found: Server, method: str, path: str, **headers: str) -> int:
    """What a request gets whose headers are these only."""
    headers = {k.replace("_", "-"): v for k, v in headers.items()}
    line = http.client.HTTPConnection(server.HOST, found.port, timeout=30)
    try:
        line.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in ({"Host": f"{server.HOST}:{found.port}"} | headers).items():
            line.putheader(name, value)
        line.endheaders(b"{}" if method == "POST" else None)
        return line.getresponse().status
    finally:
        line.close()


FILTER = "/api/flow_runs/filter"


@pytest.mark.parametrize("host", ["evil.example", "localhost:{}", "127.0.0.1:1", "127.0.0.1", ""])
def test_it_answers_to_its_own_name_only(root: Path, host: str) -> None:
    """A page whose name was made to lead to 127.0.0.1 would be of the same origin."""
    found = server.ensure(root)
    named = {"Host": host.format(found.port), "Authorization": api.basic(found.key)}
    for path in ("/", "/api/health", "/api/admin/version", api.OPEN, api.PROOF):
        assert status(found, "GET", path, **named) == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
def test_other_origins_are_refused(root: Path, origin: str) -> None:
    found = server.ensure(root)
    named = {"Origin": origin, "Authorization": api.basic(found.key)}
    assert status(found, "GET", "/api/admin/version", **named) == 403
    assert status(found, "POST", FILTER, **named, Content_Length="2") == 403
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{server.HOST}:{found.port}/api/events/out", proxy=None, origin=origin)  # type: ignore[arg-type]


def test_without_the_key_there_is_nothing_to_see(root: Path) -> None:
    found = server.ensure(root)
    assert status(found, "GET", "/api/health") == 200
    assert status(found, "GET", "/api/admin/version") == 401
    assert status(found, "GET", "/api/admin/version", Authorization=api.basic("guess")) == 401
    for key in (found.key, found.page_key):
        allowed = {"Authorization": api.basic(key)}
        assert status(found, "GET", "/api/admin/version", **allowed) == 200
        # A form or a simple request cannot have the headers that this asks for.
        assert status(found, "POST", FILTER, **allowed, Content_Length="2") == 403


@pytest.mark.parametrize("path", ["/events/out", "/events/in", "/logs/out"])
def test_sockets_ask_for_the_key(root: Path, path: str) -> None:
    found = server.ensure(root)
    address = f"ws://{server.HOST}:{found.port}/api{path}"
    for key, welcome in ((found.key, True), ("guess", False), ("", False)):
        with connect(address, proxy=None, subprotocols=["prefect"]) as line:  # type: ignore[list-item]
            line.send(json.dumps({"type": "auth", "token": key}))
            if welcome:
                assert json.loads(line.recv(timeout=30)) == {"type": "auth_success"}
            else:
                with pytest.raises(ConnectionClosed):
                    line.recv(timeout=30)
    with pytest.raises(InvalidStatus, match="403"):
        connect(address, proxy=None)


def test_another_users_checkout_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(UserError, match=r"\.gleaner/server\.key: it is another user's"):
        api.read_key(tmp_path)


def test_no_other_page_may_frame_it(root: Path) -> None:
    found = server.ensure(root)
    with api._DIRECT.open(found.page, timeout=10) as page:
        assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_the_keys_are_for_their_owner_only(root: Path) -> None:
    found = server.ensure(root)
    for name in (server.RECORD, api.KEY, server.FOLDER / "server.log"):
        assert (root / name).stat().st_mode & 0o777 == 0o600
    assert (root / server.FOLDER / "prefect").stat().st_mode & 0o777 == 0o700
    assert tiny.files_with(root, found.key) == {"server.key"}
    assert tiny.files_with(root, found.page_key) == {"server.json"}
    told = " ".join([*psutil.Process(found.pid).cmdline(), repr(found)])
    assert not [key for key in (found.key, found.page_key) if key in told]


def test_a_key_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / server.FOLDER).mkdir()
    (tmp_path / api.KEY).write_text("copied\n")
    assert api.make_key(tmp_path) == "copied"
    assert (tmp_path / api.KEY).stat().st_mode & 0o777 == 0o600


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
    told = json.loads(api._read(f"{found.page}/ui-settings", 10))
    assert told["api_url"] == found.api
    assert told["default_ui"] == "v1"
    assert api.call(found, "/admin/settings")["server"]["analytics_enabled"] is False
    with api._DIRECT.open(found.page, timeout=10) as page:
        assert b"http://" not in page.read().replace(b"http://127.0.0.1", b"")


def test_ui_prints_the_address_and_stops_it(root: Path) -> None:
    found = server.ensure(root)
    assert found.link in tiny.glean(root, "ui").stdout
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


def test_a_port_is_held_before_the_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(server, "PORTS", range(port, port + 1))
        with pytest.raises(UserError, match=f"all ports from {port} to {port} are taken"):
            server._listen()
    with server._listen() as held:
        assert held.getsockname()[1] == port
        with pytest.raises(UserError):
            server._listen()


def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    start = server._start
    monkeypatch.setattr(server, "_start", lambda root: tried.append(root) or start(root))
    with pytest.raises(UserError, match=r"did not start; see \.gleaner/server\.log"):
        server.ensure(tmp_path)
    assert len(tried) == 1, "another port would not help"


def test_settings_are_offline_and_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "somebody else's")
    monkeypatch.setenv("NO_PROXY", "example.org")
    for name in api.settings(tmp_path, 4250, "secret"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back at the end
    api.adopt(tmp_path, Server(4250, 1, 0.0, "", "secret"))
    assert "PREFECT_API_KEY" not in os.environ
    assert os.environ["NO_PROXY"] == "127.0.0.1" or "127.0.0.1" in os.environ["NO_PROXY"]
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:4250/api"
    assert os.environ["PREFECT_API_AUTH_STRING"] == "secret"
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_only_the_dead_are_dead(tmp_path: Path) -> None:
    with lost_runs.noted(tmp_path, "alive"):
        assert lost_runs.dead(tmp_path) == []
        (tmp_path / lost_runs.FLOWS / "torn.json").write_text("{")
        (tmp_path / lost_runs.FLOWS / "gone.json").write_text('{"pid": 1, "created": 1.0}')
        assert [p.stem for p in lost_runs.dead(tmp_path)] == ["gone", "torn"]
    assert not (tmp_path / lost_runs.FLOWS / "alive.json").exists()


def test_reaping_waits_for_a_server_that_answers(tmp_path: Path) -> None:
    (tmp_path / lost_runs.FLOWS).mkdir(parents=True)
    note = tmp_path / lost_runs.FLOWS / "gone.json"
    note.write_text('{"pid": 1, "created": 1.0}')
    with socket.socket() as unused:
        unused.bind((server.HOST, 0))
        assert lost_runs.reap(tmp_path, Server(unused.getsockname()[1], 1, 0.0)) == []
    assert note.exists()
