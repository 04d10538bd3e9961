"""The one small channel from a stage to whoever runs it: progress, metrics, tables, pictures.

With GLEAN_CHANNEL=1 in the environment each message is a line on stdout: the ASCII record separator
and a JSON object {"kind": ..., ...}; plain lines are log lines. Without it, a person is looking:
messages become a progress bar and readable lines on stderr.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MARK = "\x1e"
EVERY = 0.5  # seconds between two progress messages


def parse(line: str) -> dict[str, Any] | None:
    """A channel message in a line of a stage's output, or None for an ordinary line."""
    if not line.startswith(MARK):
        return None
    message: dict[str, Any] = json.loads(line[len(MARK) :])
    return message


class Channel:
    """Implements `modalities.base.Tell`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.piped = os.environ.get("GLEAN_CHANNEL") == "1"
        self.started = time.monotonic()
        self._next = 0.0
        self._bar: Any = None

    def _send(self, kind: str, **body: Any) -> None:
        sys.stdout.write(MARK + json.dumps({"kind": kind, **body}) + "\n")
        sys.stdout.flush()

    def _line(self, text: str) -> None:
        stream = sys.stdout if self.piped else sys.stderr
        if self._bar is not None:
            self._bar.clear()
        stream.write(text + "\n")
        stream.flush()

    def progress(self, fraction: float, text: str = "") -> None:
        """Say that `fraction` of the stage is done; throttled, but the end is always told."""
        now = time.monotonic()
        if now < self._next and fraction < 1:
            return
        self._next = now + EVERY
        elapsed = now - self.started
        eta = elapsed / fraction * (1 - fraction) if fraction > 0.01 else None
        if self.piped:
            self._send("progress", fraction=round(fraction, 4), text=text, eta=eta)
        else:
            self._show(fraction, text)

    def _show(self, fraction: float, text: str) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=100, desc=self.name, leave=False, file=sys.stderr, disable=None,
                bar_format="{desc} {percentage:3.0f}%|{bar}| ETA {remaining} {postfix}",
            )  # fmt: skip
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(round(100 * fraction, 2) - self._bar.n)

    def log(self, text: str) -> None:
        self._line(text)

    def warn(self, text: str) -> None:
        self._line(f"warning: {text}")

    def metrics(self, values: Mapping[str, float]) -> None:
        if self.piped:
            self._send("metrics", values=dict(values))

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        if self.piped:
            self._send("table", name=name, rows=rows)
            return
        for row in rows:
            self._line("  " + "  ".join(f"{key} {value}" for key, value in row.items()))

    def picture(self, name: str, path: Path) -> None:
        if self.piped:
            self._send("picture", name=name, path=str(path))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
