"""Prefect's server behind a gate: for our own page and for holders of the key, nobody else.

`python -m flows.prefect.gate FD` serves on a socket that is open already, so that no other process
can be on the port in its place. Prefect checks the key (`PREFECT_SERVER_API_AUTH_STRING`); the gate
sees to what Prefect does not: under which name the server is asked, from which page, and in whose
frame.
"""

import hmac
import os
import socket
import sys
from pathlib import Path

import uvicorn
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.prefect import api

GUARDED = {
    "Content-Security-Policy": "frame-ancestors 'none'",  # no click meant for another page
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Gate:
    """ASGI: refuses strangers, proves that the server is ours, takes the page's key for the key."""

    def __init__(self, app: ASGIApp, port: int, key: str, page_key: str) -> None:
        self.app, self.port, self.key = app, port, key
        self.host, self.page = f"{api.HOST}:{port}", f"http://{api.HOST}:{port}"
        self.page_login, self.login = api.basic(page_key).encode(), api.basic(key).encode()
        self.welcome = Path(__file__).with_name("open.html").read_text("utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        answer = self.app
        headers = Headers(scope=scope)
        # Another name in Host: a page whose name was made to lead here (DNS rebinding).
        # Another Origin: a page that asks across; browsers always tell it for all but reading.
        if headers.getlist("host") != [self.host]:
            answer = PlainTextResponse(f"this server is {self.page} only\n", 421)
        elif headers.get("origin", self.page) != self.page:
            answer = PlainTextResponse("not for other pages\n", 403)
        elif scope["type"] == "http" and scope["path"] == api.PROOF:
            nonce = QueryParams(scope["query_string"]).get("nonce", "")
            answer = PlainTextResponse(api.proof(self.key, self.port, nonce))
        elif scope["type"] == "http" and scope["path"] == api.OPEN:
            answer = HTMLResponse(self.welcome, headers={"Cache-Control": "no-store"})
        await answer(self._logged_in(scope), receive, self._guarded(send))

    def _logged_in(self, scope: Scope) -> Scope:
        def known(name: bytes, value: bytes) -> bool:
            return name == b"authorization" and hmac.compare_digest(value, self.page_login)

        told = [(n, self.login if known(n, v) else v) for n, v in scope["headers"]]
        return {**scope, "headers": told}

    def _guarded(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(GUARDED)
            await send(message)

        return guarded


def main(descriptor: int) -> None:
    """Serve until SIGTERM."""
    from prefect.server.api.server import create_app

    listening = socket.socket(fileno=descriptor)
    listening.set_inheritable(False)
    key, page_key = os.environ["PREFECT_SERVER_API_AUTH_STRING"], os.environ[api.PAGE_KEY]
    gate = Gate(create_app(), listening.getsockname()[1], key, page_key)
    config = uvicorn.Config(
        gate, log_level="warning", lifespan="on", timeout_keep_alive=30, proxy_headers=False
    )
    served = uvicorn.Server(config)
    served.run(sockets=[listening])
    if not served.started:
        sys.exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
