"""Waiting for other threads, with a timeout."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Generic, TypeVar

from sandbox import Sandbox

T = TypeVar("T")
_SECONDS = 20.0
_POLL_SECONDS = 0.02


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until a condition holds; fail after a timeout."""
    end = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < end, f"timed out: {what}"
        time.sleep(_POLL_SECONDS)


def until_asked(sandbox: Sandbox, line: str) -> None:
    """Wait until a call has reached Hetzner, answered or not."""
    until(lambda: line in [call.line for call in sandbox.calls()], f"a call {line}")


class Background(Generic[T]):
    """A task on its own thread; `result` waits for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._results: list[T] = []
        self._thread = threading.Thread(target=lambda: self._results.append(work()))
        self._thread.start()

    def result(self) -> T:
        self._thread.join(_SECONDS)
        assert self._results, "the task did not end"
        return self._results[0]

    def has_ended_within(self, seconds: float) -> bool:
        self._thread.join(max(0.0, seconds))
        return not self._thread.is_alive()
