"""How often logins failed lately, from one source and for one host."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from typing import Callable, Dict, List, Mapping, NamedTuple, Sequence

from backend.access.token_bucket import TokenBucket
from backend.errors import StoreUnavailable
from backend.store.failed_logins import FailedLoginCounts

FLUSH_SECONDS = 2.0
# The memory and the work that strangers can cause end here: whoever failed longest ago is
# forgotten, and counts are shared one by one only as long as there are few of them.
_MOST_COUNTERS = 10_000
_MOST_A_FLUSH = 500
_SHARED_AT_ONCE = 20.0
_SHARED_A_SECOND = 2.0
_MOST_STORED = 100_000
_PRUNE_SECONDS = 60.0


class Failures(NamedTuple):
    """How often logins failed under one key in the current window."""

    number: int
    is_over: bool  # more often than the limit
    has_crossed: bool  # with this failure, as far as this process knows
    rest: float  # seconds until the window ends

    @property
    def wait(self) -> float:
        """Seconds to wait until a failure counts as the first one again; 0 up to the limit."""
        return self.rest if self.is_over else 0.0


class _Counter:
    """What is known of one key: what every process counted, and what they don't know of yet."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.shared = 0
        self.own = 0

    @property
    def number(self) -> int:
        return self.shared + self.own


class FailedLogins:
    """Counts failures in windows, together with all other processes. Safe to share by threads."""

    def __init__(
        self,
        limit: int,
        window: float,
        counts: FailedLoginCounts,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limit = limit
        self._window = window
        self._counts = counts
        self._clock = clock
        self._lock = threading.Lock()
        self._counters: OrderedDict[str, _Counter] = OrderedDict()
        self._sharing = TokenBucket(_SHARED_AT_ONCE, _SHARED_A_SECOND, clock())
        self._prune_at = clock()

    def count(self, keys: Sequence[str]) -> List[Failures]:
        """Count one failure under each key, and say how each stands."""
        now = self._clock()
        with self._lock:
            counters = [self._counter(key, now) for key in keys]
            before = [counter.number for counter in counters]
            for counter in counters:
                counter.own += 1
            # Who is over the limit already is answered from memory.
            is_news = any(number <= self._limit for number in before)
            fresh = self._take(keys) if is_news and self._sharing.take(now) else {}
        self._share(fresh, now)
        return [self._stand(counter, was, now) for counter, was in zip(counters, before)]

    def is_over(self, key: str) -> bool:
        """Return whether a key is over the limit, as far as this process knows."""
        now = self._clock()
        with self._lock:
            counter = self._counters.get(key)
            return (
                counter is not None
                and 0 <= now - counter.since < self._window
                and counter.number > self._limit
            )

    def flush(self) -> None:
        """Share what wasn't shared at once, the highest counts first.

        Raises:
            StoreUnavailable: each process counts for itself until the store is back.

        """
        now = self._clock()
        with self._lock:
            waiting = [key for key, counter in self._counters.items() if counter.own]
            waiting.sort(key=lambda key: self._counters[key].number, reverse=True)
            fresh = self._take(waiting[:_MOST_A_FLUSH])
        if fresh:
            self._exchange(fresh, now)
        if now >= self._prune_at:
            self._counts.prune(now - self._window, _MOST_STORED)
            self._prune_at = now + _PRUNE_SECONDS

    def _counter(self, key: str, now: float) -> _Counter:
        counter = self._counters.pop(key, None)
        if counter is None or not 0 <= now - counter.since < self._window:
            counter = _Counter(now)
        self._counters[key] = counter
        if len(self._counters) > _MOST_COUNTERS:
            self._counters.popitem(last=False)
        return counter

    def _take(self, keys: Sequence[str]) -> Dict[str, int]:
        """Take what others don't know of yet out of some counters, to share it."""
        fresh = {}
        for key in keys:
            counter = self._counters[key]
            fresh[key], counter.own = counter.own, 0
            counter.shared += fresh[key]
        return fresh

    def _share(self, fresh: Mapping[str, int], now: float) -> None:
        if not fresh:
            return
        try:
            self._exchange(fresh, now)
        except StoreUnavailable:
            return  # told already; what this process counted holds here

    def _exchange(self, fresh: Mapping[str, int], now: float) -> None:
        found = self._counts.add(fresh, now, self._window)
        with self._lock:
            for key, (number, since) in found.items():
                counter = self._counters.get(key)
                if counter is not None:
                    counter.shared, counter.since = max(number, counter.shared), since

    def _stand(self, counter: _Counter, before: int, now: float) -> Failures:
        is_over = counter.number > self._limit
        rest = max(1.0, counter.since + self._window - now)
        return Failures(counter.number, is_over, is_over and before <= self._limit, rest)


def network_of(source: str) -> str:
    """Return whom to count a source address as: itself, or its /64, which one host has whole."""
    try:
        ip = ipaddress.ip_address(source)
    except ValueError:
        return source
    prefix = 32 if ip.version == 4 else 64  # noqa: PLR2004
    return str(ipaddress.ip_network((ip, prefix), strict=False))
