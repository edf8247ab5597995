"""Who fell silent, and who came back: arithmetic on stored times, and the loop that asks it."""

from __future__ import annotations

import time
from typing import Callable, Iterable, Iterator, Optional

from backend.events import CameBack, Event, FellSilent
from backend.holders import new_holder
from backend.model import Hostname
from backend.reporter import Listener
from backend.store import Sighting, Store

_LEASE = "watcher"
_LEASE_SECONDS = 40.0


def judge(sightings: Iterable[Sighting], lost_after: float, now: float) -> Iterator[Sighting]:
    """Return the hosts that are silent now and were not, or were and are not any more.

    A host is silent when it wasn't heard of for more than `lost_after` seconds in which it could
    have been: since it was last seen, or registered if it never came.
    """
    for sighting in sightings:
        is_silent = silence(sighting, now) > lost_after
        if is_silent is not (sighting.silent_since is not None):
            yield sighting


def silence(sighting: Sighting, now: float) -> float:
    """Return for how many seconds a host could have been heard of, and wasn't."""
    since = max(sighting.seen_at or 0.0, sighting.registered_at)
    return now - since - sighting.excused


def deafness(watched_until: Optional[float], interval: float, now: float) -> float:
    """Return for how many seconds nobody could have heard a host.

    Nobody watches while the service is stopped, the machine sleeps, or a clock is set forward.
    Two missed rounds are no deafness: another process takes over in that time.
    """
    gap = now - (now if watched_until is None else watched_until)
    return gap if gap > 2 * interval + _LEASE_SECONDS else 0.0


class Watcher:
    """Works in one process of all at a time: the one that holds its lease."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        hosts: Iterable[Hostname],
        reporter: Listener,
        *,
        lost_after: float,
        interval: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._hosts = frozenset(hosts)
        self._reporter = reporter
        self._lost_after = lost_after
        self._interval = interval
        self._clock = clock
        self._holder = new_holder()
        self._is_leading = False

    def tick(self) -> None:
        """Report who fell silent and who came back since the last time."""
        now = self._clock()
        seconds = _LEASE_SECONDS + self._interval
        self._is_leading = self._store.leases.hold(_LEASE, self._holder, now, seconds)
        if not self._is_leading:
            return
        deaf = deafness(self._store.watch.watched_until(), self._interval, now)
        if deaf:
            self._store.hosts.excuse(deaf)
        self._store.watch.watch_until(now)
        known = [one for one in self._store.hosts.registered() if one.host in self._hosts]
        for sighting in judge(known, self._lost_after, now):
            event = self._flip(sighting, now)
            if event is not None:
                self._reporter.report(event)

    def stop(self) -> None:
        """Let another process take over at once."""
        if self._is_leading:
            self._store.leases.release(_LEASE, self._holder)

    def _flip(self, sighting: Sighting, now: float) -> Optional[Event]:
        """Note the change; return its event when it wasn't noted already."""
        if sighting.silent_since is None:
            quiet = now - (sighting.seen_at or sighting.registered_at)
            told = FellSilent(sighting.host, sighting.seen_at, quiet)
            return told if self._store.hosts.fall_silent(sighting, now) else None
        away = (sighting.seen_at or now) - sighting.silent_since
        back = CameBack(sighting.host, away)
        return back if self._store.hosts.come_back(sighting, now) else None
