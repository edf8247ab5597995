"""Limits on how often something may happen."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Callable, Hashable

from backend.errors import ShareUsedUp

HOUR = 3600.0
DAY = 24 * 3600.0
# While the quota is short, a host gets this many attempts at once, then one in this many seconds.
_ATTEMPTS_AT_ONCE = 4.0
_SECONDS_AN_ATTEMPT = 120.0
_MOST_HOSTS = 20_000


class TokenBucket:
    """A number of tokens that grows with time, up to a capacity. Not safe to share between threads.

    Every `now` is in seconds of one clock. No tokens are added when the clock is set back.
    """

    def __init__(self, capacity: float, per_second: float, now: float) -> None:
        """Start with a full bucket."""
        self._capacity = capacity
        self._per_second = per_second
        self._level = capacity
        self._at = now

    def level(self, now: float) -> float:
        """Return the number of tokens."""
        refilled = max(0.0, now - self._at) * self._per_second
        return min(self._capacity, self._level + refilled)

    def take(self, now: float) -> bool:
        """Take one token if there is one, and return whether there was."""
        level = self.level(now)
        has_token = level >= 1
        self._at = now
        self._level = level - 1 if has_token else level
        return has_token

    def wait(self, now: float) -> float:
        """Return the seconds until the bucket contains a token; 0 if it does."""
        return max(0.0, (1 - self.level(now)) / self._per_second)


@dataclass(frozen=True)
class Quota:
    """One bucket of a project at Hetzner as of an answer: `limit` calls an hour."""

    limit: int
    remaining: int
    at: float  # in seconds of one clock
    project: int = 0  # numbered from 1, as HETZNER_TOKEN lists them

    def left(self, now: float) -> float:
        """Return how many calls are left, if no other process has made any since then."""
        refilled = max(0.0, now - self.at) * self.limit / HOUR
        return min(self.limit, self.remaining + refilled)


class LineLimit:
    """Limits the log lines and pushes that callers can cause. Safe to share between threads."""

    def __init__(
        self,
        capacity: float = 5.0,
        per_second: float = 1 / 60,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._bucket = TokenBucket(capacity, per_second, clock())
        self._left_out = 0

    def take(self) -> int | None:
        """Return how many lines were suppressed since the last one; `None` to suppress this one."""
        with self._lock:
            if not self._bucket.take(self._clock()):
                self._left_out += 1
                return None
            left_out, self._left_out = self._left_out, 0
            return left_out


class Shares:
    """Keeps one host from using up the rest of a quota. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def take(self, host: Hashable) -> None:
        """Count an attempt to change a host's records while the quota is short.

        Raises:
            ShareUsedUp: the host has used up its share.

        """
        now = self._clock()
        with self._lock:
            bucket = self._buckets.pop(host, None)
            if bucket is None:
                bucket = TokenBucket(_ATTEMPTS_AT_ONCE, 1 / _SECONDS_AN_ATTEMPT, now)
            self._buckets[host] = bucket
            if len(self._buckets) > _MOST_HOSTS:
                self._buckets.popitem(last=False)
            if bucket.take(now):
                return
            wait = bucket.wait(now)
        raise ShareUsedUp(
            f"{host} has used up its share of calls while the quota is short",
            wait,
            hint="the update is published later. If other hosts wait as well, raise "
            "REQUEST_CACHE_TTL.",
        )


def network_of(source: str) -> str:
    """Return the network that counts as one source: an IPv4 address, or an IPv6 /64."""
    try:
        ip = ipaddress.ip_address(source)
    except ValueError:
        return source
    prefix = 32 if ip.version == 4 else 64  # noqa: PLR2004
    return str(ipaddress.ip_network((ip, prefix), strict=False))
