"""Who may watch a flow while it runs in this process (the terminal does)."""

from typing import Any, Protocol


class Follower(Protocol):
    """Told what happens to each stage; called from the stages' threads."""

    def planned(self, stages: list[str]) -> None: ...
    def begin(self, stage: str) -> None: ...
    def message(self, stage: str, message: dict[str, Any]) -> None: ...
    def line(self, stage: str, text: str) -> None: ...
    def end(self, stage: str, how: str, seconds: float, text: str) -> None:
        """`how`: ran, restored, unchanged, failed, retry (it failed and runs again), skipped or
        stopped; `text` says more."""
        ...


class Nobody:
    """Watches nothing: a scheduled flow has no terminal."""

    def planned(self, stages: list[str]) -> None: ...
    def begin(self, stage: str) -> None: ...
    def message(self, stage: str, message: dict[str, Any]) -> None: ...
    def line(self, stage: str, text: str) -> None: ...
    def end(self, stage: str, how: str, seconds: float, text: str) -> None: ...


_current: list[Follower] = [Nobody()]


def follow(follower: Follower) -> None:
    """Let `follower` watch the flows that this process runs from now on."""
    _current[0] = follower


def current() -> Follower:
    return _current[0]
