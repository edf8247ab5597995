"""How often logins failed lately, and what the operator is told of them."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict, deque
from typing import (
    Callable,
    Deque,
    Dict,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

from backend.errors import StoreUnavailable, TooManyFailures
from backend.events import EventSink, LoginFailed, LoginsBlocked, Rejected
from backend.model import Hostname
from backend.rate import LineLimit, TokenBucket

FLUSH_SECONDS = 2.0
# The memory and the work that strangers can cause end here: whoever failed longest ago is
# forgotten, and counts are shared one by one only as long as there are few of them.
_MOST_COUNTERS = 10_000
_MOST_A_FLUSH = 500
_SHARED_AT_ONCE = 20.0
_SHARED_A_SECOND = 2.0
_MOST_STORED = 100_000
_PRUNE_SECONDS = 60.0


class Counts(Protocol):
    """Counters that all processes share, as `store.FailedLoginCounts`."""

    def add(
        self, numbers: Mapping[str, int], now: float, window: float
    ) -> Dict[str, Tuple[int, float]]:
        """Add to some counters; return what each has now, and when its window began (UTC)."""

    def prune(self, before: float, most: int) -> None:
        """Delete windows that began before a time, and the oldest of more than so many."""


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
        counts: Counts,
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
        """Return whether the failures of a key exceed the limit, by the counts of this process."""
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


TELL_SECONDS = 2.0
# A million sources may fail, ten thousand hosts may be tried: lines and pushes a process.
_LINES_AT_ONCE, _LINES_A_SECOND = 20.0, 0.1
_PUSHES_AT_ONCE, _PUSHES_A_SECOND = 5.0, 1 / 60
_MOST_WAITING = 1000


class Alarm:
    """Tells of failed logins. Safe to share between threads."""

    def __init__(
        self,
        reporter: EventSink,
        is_first_to_tell: Callable[[str], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reporter = reporter
        self._is_first_to_tell = is_first_to_tell  # of all processes, within a window
        self._clock = clock
        self._lock = threading.Lock()
        self._lines = LineLimit(_LINES_AT_ONCE, _LINES_A_SECOND, clock)
        self._pushes = TokenBucket(_PUSHES_AT_ONCE, _PUSHES_A_SECOND, clock())
        self._unsaid_pushes = 0
        self._blocked: Deque[LoginsBlocked] = deque(maxlen=_MOST_WAITING)

    def failed(self, source: str, host: Optional[Hostname]) -> None:
        """Tell of the first failure of a source in its window."""
        unsaid = self._lines.take()
        if unsaid is not None:
            self._reporter.report(LoginFailed(source, host, unsaid))

    def blocked(self, source: str, host: Hostname) -> None:
        """Note that a host is over its limit, to be told by `tell`.

        Only a host that exists is told of, and telling takes the store: done at once, the time of
        the answer would say which hosts there are.
        """
        with self._lock:
            self._blocked.append(LoginsBlocked(source, host))

    def tell(self) -> None:
        """Tell of the hosts that are over their limit."""
        while True:
            with self._lock:
                if not self._blocked:
                    return
                event = self._blocked.popleft()
                if not self._pushes.take(self._clock()):
                    self._unsaid_pushes += 1
                    continue
            if self._is_first_to_tell(event.host.text):
                self._push(event)

    def _push(self, event: LoginsBlocked) -> None:
        with self._lock:
            unsaid, self._unsaid_pushes = self._unsaid_pushes, 0
        self._reporter.report(LoginsBlocked(event.source, event.host, unsaid))


_MOST_REMEMBERED = 10_000


class Rejections:
    """Tells of a host's flaw when it is another than before. Safe to share between threads."""

    def __init__(self, reporter: EventSink, clock: Callable[[], float] = time.monotonic) -> None:
        self._reporter = reporter
        self._clock = clock
        self._lines = TokenBucket(_LINES_AT_ONCE, _LINES_A_SECOND, clock())
        self._lock = threading.Lock()
        # By the host whose key it was, and the one it named: a request may name several, of which
        # only some are sound.
        self._told: Dict[Tuple[Hostname, Hostname], str] = {}

    def tell(
        self, host: Hostname, source: str, problem: str, named: Optional[Hostname] = None
    ) -> None:
        """Tell of an update that had the right key, and nothing could be made of.

        `named` is the host it was about, where that isn't the one whose key it had.
        """
        with self._lock:
            about = (host, named or host)
            if self._told.get(about) == problem or not self._lines.take(self._clock()):
                return
            self._told[about] = problem
            if len(self._told) > _MOST_REMEMBERED:
                self._told.pop(next(iter(self._told)))
        self._reporter.report(Rejected(host, source, problem))

    def clear(self, host: Hostname, named: Optional[Hostname] = None) -> None:
        """Let the next flaw be news, `named` as in `tell`: a sound update has been sent."""
        about = (host, named or host)
        if about in self._told:
            with self._lock:
                self._told.pop(about, None)


PAUSE_SECONDS = 1.0
# Each waiting login holds a request thread.
MOST_A_SOURCE = 4
MOST = 6


class LoginQueue:
    """Makes the logins of a source that is over the limit wait in line.

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
        self._last: Dict[str, float] = {}  # when the last waiting login of a source may proceed

    def wait(self, source: str) -> None:
        """Wait until the next login of a source may be compared.

        Raises:
            TooManyFailures: too many wait already; this login must not be compared.

        """
        with self._lock:
            here = self._waiting.get(source, 0)
            if here >= MOST_A_SOURCE or sum(self._waiting.values()) >= MOST:
                raise TooManyFailures(
                    "Too many failed logins from this address: try again in a few seconds.",
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
