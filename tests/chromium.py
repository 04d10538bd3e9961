"""A real browser, driven over its debugging socket: open a page, ask it, look at it."""

import itertools
import json
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiny_project as tiny
from websockets.sync.client import ClientConnection, connect

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1200,1600", "--remote-debugging-port=0",
]  # fmt: skip


class Browser:
    """One tab."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.socket, self.session, self.count = socket, session, itertools.count(100)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        return request(self.socket, next(self.count), method, parameters, self.session)

    def open(self, url: str) -> None:
        self.ask("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        told = self.ask(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        return told["result"].get("value")

    def until(self, script: str, seconds: float = 60) -> Any:
        """The script's value as soon as it is true, whatever page is there by then."""
        return tiny.until(lambda: self.value(script), seconds)

    def picture(self, path: Path) -> None:
        path.write_bytes(b64decode(self.ask("Page.captureScreenshot")["data"]))


def request(
    socket: ClientConnection, number: int, method: str, parameters: Any, session: str | None
) -> dict[str, Any]:
    message = {"id": number, "method": method, "params": parameters}
    socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
    while True:
        told = json.loads(socket.recv(timeout=60))
        if told.get("id") == number:
            assert "error" not in told, told
            result: dict[str, Any] = told["result"]
            return result


@contextmanager
def browser(profile: Path, *flags: str) -> Iterator[Browser]:
    """Chromium with an empty profile."""
    assert PROGRAM
    process = subprocess.Popen(
        [PROGRAM, *FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        where = profile / "DevToolsActivePort"
        port, path = tiny.until(lambda: where.exists() and where.read_text().split())
        address = f"ws://127.0.0.1:{port}{path}"
        with connect(address, proxy=None, max_size=None) as socket:
            target = request(socket, 1, "Target.createTarget", {"url": "about:blank"}, None)
            wanted = {"targetId": target["targetId"], "flatten": True}
            session = request(socket, 2, "Target.attachToTarget", wanted, None)["sessionId"]
            yield Browser(socket, session)
    finally:
        process.terminate()
        process.wait(timeout=30)
