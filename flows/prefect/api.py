"""The project's server as its clients see it: where it is, what proves it, how to ask it.

Two secrets. The key (`.gleaner/server.key`) is for processes and stays until the server is stopped.
The page's key (in `.gleaner/server.json`) is for the browser and ends with the server's process:
whoever has the port afterwards may read what the page left in the browser. Both files are readable
by their owner only. Nothing here imports Prefect: looking must be cheap.
"""

import hmac
import http.client
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modalities.items import UserError

FOLDER = Path(".gleaner")
KEY = FOLDER / "server.key"
HOST = "127.0.0.1"
OPEN, PROOF = (
    "/gleaner/open",
    "/gleaner/proof",
)  # what gate.py adds to Prefect's pages
PAGE_KEY = "GLEANER_PAGE_KEY"  # of the server's environment
BUSY = 503  # what the server says while its database is locked
# Never through a proxy: the server is on this machine.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """Where a project's server is, and what opens it."""

    port: int
    pid: int
    created: float  # when its process started: a pid alone may be another process by now
    page_key: str = field(default="", repr=False)
    key: str = field(default="", repr=False)

    @property
    def page(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def api(self) -> str:
        return f"{self.page}/api"

    @property
    def link(self) -> str:
        """Logs the browser in. What follows the # is never sent."""
        return f"{self.page}{OPEN}#{self.page_key}"


def private(path: Path, text: str) -> None:
    """Write a file, whole, that nobody else can read at any moment."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # an old one may be open to others
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def door(root: Path, server: Server) -> Path:
    """A page on disk that leads to the server's: a link in a command line is seen by others."""
    page = (root / FOLDER / "open.html").resolve()
    private(page, f'<meta http-equiv="refresh" content="0; url={server.link}">\n')
    return page


def read_key(root: Path) -> str:
    """The key of the project's server; empty if there is none."""
    try:
        return (root / KEY).read_text("utf-8").strip()
    except PermissionError:
        raise UserError(f"{KEY}: it is another user's; a checkout is for one user") from None
    except (OSError, ValueError):
        return ""


def make_key(root: Path) -> str:
    """The key that is there, or a new one."""
    key = read_key(root) or secrets.token_urlsafe(32)
    private(root / KEY, key + "\n")
    return key


def basic(key: str) -> str:
    """The header `Authorization` that shows a key."""
    return "Basic " + b64encode(key.encode()).decode()


def call(
    server: Server, path: str, body: Any = None, timeout: float = 5.0, method: str | None = None
) -> Any:
    """GET, or POST when there is a body, or `method`; the JSON that comes back."""
    headers = {"Content-Type": "application/json", "Authorization": basic(server.key)}
    if body is not None:
        client = secrets.token_hex(8)
        token = call(server, f"/csrf-token?client={client}", timeout=timeout)["token"]
        headers |= {"Prefect-Csrf-Client": client, "Prefect-Csrf-Token": token}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.api}{path}", data, headers, method=method)
    text = _answer(request, timeout)
    return json.loads(text) if text else None


def _answer(request: urllib.request.Request, timeout: float) -> bytes:
    for pause in (0.2, 1.0, 3.0):
        try:
            return _read(request, timeout)
        except urllib.error.HTTPError as error:
            if error.code != BUSY:
                raise
        time.sleep(pause)
    return _read(request, timeout)


def _read(request: urllib.request.Request | str, timeout: float) -> bytes:
    try:
        with _DIRECT.open(request, timeout=timeout) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        error.close()  # it holds the connection
        raise


def proof(key: str, port: int, nonce: str) -> str:
    """What only a server with this key, on this port, can answer to a nonce."""
    return hmac.digest(key.encode(), f"proof {port} {nonce}".encode(), "sha256").hex()


def proven(server: Server, timeout: float = 5.0) -> bool | None:
    """Whether who answers on the port is the project's server; None: nobody answers.

    Asked before the key is shown to it.
    """
    nonce = secrets.token_hex(16)
    try:
        said = _read(f"{server.page}{PROOF}?nonce={nonce}", timeout)
    except urllib.error.HTTPError:
        return False
    except OSError:
        return None
    except http.client.HTTPException:
        return False
    return bool(server.key) and hmac.compare_digest(
        said, proof(server.key, server.port, nonce).encode()
    )


def settings(root: Path, port: int, key: str) -> dict[str, str]:
    """The environment of the server and of every process that talks to it: offline and quiet."""
    page = f"http://{HOST}:{port}"
    known = [h for h in os.environ.get("NO_PROXY", "").split(",") if h and h != HOST]
    return {
        "PREFECT_HOME": str((root / FOLDER / "prefect").resolve()),
        "PREFECT_API_URL": f"{page}/api",
        "PREFECT_API_AUTH_STRING": key,
        "PREFECT_SERVER_API_AUTH_STRING": key,
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": page,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
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
    os.environ.update(settings(root, server.port, server.key))
