"""Failed logins: counting, reporting, and delaying further logins."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from typing import Callable, ContextManager, NamedTuple, Sequence

from backend.errors import StoreUnavailable, TooManyFailures
from backend.events import EventSink, LoginFailed, LoginsBlocked
from backend.model import Hostname
from backend.rate import LineLimit, TokenBucket
from backend.store.hosts import FailedLoginCounts

# Attackers can't cause more memory, rows or store accesses than this.
_MOST_COUNTERS = 10_000
_MOST_STORED = 100_000
_MOST_A_FLUSH = 500
_SHARED_AT_ONCE, _SHARED_A_SECOND = 20.0, 2.0
_PRUNE_SECONDS = 60.0

# The log lines and pushes of one process.
_LINES_AT_ONCE, _LINES_A_SECOND = 20.0, 0.1
_PUSHES_AT_ONCE, _PUSHES_A_SECOND = 5.0, 1 / 60
_MOST_BLOCKED = 1000

# Each waiting login occupies a request thread.
PAUSE_SECONDS = 1.0
MOST_A_SOURCE = 4
MOST = 6


class Failures(NamedTuple):
    """How many logins failed under one key in the current window."""

    number: int
    has_crossed: bool  # whether this failure exceeded the limit, as far as this process knows
    wait: float  # seconds until the window ends; 0 up to the limit


@dataclass
class _Counter:
    """The failures under one key in the window that began at `since`."""

    since: float
    number: int = 0  # of all processes, as far as this process knows
    unshared: int = 0  # the part of `number` that isn't in the store yet


class FailedLogins:
    """Counts failures in windows, together with all processes. Safe to share between threads."""

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

    def count(self, keys: Sequence[str]) -> list[Failures]:
        """Count one failure under each key, and return the state of each."""
        now = self._clock()
        with self._lock:
            counters = [self._counter(key, now) for key in keys]
            before = [counter.number for counter in counters]
            for counter in counters:
                counter.number += 1
                counter.unshared += 1
            # Failures beyond the limit change no answer, so the next flush shares them.
            is_relevant = any(number <= self._limit for number in before)
            shares = is_relevant and self._sharing.take(now)
        if shares:
            with contextlib.suppress(StoreUnavailable):  # this process continues with its counts
                self._share(keys, now)
        found = []
        for counter, number in zip(counters, before):
            is_over = counter.number > self._limit
            wait = max(1.0, counter.since + self._window - now) if is_over else 0.0
            found.append(Failures(counter.number, is_over and number <= self._limit, wait))
        return found

    def is_over(self, key: str) -> bool:
        """Return whether the failures of a key exceed the limit, by the counts of this process."""
        now = self._clock()
        with self._lock:
            counter = self._counters.get(key) or _Counter(now)
        return counter.number > self._limit and 0 <= now - counter.since < self._window

    def flush(self) -> None:
        """Share the failures that `count` didn't share, highest first; raise `StoreUnavailable`."""
        now = self._clock()
        with self._lock:
            waiting = [key for key, counter in self._counters.items() if counter.unshared]
            waiting.sort(key=lambda key: self._counters[key].number, reverse=True)
        if waiting:
            self._share(waiting[:_MOST_A_FLUSH], now)
        if now >= self._prune_at:
            self._counts.prune(now - self._window, _MOST_STORED)
            self._prune_at = now + _PRUNE_SECONDS

    def _counter(self, key: str, now: float) -> _Counter:
        """Return the counter of a key in the current window; drop the one used longest ago."""
        counter = self._counters.pop(key, None)
        if counter is None or not 0 <= now - counter.since < self._window:
            counter = _Counter(now)
        self._counters[key] = counter
        if len(self._counters) > _MOST_COUNTERS:
            self._counters.popitem(last=False)
        return counter

    def _share(self, keys: Sequence[str], now: float) -> None:
        """Add unshared failures to the store, and read the counts of other processes."""
        with self._lock:
            counters = {key: self._counters[key] for key in keys if key in self._counters}
            fresh = {key: counter.unshared for key, counter in counters.items()}
            for counter in counters.values():
                counter.unshared = 0
        found = self._counts.add(fresh, now, self._window)
        with self._lock:
            for key, (number, since) in found.items():
                counter = counters[key]
                counter.number = max(counter.number, number + counter.unshared)
                counter.since = since


class Alarm:
    """Reports failed logins. Safe to share between threads."""

    def __init__(
        self,
        reporter: EventSink,
        is_first: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
        transaction: Callable[[], ContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        """`is_first` is true for the first process that asks for a host within a window."""
        self._reporter = reporter
        self._transaction = transaction
        self._is_first = is_first
        self._lines = LineLimit(_LINES_AT_ONCE, _LINES_A_SECOND, clock)
        self._pushes = LineLimit(_PUSHES_AT_ONCE, _PUSHES_A_SECOND, clock)
        self._blocked: deque[LoginsBlocked] = deque(maxlen=_MOST_BLOCKED)

    def failed(self, source: str, host: Hostname | None) -> None:
        """Report the first failure of a source in its window."""
        left_out = self._lines.take()
        if left_out is not None:
            self._reporter.report(LoginFailed(source, host, left_out))

    def blocked(self, source: str, host: Hostname) -> None:
        """Note that a host is over its limit, so that `report` reports it.

        A report needs the store and is made for registered hosts only. If the request waited for
        it, the response time would reveal which hosts exist.
        """
        self._blocked.append(LoginsBlocked(source, host))

    def report(self) -> None:
        """Report the hosts that are over their limit."""
        while self._blocked:
            event = self._blocked.popleft()
            with self._transaction():
                left_out = self._pushes.take() if self._is_first(event.host.text) else None
                if left_out is not None:
                    self._reporter.report(replace(event, left_out=left_out))


class LoginQueue:
    """Delays the logins of a source that is over the limit. Safe to share between threads."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._queues: dict[str, list[float]] = {}  # when each waiting login of a source may proceed

    def wait(self, source: str) -> None:
        """Wait until the next login of a source may be compared.

        Raises:
            TooManyFailures: too many logins wait already; this login must not be compared.

        """
        with self._lock:
            queue = self._queues.get(source, [])
            if len(queue) >= MOST_A_SOURCE or sum(map(len, self._queues.values())) >= MOST:
                raise TooManyFailures(
                    "Too many failed logins from this address: try again in a few seconds.",
                    MOST_A_SOURCE * PAUSE_SECONDS,
                )
            now = self._clock()
            at = max([now, *queue]) + PAUSE_SECONDS
            self._queues[source] = [*queue, at]
        try:
            self._sleep(at - now)
        finally:
            with self._lock:
                self._queues[source].remove(at)
                if not self._queues[source]:
                    del self._queues[source]
