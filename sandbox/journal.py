"""The calls to the API: order, answers and times."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable

# Older calls are dropped, since a load test may make millions.
MOST_CALLS = 100_000


@dataclass(frozen=True)
class Call:
    """One call to the API; `status` is None without an answer, or before it.

    `path` is without `/v1`. `body` is parsed JSON, text that isn't JSON, or None. `started` and
    `ended` are seconds since 1970; `ended` is before the caller gets the answer.
    """

    method: str
    path: str
    query: str
    body: object
    token_index: int | None
    started: float
    ended: float | None = None
    status: int | None = None

    @property
    def line(self) -> str:
        """Method, path and query in one line, for lists of calls."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


class Journal:
    """Calls in order of arrival, including running ones."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[int, Call] = OrderedDict()
        self._next = 0

    def begin(self, method: str, path: str, query: str, body: object, token: int | None) -> int:
        """Record a new call; return its number for `end`."""
        with self._lock:
            self._next += 1
            self._calls[self._next] = Call(method, path, query, body, token, self._clock())
            if len(self._calls) > MOST_CALLS:
                self._calls.popitem(last=False)
            return self._next

    def end(self, number: int, status: int | None) -> None:
        """Record the answer to a call, unless the call was dropped."""
        with self._lock:
            if number in self._calls:
                self._calls[number] = dataclasses.replace(
                    self._calls[number], status=status, ended=self._clock()
                )

    def calls(self) -> list[Call]:
        """Return the calls since the last `clear`, up to the latest 100,000."""
        with self._lock:
            return list(self._calls.values())

    def clear(self) -> None:
        """Drop all calls."""
        with self._lock:
            self._calls.clear()
