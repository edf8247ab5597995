"""Which calls came in, in what order, how each was answered, and from when to when it took."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable, List, Optional

# Older ones are forgotten: a load test may make millions.
MOST_CALLS = 100_000


@dataclass(frozen=True)
class Call:
    """One call to the API; `status` None means that it got no answer, at least not yet.

    `path` is without `/v1`, `body` is the parsed JSON, or text that isn't JSON, or None;
    `started` and `ended` are seconds since 1970, `ended` is before the caller sees the answer.
    """

    method: str
    path: str
    query: str
    body: object
    token_index: Optional[int]
    started: float
    ended: Optional[float] = None
    status: Optional[int] = None

    @property
    def line(self) -> str:
        """Method, path and query in one line, for tests that list what was asked."""
        return f"{self.method} {self.path}" + (f"?{self.query}" if self.query else "")


class Journal:
    """Calls in the order of their arrival, those still under way among them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls: OrderedDict[int, Call] = OrderedDict()
        self._next = 0

    def begin(self, method: str, path: str, query: str, body: object, token: Optional[int]) -> int:
        """Note a call that has come in; the number given back is for `end`."""
        with self._lock:
            self._next += 1
            self._calls[self._next] = Call(method, path, query, body, token, self._clock())
            if len(self._calls) > MOST_CALLS:
                self._calls.popitem(last=False)
            return self._next

    def end(self, number: int, status: Optional[int]) -> None:
        """Note how a call was answered, unless it has been forgotten since."""
        with self._lock:
            if number in self._calls:
                self._calls[number] = dataclasses.replace(
                    self._calls[number], status=status, ended=self._clock()
                )

    def calls(self) -> List[Call]:
        """The calls since the last `clear`, the newest 100,000 of them."""
        with self._lock:
            return list(self._calls.values())

    def clear(self) -> None:
        """Forget all calls."""
        with self._lock:
            self._calls.clear()
