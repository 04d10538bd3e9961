"""Who reaches the server from a browser: the user with the link, and no other page."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import chromium
import pytest
import tiny_project as tiny

from flows.prefect import api, server
from flows.prefect.api import Server

pytestmark = pytest.mark.skipif(not chromium.PROGRAM, reason="there is no chromium")

SECRET = "what-only-the-user-may-see"
# What another page can try without knowing the key; each attempt ends in what it has learnt.
ATTEMPTS = """
window.attempts = (async () => {
  const page = PAGE, flow = FLOW, told = {};
  const simple = {method: "POST", headers: {"Content-Type": "text/plain"}};
  const json = {method: "POST", headers: {"Content-Type": "application/json"}};
  const attempt = async (name, path, how) => {
    try { told[name] = (await (await fetch(page + path, how)).text()); }
    catch (error) { told[name] = "refused"; }
  };
  const body = (value) => ({body: JSON.stringify(value)});
  await attempt("read", "/api/flows/" + flow);
  await attempt("settings", "/api/admin/settings");
  await attempt("proof", "/gleaner/proof?nonce=1");
  await attempt("runs, simple", "/api/flow_runs/filter", {...simple, ...body({})});
  await attempt("runs, preflight", "/api/flow_runs/filter", {...json, ...body({})});
  await attempt("artifacts", "/api/artifacts/filter", {...simple, ...body({})});
  await attempt("logs", "/api/logs/filter", {...simple, ...body({})});
  await attempt("start", "/api/flow_runs/", {...simple, ...body({flow_id: flow})});
  await attempt("start, unseen", "/api/flow_runs/",
                {...simple, ...body({flow_id: flow}), mode: "no-cors"});
  const blob = new Blob([JSON.stringify({flow_id: flow})]);  // without a type
  await attempt("start, no type", "/api/flow_runs/",
                {method: "POST", mode: "no-cors", body: blob});
  for (const path of ["/api/events/out", "/api/events/in", "/api/logs/out"]) {
    told[path] = await new Promise((done) => {
      const socket = new WebSocket(page.replace("http", "ws") + path, "prefect");
      socket.onopen = () => done("open");
      socket.onerror = () => done("refused");
    });
  }
  const frame = document.createElement("iframe");
  frame.src = page;
  document.body.append(frame);
  await new Promise((done) => { frame.onload = done; });
  try { told["frame"] = frame.contentDocument.body.innerText; }
  catch (error) { told["frame"] = "refused"; }
  return told;
})();
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a flow, a run and an artifact."""
    root = tiny.make(tmp_path_factory.mktemp("page") / "project")
    try:
        yield server.ensure(root)
    finally:
        server.stop(root)


@pytest.fixture(scope="module")
def flow(found: Server) -> str:
    flow_id: str = api.call(found, "/flows/", {"name": "gleaner"})["id"]
    state = {"type": "COMPLETED", "name": "Completed"}
    api.call(found, "/flow_runs/", {"flow_id": flow_id, "name": SECRET, "state": state})
    told = {"key": "sheet", "type": "markdown", "data": SECRET, "description": SECRET}
    api.call(found, "/artifacts/", told)
    return flow_id


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    everywhere = "--host-resolver-rules=MAP evil.example 127.0.0.1"  # as a rebound name would be
    with chromium.browser(tmp_path_factory.mktemp("browser") / "profile", everywhere) as tab:
        yield tab


@pytest.fixture(scope="module")
def other_port() -> Iterator[int]:
    """Another site: an empty page on a port of its own."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<title>other</title><body>")

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer((server.HOST, 0), Page) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield site.server_port
        site.shutdown()
        thread.join()


def shown(browser: chromium.Browser, text: str) -> None:
    browser.until(f"document.body?.innerText.includes({json.dumps(text)})")


def log_in(browser: chromium.Browser, found: Server) -> None:
    browser.open(found.link)
    browser.until("location.pathname == '/dashboard'")


def test_the_link_opens_the_page(
    found: Server, flow: str, browser: chromium.Browser, tmp_path: Path
) -> None:
    log_in(browser, found)
    browser.open(f"{found.page}/runs")
    shown(browser, SECRET)
    browser.picture(tmp_path / "runs.png")
    assert (tmp_path / "runs.png").stat().st_size > 1000
    kept = browser.value("JSON.stringify([localStorage, document.cookie, location.href])")
    assert found.key not in kept
    assert found.page_key not in kept  # as text; the browser keeps it as the page wants it


def test_the_door_on_disk_opens_the_page(
    found: Server, browser: chromium.Browser, tmp_path: Path
) -> None:
    (tmp_path / server.FOLDER).mkdir()
    door = api.door(tmp_path, found)
    assert door.stat().st_mode & 0o777 == 0o600
    browser.open(door.as_uri())
    browser.until("location.pathname == '/dashboard'")


def test_without_the_link_the_page_asks_for_a_password(
    found: Server, flow: str, browser: chromium.Browser
) -> None:
    log_in(browser, found)
    browser.value("localStorage.clear()")
    browser.open(f"{found.page}/runs")
    browser.until("location.pathname == '/login'")
    shown(browser, "Login")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "evil.example"])
def test_another_page_learns_nothing_and_starts_nothing(
    found: Server, flow: str, browser: chromium.Browser, other_port: int, host: str
) -> None:
    """Even in the browser in which the user has the page open."""
    log_in(browser, found)
    before = api.call(found, "/flow_runs/filter", {})
    browser.open(f"http://{host}:{other_port}/")
    browser.until("document.title == 'other'")
    script = ATTEMPTS.replace("PAGE", json.dumps(found.page)).replace("FLOW", json.dumps(flow))
    told = browser.value(script + "window.attempts")
    unseen = {"start, unseen", "start, no type"}  # the page never sees what came back
    assert {v for k, v in told.items() if k not in unseen} == {"refused"}, told
    assert {told[k] for k in unseen} <= {"", "refused"}, told
    assert api.call(found, "/flow_runs/filter", {}) == before


def test_a_name_that_was_made_to_lead_here_is_refused(
    found: Server, browser: chromium.Browser
) -> None:
    browser.open(f"http://evil.example:{found.port}/")
    shown(browser, f"this server is {found.page} only")


def test_a_wrong_link_says_so_and_changes_nothing(found: Server, browser: chromium.Browser) -> None:
    log_in(browser, found)
    kept = browser.value("localStorage.getItem('prefect-password')")
    browser.open(found.page + api.OPEN + "#of-another-day")
    shown(browser, "no longer")
    assert browser.value("localStorage.getItem('prefect-password')") == kept
