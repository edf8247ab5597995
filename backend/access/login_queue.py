"""Slows down whoever guesses the operator's password: one comparison a second and source."""

from __future__ import annotations

import threading
import time
from typing import Callable, Dict

from backend.errors import TooManyFailures

PAUSE_SECONDS = 1.0
# Each waiting login holds a request thread.
MOST_A_SOURCE = 4
MOST = 6


class LoginQueue:
    """Lets the logins of a source that failed too often wait, one behind the other.

    Safe to share between threads.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._waiting: Dict[str, int] = {}
        self._last: Dict[str, float] = {}  # when the last one of those that wait may go on

    def wait(self, source: str) -> None:
        """Wait until the next login of a source may be compared.

        Raises:
            TooManyFailures: too many wait already; this login must not be compared.

        """
        with self._lock:
            here = self._waiting.get(source, 0)
            if here >= MOST_A_SOURCE or sum(self._waiting.values()) >= MOST:
                raise TooManyFailures(
                    "Too many failed logins, and others wait already: try again in a few seconds.",
                    MOST_A_SOURCE * PAUSE_SECONDS,
                )
            now = self._clock()
            at = max(now, self._last.get(source, now)) + PAUSE_SECONDS
            self._waiting[source] = here + 1
            self._last[source] = at
        try:
            self._sleep(at - now)
        finally:
            with self._lock:
                self._leave(source)

    def _leave(self, source: str) -> None:
        self._waiting[source] -= 1
        if not self._waiting[source]:
            del self._waiting[source], self._last[source]
