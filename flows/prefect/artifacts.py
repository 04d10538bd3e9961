"""What a stage tells, on the flow's page: progress, metrics, tables and pictures as artifacts.

A page is for a person: everything is throttled, and a page that cannot be reached never fails a
stage.
"""

import base64
import io
import json
import logging
import math
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate

from flows.dvc.graph import Stage
from tasks.channel import visible

EVERY = {"progress": 1.0, "metrics": 5.0, "table": 5.0, "picture": 10.0}  # seconds
SIDE = 800  # pixels; a picture travels inside the page
BURST, RATE = 200, 10.0  # log lines at once, and a second after that
PIXELS = 50_000_000  # a picture with more is not opened
COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def key(*words: str) -> str:
    """An artifact's key: small letters, digits and dashes only."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")


def plain(text: str) -> str:
    """A line of a stage's output without colours, its other control characters written out."""
    return visible(COLOURS.sub("", text).rstrip("\r\n"), keep="\t")


def picture_of(stage: Stage, root: Path, path: str) -> Path:
    """A picture that the stage made: a file within the project and what the stage writes."""
    real, home = (root / path).resolve(), root.resolve()
    made = [(home / out).resolve() for out in stage.outs]
    within = any(real.is_relative_to(out) for out in made) and real.is_relative_to(home)
    if not within or not real.is_file():
        raise ValueError(f"{path} is no file in what the stage writes, {', '.join(stage.outs)}")
    return real


def data_uri(path: Path) -> str:
    """A PNG or JPEG as a data URI, made smaller if it is large."""
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG")) as picture:
        if picture.width * picture.height > PIXELS:
            raise ValueError(f"{path.name} has {picture.width} x {picture.height} pixels")
        picture.thumbnail((SIDE, SIDE))
        buffer = io.BytesIO()
        mode = "RGBA" if picture.mode in ("RGBA", "LA", "P") else "RGB"
        picture.convert(mode).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class Publisher:
    """Turns one task run's channel messages into artifacts."""

    def __init__(self, stage: Stage, root: Path, flow_run: UUID | None, task_run: UUID) -> None:
        self.stage, self.root = stage, root
        self.flow_run, self.task_run = flow_run, task_run
        self.broken, self.away = "", False
        self._ids: dict[str, UUID] = {}
        self._next: dict[str, float] = {}
        self._late: dict[str, dict[str, Any]] = {}  # the latest message that was held back
        self._client: SyncPrefectClient | None = None

    def __enter__(self) -> "Publisher":
        self._client = get_client(sync_client=True).__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for slot, message in self._late.items():
            self._publish(slot, message)
        if self._client:
            self._client.__exit__(None, None, None)

    def message(self, message: dict[str, Any]) -> None:
        """Publish, or hold back what comes too soon; the last one is always published."""
        kind = message.get("kind", "")
        if kind not in EVERY:
            return
        slot = f"{message.get('name', '')} {kind}".strip()
        now = time.monotonic()
        if now < self._next.get(slot, 0.0):
            self._late[slot] = message
            return
        self._next[slot] = now + EVERY[kind]
        self._late.pop(slot, None)
        self._publish(slot, message)

    def _publish(self, slot: str, message: dict[str, Any]) -> None:
        if self.away:
            return
        try:
            kind, text, data = _FORM[message["kind"]](self, message)
            self._put(slot, kind, text, data)
        except httpx.TransportError as error:
            self.away = True  # each try takes seconds, during which the stage's output waits
            self.broken = f"the server does not answer: {error}"
        except Exception as error:  # the page is not worth a stage
            self.broken = f"{slot}: {error}"

    def _put(self, slot: str, kind: str, text: str, data: Any) -> None:
        assert self._client, "used outside of its `with`"
        if slot in self._ids:
            self._client.update_artifact(
                self._ids[slot], ArtifactUpdate(data=data, description=text)
            )
            return
        request = ArtifactCreate(
            key=None if kind == "progress" else key(self.stage.name, slot),
            type=kind,
            description=text,
            data=data,
            flow_run_id=self.flow_run,
            task_run_id=self.task_run,
        )
        self._ids[slot] = self._client.create_artifact(request).id

    def _progress(self, message: dict[str, Any]) -> tuple[str, str, Any]:
        eta = f", {message['eta']:.0f} s to go" if message.get("eta") else ""
        text = f"{self.stage.name} {message.get('text', '')}".strip() + eta
        return "progress", text, round(100 * float(message["fraction"]), 1)

    def _metrics(self, message: dict[str, Any]) -> tuple[str, str, Any]:
        rows = [{"metric": k, "value": round(v, 5)} for k, v in message["values"].items()]
        return "table", f"### {self.stage.name}: metrics", _json(rows)

    def _table(self, message: dict[str, Any]) -> tuple[str, str, Any]:
        return "table", f"### {self.stage.name}: {message['name']}", _json(message["rows"])

    def _picture(self, message: dict[str, Any]) -> tuple[str, str, Any]:
        path = picture_of(self.stage, self.root, message["path"])
        return "image", f"### {self.stage.name}: {message['name']}", data_uri(path)


_FORM: dict[str, Callable[[Publisher, dict[str, Any]], tuple[str, str, Any]]] = {
    "progress": Publisher._progress,
    "metrics": Publisher._metrics,
    "table": Publisher._table,
    "picture": Publisher._picture,
}


def _json(rows: Any) -> str:
    """As the page wants tables: JSON text, without the NaN that JSON does not have."""

    def known(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps([{k: known(v) for k, v in row.items()} for row in rows])


class LogLines:
    """A stage's ordinary lines on the page: at once as long as they are few, then throttled."""

    def __init__(self, logger: Any, log: str) -> None:
        self.logger, self.log = logger, log
        self.left, self.seen, self.held = float(BURST), time.monotonic(), 0

    def line(self, text: str) -> None:
        text = text.rstrip()
        if not text:
            return
        now = time.monotonic()
        self.left = min(float(BURST), self.left + (now - self.seen) * RATE)
        self.seen = now
        if self.left < 1:
            self.held += 1
            return
        self.left -= 1
        self.close()
        level = logging.WARNING if text.startswith("warning:") else logging.INFO
        self.logger.log(level, text)

    def close(self) -> None:
        """Own up to what was held back."""
        if self.held:
            self.logger.info(f"... {self.held} more lines in {self.log}")
            self.held = 0
