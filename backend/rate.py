"""How often something may happen."""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional


class TokenBucket:
    """A bucket that fills up again. Its owner sees to it that one thread at a time asks."""

    def __init__(self, at_once: float, a_second: float, now: float) -> None:
        self._at_once = at_once
        self._a_second = a_second
        self._left = at_once
        self._at = now

    def take(self, now: float) -> bool:
        """Take one, if there is one. `now` is in seconds; a clock that is set back gives none."""
        passed = max(0.0, now - self._at)
        self._left = min(self._at_once, self._left + passed * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class LineLimit:
    """Limits the log lines that strangers can cause. Safe to share between threads."""

    def __init__(
        self,
        at_once: float = 5.0,
        a_second: float = 1 / 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bucket = TokenBucket(at_once, a_second, clock())
        self._left_out = 0

    def take(self) -> Optional[int]:
        """Return how many lines were left out before this one; `None` to leave this one out."""
        with self._lock:
            if not self._bucket.take(self._clock()):
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out
