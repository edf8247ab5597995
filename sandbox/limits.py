"""Rate limits: buckets with the calls of an hour, which refill in whole calls."""

from __future__ import annotations

import math
import re
import threading
from typing import Callable, NamedTuple

# From recorded answers: writes of records and polls of their actions have the larger limit.
_ACTIONS = re.compile(r"(POST /v1/zones/.+/actions/.+|GET /v1/(zones/)?actions(/.+)?)")


class Allowance(NamedTuple):
    """The rate-limit headers; `reset` is the UNIX time when the bucket is full again."""

    granted: bool
    limit: int
    remaining: int
    reset: int

    def headers(self) -> dict[str, str]:
        """Return the headers, in lower case as at Hetzner."""
        return {
            "ratelimit-limit": str(self.limit),
            "ratelimit-remaining": str(self.remaining),
            "ratelimit-reset": str(self.reset),
        }


class Limits:
    """Two buckets for each token. `clock` returns seconds since 1970; limits are per hour.

    `hour_seconds` is the length of that hour, so that tests can shorten it.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        limit: int = 3600,
        actions: int = 7200,
        *,
        hour_seconds: float = 3600,
    ) -> None:
        if min(limit, actions) < 1:
            raise ValueError("limits must be at least 1")
        if not 0 < hour_seconds < math.inf:
            raise ValueError("hour_seconds must be above 0")
        self._clock = clock
        self._limits = (limit, actions)
        self._hour = hour_seconds
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Fill all buckets."""
        with self._lock:
            self._buckets: dict[tuple[str, bool], tuple[int, float]] = {}

    def take(self, token: str, method: str, path: str) -> Allowance:
        """Take one call from the bucket for this path, and return what is left."""
        actions = bool(_ACTIONS.fullmatch(f"{method} {path}"))
        limit = self._limits[actions]
        with self._lock:
            now = self._clock()
            level, then = self._buckets.get((token, actions), (limit, now))
            # As recorded at Hetzner: each call discards the fraction that has been refilled.
            level = min(limit, level + int((now - then) * limit / self._hour))
            granted = level >= 1
            level -= granted
            self._buckets[token, actions] = (level, now)
        reset = math.ceil(now + (limit - level) * self._hour / limit)
        return Allowance(granted, limit, level, reset)
