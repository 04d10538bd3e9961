"""One Prefect server per project, kept running on loopback and shared by every run.

Starting it takes seconds and a scheduled run needs it, so it is started once, detached, and found
again through `.gleaner/server.json`. Nothing here imports Prefect: looking must be cheap.
"""

import fcntl
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import psutil

from flows.prefect import api
from flows.prefect.api import FOLDER, HOST, Server
from modalities.items import UserError

RECORD = FOLDER / "server.json"
PORTS = range(4200, 4300)
PATIENCE = 120.0  # seconds until a server that does not answer counts as broken
_children: list[subprocess.Popen[bytes]] = []  # servers that this process started


def alive(pid: int, created: float) -> bool:
    """Whether the very process is still there."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1 and process.status() != "zombie"
    except psutil.Error:
        return False


def recorded(root: Path) -> Server | None:
    """The server whose process is alive, though it may not answer yet."""
    try:
        server = Server(**json.loads((root / RECORD).read_text("utf-8")), key=api.read_key(root))
    except (OSError, ValueError, TypeError):
        return None
    return server if alive(server.pid, server.created) and _at_home(root, server.pid) else None


def _at_home(root: Path, pid: int) -> bool:
    """Whether a server works in this project's folder: a copied one has another's record."""
    try:
        return (root / FOLDER).samefile(psutil.Process(pid).cwd())
    except (psutil.Error, OSError):
        return False


def running(root: Path) -> Server | None:
    """The project's server if it answers."""
    server = recorded(root)
    return server if server and api.proven(server) else None


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    with (root / FOLDER / "server.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def begin(root: Path) -> Server:
    """The project's server, started if need be; it may not answer before `ensure` returns."""
    with _lock(root):
        return recorded(root) or _start(root)


def ensure(root: Path) -> Server:
    """The project's server, started if need be. Safe to call from several processes at once."""
    with _lock(root):
        server = recorded(root)
        if server and _wait(server):
            return server
        if server:
            _end(server)
        server = _start(root)
        if _wait(server):
            return server
        _end(server)
    log = root / FOLDER / "server.log"
    tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-5:]) if log.exists() else ""
    raise UserError(f"the Prefect server did not start; see {FOLDER / 'server.log'}\n{tail}")


def _listen() -> socket.socket:
    """The first port that is free, ours from now on: nobody else can be on it."""
    for port in PORTS:
        taken = socket.socket()
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((HOST, port))
            taken.listen()  # two may have bound it, one can listen
        except OSError:
            taken.close()
        else:
            return taken
    raise UserError(f"all ports from {PORTS[0]} to {PORTS[-1]} are taken: the server needs one")


def _start(root: Path) -> Server:
    folder, key, page_key = root / FOLDER, api.make_key(root), secrets.token_urlsafe(32)
    (folder / "prefect").mkdir(exist_ok=True)
    (folder / "prefect").chmod(0o700)  # its database has what the key protects
    api.private(folder / "server.log", "")
    with _listen() as listening, (folder / "server.log").open("wb") as log:
        port = int(listening.getsockname()[1])
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.prefect.gate", str(listening.fileno())],
            cwd=folder,
            env=_environment(root, port, key) | {api.PAGE_KEY: page_key},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listening.fileno()],
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    _children.append(process)
    created = psutil.Process(process.pid).create_time()
    server = Server(port, process.pid, created, page_key, key)
    record = {k: v for k, v in asdict(server).items() if k != "key"}
    api.private(root / RECORD, json.dumps(record) + "\n")
    return server


def _environment(root: Path, port: int, key: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    code = [str(Path(__file__).resolve().parents[2]), os.environ.get("PYTHONPATH", "")]
    inherited["PYTHONPATH"] = os.pathsep.join(filter(None, code))
    return inherited | api.settings(root, port, key)


def _wait(server: Server) -> bool:
    """True when it answers; False when its process or patience ended, or another answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and alive(server.pid, server.created):
        ours = api.proven(server)
        if ours is not None:
            return ours
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
        for name in (RECORD, api.KEY):
            (root / name).unlink(missing_ok=True)
    return server
