"""What a person sees while a flow runs: a live line per running stage, or plain lines in a file."""

import threading
import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Column
from rich.text import Text

from tasks.channel import LINES, visible

EVERY = 10.0  # seconds between two plain lines of one stage
MARKS = {
    "ran": "[green]✓[/]", "restored": "[cyan]↺[/]", "unchanged": "[dim]=[/]",
    "failed": "[red]✗[/]", "retry": "[yellow]✗[/]", "skipped": "[yellow]-[/]",
    "stopped": "[yellow]■[/]",
}  # fmt: skip


def duration(seconds: float) -> str:
    """`8.3 s`, `2 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Screen(Console):
    """A console on which no name of a file moves the cursor, sets a colour or adds a line."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible(text, keep=LINES), **options)


class Terminal:
    """A `flows.prefect.watch.Follower`."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.ends: dict[str, tuple[str, str]] = {}  # stage -> how it ended, what was said
        self._lock = threading.Lock()
        self._lines: dict[str, TaskID] = {}
        self._next: dict[str, float] = {}
        self._total = 0
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, min_width=32)),
            BarColumn(bar_width=12, table_column=Column(min_width=12)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            Elapsed(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn(
                "{task.fields[text]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=console,
            transient=True,
            expand=True,
            refresh_per_second=4,
        )

    def failed(self) -> list[str]:
        """What the failed stages said."""
        return [text for how, text in self.ends.values() if how == "failed"]

    def told(self) -> str:
        """`3 ran, 2 unchanged`."""
        counts = Counter(how for how, _ in self.ends.values())
        return ", ".join(f"{number} {how}" for how, number in counts.items())

    def __enter__(self) -> "Terminal":
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *error: Any) -> None:
        if self.console.is_terminal:
            self._progress.stop()

    def planned(self, stages: list[str]) -> None:
        self._total = len(stages)

    def begin(self, stage: str) -> None:
        with self._lock:
            self._next[stage] = time.monotonic() + EVERY / 2
            if self.console.is_terminal:
                self._lines[stage] = self._progress.add_task(escape(stage), total=1.0, text="")
            else:
                self.console.print(f"  {escape(stage)} started", highlight=False)

    def message(self, stage: str, message: dict[str, Any]) -> None:
        if message.get("kind") != "progress":
            return
        fraction, eta = float(message["fraction"]), message.get("eta")
        text = str(message.get("text") or "")
        left = "" if eta is None or fraction >= 1 else f"ETA {duration(eta)}"
        with self._lock:
            if stage in self._lines:
                told = "  ".join(t for t in (left, text) if t)
                self._progress.update(self._lines[stage], completed=fraction, text=told)
            elif time.monotonic() >= self._next.get(stage, 0.0):
                self._next[stage] = time.monotonic() + EVERY
                told = f"  {stage} {fraction:4.0%}  {left}  {text}".rstrip()
                self.console.print(told, markup=False, highlight=False, soft_wrap=True)

    def line(self, stage: str, text: str) -> None:
        """Warnings are for the person in front of it; everything else is in the log."""
        if text.startswith("warning:"):
            told = f"  {stage}: {text}"
            self.console.print(told, markup=False, highlight=False, soft_wrap=True, style="yellow")

    def end(self, stage: str, how: str, seconds: float, text: str) -> None:
        with self._lock:
            self.ends[stage] = how, text
            if stage in self._lines:
                self._progress.remove_task(self._lines.pop(stage))
            if how == "unchanged":
                return  # nothing happened: the count at the end says so
            spent = duration(seconds) if seconds else ""
            told = {"ran": spent, "restored": f"restored from the run cache, {spent}"}
            more = told.get(how, text or how)
            count = f"[dim]{len(self.ends):>3}/{self._total}[/]"
            self.console.print(
                f"{count} {MARKS[how]} {escape(stage)}  {escape(more)}",
                highlight=False,
                soft_wrap=True,
            )
