"""Who fell silent, and who came back: arithmetic on stored times, and the loop that asks it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable, Iterable, Iterator, Optional

from backend.events import CameBack, Event, FellSilent
from backend.model import Hostname
from backend.reporting.reporter import Listener
from backend.store import Sighting, Store
from backend.store.leases import Leadership

TICK_SECONDS = 10.0  # how often `tick` should be called, or more often
_LEASE = "watcher"
_LEASE_SECONDS = 40.0
# When a process dies, another one takes over within this time: such a gap is no deafness.
_HANDOVER_SECONDS = _LEASE_SECONDS + 2 * TICK_SECONDS
_SKEW = 60.0  # seconds by which the clocks of several machines may differ


def judge(sightings: Iterable[Sighting], lost_after: float, now: float) -> Iterator[Sighting]:
    """Return the hosts that fell silent, and those that came back.

    A host is silent when it wasn't heard of for more than `lost_after` seconds in which it could
    have been: since it was last seen, or registered if it never came. It is back when it was heard
    of since; a longer timeout alone brings nobody back.
    """
    for sighting in sightings:
        is_silent = silence(sighting, now) > lost_after
        if is_silent if sighting.silent_since is None else not is_silent and _was_heard(sighting):
            yield sighting


def silence(sighting: Sighting, now: float) -> float:
    """Return for how many seconds a host could have been heard of, and wasn't."""
    return now - sighting.quiet_since


def _was_heard(sighting: Sighting) -> bool:
    return sighting.seen_at is not None and sighting.seen_at != sighting.silent_since


def excused(
    sightings: Iterable[Sighting], watched_until: Optional[float], interval: float, now: float
) -> Iterator[Sighting]:
    """Return the hosts whose silence has to be shortened, with how much of it is excused.

    Nobody listens while the service is stopped or the machine sleeps, and a clock that is set
    forward looks the same: what a host had been silent before goes on from there. A host heard in
    that time begins anew, for nobody knows on which side of a change of the clock that was. So does
    one that was heard in the future, which means that the clock was set back.
    """
    was_deaf = watched_until is not None and now - watched_until > interval + _HANDOVER_SECONDS
    for sighting in sightings:
        since = sighting.quiet_since
        if watched_until is not None and was_deaf:
            since = now - max(0.0, watched_until - since)
        elif since > now + _SKEW:
            since = now
        if since != sighting.quiet_since:
            yield replace(sighting, excused=sighting.excused + since - sighting.quiet_since)


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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._hosts = frozenset(hosts)
        self._reporter = reporter
        self._lost_after = lost_after
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic
        self._listening_since = monotonic()
        self._leadership = Leadership(store.leases, _LEASE, _LEASE_SECONDS)

    def tick(self) -> None:
        """Keep the lease, and once an interval report who fell silent and who came back."""
        now = self._clock()
        if not self._leadership.keep(now):
            return
        watched_until = self._store.watch.watched_until()
        if not self._is_due(watched_until, now):
            return
        excuses = list(excused(self._known(now), watched_until, self._interval, now))
        if excuses:
            self._store.hosts.excuse(excuses)
        self._store.watch.watch_until(now)
        for sighting in judge(self._known(now), self._lost_after, now):
            event = self._flip(sighting, now)
            if event is not None:
                self._reporter.report(event)

    def stop(self) -> None:
        """Let another process take over at once."""
        self._leadership.give_up()

    def _is_due(self, watched_until: Optional[float], now: float) -> bool:
        """Whether an interval is over, here and since anybody looked.

        After a start the hosts get one to be heard in, however soon the lease comes.
        """
        late = self._interval - min(self._interval, TICK_SECONDS) / 2
        if self._monotonic() - self._listening_since < late:
            return False
        return watched_until is None or not 0 <= now - watched_until < late

    def _known(self, now: float) -> Iterable[Sighting]:
        return [one for one in self._store.hosts.registered(now) if one.host in self._hosts]

    def _flip(self, sighting: Sighting, now: float) -> Optional[Event]:
        """Note the change; return its event when it wasn't noted already."""
        if sighting.silent_since is None:
            told = FellSilent(sighting.host, sighting.seen_at, silence(sighting, now))
            return told if self._store.hosts.fall_silent(sighting, now) else None
        away = (sighting.seen_at or now) - sighting.silent_since
        back = CameBack(sighting.host, away)
        return back if self._store.hosts.come_back(sighting, now) else None
