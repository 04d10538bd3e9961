"""The one small channel from a stage to whoever runs it: progress, metrics, tables, pictures.

With a token in GLEAN_CHANNEL each message is a line on stdout: the ASCII record separator, the
token and a JSON object {"kind": ..., ...}; all else is log text. The token is drawn for each stage
that is run, so no file's name, and no tool that prints one, can pass for a message. Without a token
a person is looking: messages become a progress bar and readable lines on stderr.
"""

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "GLEAN_CHANNEL"
MARK = "\x1e"
EVERY = 0.5  # seconds between two progress messages
MOST = 1 << 18  # characters of a message
LINES = "\n\t"  # control characters that a text of several lines may have

# What moves a cursor, ends a line or turns it round, and what UTF-8 cannot write.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str, keep: str = "") -> str:
    """`text` with its control characters written out, as `\\x1b`, but for those in `keep`."""

    def shown(found: re.Match[str]) -> str:
        one = found[0]
        return one if one in keep else one.encode("unicode_escape").decode("ascii")

    return _HIDDEN.sub(shown, text)


def say_mistake(mistake: Exception) -> None:
    """A user's mistake, as the last thing that a stage says."""
    sys.stderr.write(f"error: {visible(str(mistake), keep=LINES)}\n")


def split(line: str, token: str) -> tuple[str, str | None]:
    """The log text of a line of a stage's output, and the JSON of the message behind it, if any."""
    text, mark, message = line.partition(MARK + token)
    return (text, message) if token and mark else (line, None)


class Channel:
    """Implements `modalities.base.Tell`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.token = os.environ.get(VARIABLE, "")
        self.started = time.monotonic()
        self._next = 0.0
        self._bar: Any = None

    def _send(self, kind: str, **body: Any) -> None:
        message = json.dumps({"kind": kind, **body})
        if len(message) > MOST:
            self.warn(f"a message of kind {kind} is too long to be shown")
            return
        sys.stdout.write(f"{MARK}{self.token}{message}\n")
        sys.stdout.flush()

    def _line(self, text: str) -> None:
        stream = sys.stdout if self.token else sys.stderr
        if self._bar is not None:
            self._bar.clear()
        stream.write(visible(text) + "\n")
        stream.flush()

    def progress(self, fraction: float, text: str = "") -> None:
        """Say that `fraction` of the stage is done; throttled, but the end is always told."""
        now = time.monotonic()
        if now < self._next and fraction < 1:
            return
        self._next = now + EVERY
        elapsed = now - self.started
        eta = elapsed / fraction * (1 - fraction) if fraction > 0.01 else None
        if self.token:
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
        self._bar.set_postfix_str(visible(text), refresh=False)
        self._bar.update(round(100 * fraction, 2) - self._bar.n)

    def log(self, text: str) -> None:
        self._line(text)

    def warn(self, text: str) -> None:
        self._line(f"warning: {text}")

    def metrics(self, values: Mapping[str, float]) -> None:
        if self.token:
            self._send("metrics", values=dict(values))

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        if self.token:
            self._send("table", name=name, rows=rows)
            return
        for row in rows:
            self._line("  " + "  ".join(f"{key} {value}" for key, value in row.items()))

    def picture(self, name: str, path: Path) -> None:
        if self.token:
            self._send("picture", name=name, path=str(path))

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
