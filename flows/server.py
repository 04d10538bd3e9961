"""One Prefect server per project, kept running on loopback and shared by every run.

Starting it takes seconds and a scheduled run needs it, so it is started once, detached, and found
again through `.gleaner/server.json`. Nothing here imports Prefect: looking must be cheap.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from modalities.items import UserError

FOLDER = Path(".gleaner")
HOST = "127.0.0.1"
PORTS = range(4200, 4300)
BUSY = 503  # what the server says while its database is locked
PATIENCE = 120.0  # seconds until a server that does not answer counts as broken
_children: list[subprocess.Popen[bytes]] = []  # servers that this process started
# Never through a proxy: the server is on this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """Where a project's server is."""

    port: int
    pid: int
    created: float  # when its process started: a pid alone may be another process by now

    @property
    def page(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.page}/api"


def call(
    api: str, path: str, body: Any = None, timeout: float = 5.0, method: str | None = None
) -> Any:
    """GET, or POST when there is a body, or `method`; the JSON that comes back."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"{api}{path}", data, headers={"Content-Type": "application/json"}, method=method
    )
    for pause in (0.2, 1.0, 3.0, None):
        try:
            with _DIRECT.open(request, timeout=timeout) as answer:
                text = answer.read()
                break
        except urllib.error.HTTPError as error:
            error.close()  # it holds the connection
            if error.code != BUSY or pause is None:
                raise
        time.sleep(pause)
    return json.loads(text) if text else None


def settings(root: Path, port: int) -> dict[str, str]:
    """The environment of the server and of every process that talks to it: offline and quiet."""
    page = f"http://{HOST}:{port}"
    known = [h for h in os.environ.get("NO_PROXY", "").split(",") if h and h != HOST]
    return {
        "PREFECT_HOME": str((root / FOLDER / "prefect").resolve()),
        "PREFECT_API_URL": f"{page}/api",
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_UI_API_URL": f"{page}/api",  # the default is right on port 4200 only
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str((root / FOLDER / "prefect" / "ui").resolve()),
        "PREFECT_SERVER_UI_V2_ENABLED": "false",  # its pages ask outside
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_RUNNER_POLL_FREQUENCY": "1",  # a triggered or cancelled run is seen in a second
        "PREFECT_CLIENT_MAX_RETRIES": "3",  # on loopback one that is silent for 14 s is gone
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "NO_PROXY": ",".join([*known, HOST]),
    }


def adopt(root: Path, server: Server) -> None:
    """Make this process and its children use the server. Before Prefect is imported."""
    for name in [n for n in os.environ if n.startswith("PREFECT_")]:
        del os.environ[name]  # another server's key or profile would get in the way
    os.environ.update(settings(root, server.port))


def alive(pid: int, created: float) -> bool:
    """Whether the very process is still there."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != "zombie"
    except psutil.Error:
        return False


def healthy(server: Server, timeout: float = 5.0) -> bool:
    try:
        return call(server.api, "/health", timeout=timeout) is True
    except (OSError, ValueError):
        return False


def recorded(root: Path) -> Server | None:
    """The server whose process is alive, though it may not answer yet."""
    try:
        server = Server(**json.loads((root / FOLDER / "server.json").read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return server if alive(server.pid, server.created) else None


def running(root: Path) -> Server | None:
    """The project's server if it answers."""
    server = recorded(root)
    return server if server and healthy(server) else None


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with (root / FOLDER / "server.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begin(root: Path) -> Server:
    """The project's server, started if need be; it may not answer before `ensure` returns."""
    with _lock(root):
        return recorded(root) or _start(root, next(p for p in PORTS if _free(p)))


def ensure(root: Path) -> Server:
    """The project's server, started if need be. Safe to call from several processes at once."""
    with _lock(root):
        server = recorded(root)
        if server and _wait(server):
            return server
        if server:
            _end(server)
        for port in PORTS:
            if _free(port):
                server = _start(root, port)
                if _wait(server):
                    return server
                _end(server)
    log = root / FOLDER / "server.log"
    tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-5:]) if log.exists() else ""
    raise UserError(f"the Prefect server did not start; see {FOLDER / 'server.log'}\n{tail}")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _start(root: Path, port: int) -> Server:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command = [
        sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app",
        "--host", HOST, "--port", str(port), "--log-level", "warning", "--lifespan", "on",
        "--timeout-keep-alive", "30",
    ]  # fmt: skip
    with (root / FOLDER / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=root / FOLDER,
            env=inherited | settings(root, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    _children.append(process)
    server = Server(port, process.pid, psutil.Process(process.pid).create_time())
    record = {"port": port, "pid": server.pid, "created": server.created}
    part = root / FOLDER / "server.json.part"
    part.write_text(json.dumps(record) + "\n", "utf-8")
    part.replace(root / FOLDER / "server.json")
    return server


def _wait(server: Server) -> bool:
    """True when it answers; False when its process ended or patience did."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and alive(server.pid, server.created):
        if healthy(server):
            return True
        time.sleep(0.1)
    return False


def _end(server: Server) -> None:
    for send in (psutil.Process.terminate, psutil.Process.kill):
        try:
            send(psutil.Process(server.pid))
        except psutil.NoSuchProcess:
            return
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for child in _children:
                child.poll()  # of this very process: else it would stay a zombie
            if not alive(server.pid, server.created):
                return
            time.sleep(0.05)


def stop(root: Path) -> Server | None:
    """End the project's server; the one that was ended."""
    with _lock(root):
        server = recorded(root)
        if server:
            _end(server)
        (root / FOLDER / "server.json").unlink(missing_ok=True)
    return server
