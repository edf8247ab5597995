"""How often logins failed lately, from one source and for one host."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import Callable, NamedTuple, Tuple

# The memory that strangers can make us use ends here; whoever failed longest ago is forgotten.
_MOST_COUNTERS = 10_000


class Failures(NamedTuple):
    """How often logins failed under one key in the current window."""

    number: int
    excess: int  # how many more than the limit; negative below it
    rest: float  # seconds until the window ends

    @property
    def wait(self) -> float:
        """Seconds to wait until a failure counts as the first one again; 0 up to the limit."""
        return self.rest if self.excess > 0 else 0.0


class FailedLogins:
    """Counts failures in windows. Safe to share between threads."""

    def __init__(
        self, limit: int, window: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._lock = threading.Lock()
        self._counters: OrderedDict[str, Tuple[int, float]] = OrderedDict()

    def count(self, key: str) -> Failures:
        """Count one failure, and say how it stands."""
        now = self._clock()
        with self._lock:
            number, since = self._add(key, now)
        return Failures(number, number - self._limit, since + self._window - now)

    def _add(self, key: str, now: float) -> Tuple[int, float]:
        count, since = self._counters.pop(key, (0, now))
        if now - since >= self._window:
            count, since = 0, now
        self._counters[key] = (count + 1, since)
        if len(self._counters) > _MOST_COUNTERS:
            self._counters.popitem(last=False)
        return count + 1, since


def network_of(source: str) -> str:
    """Return whom to count a source address as: itself, or its /64, which one host has whole."""
    try:
        ip = ipaddress.ip_address(source)
    except ValueError:
        return source
    prefix = 32 if ip.version == 4 else 64  # noqa: PLR2004
    return str(ipaddress.ip_network((ip, prefix), strict=False))
