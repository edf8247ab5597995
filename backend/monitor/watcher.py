"""When hosts were last heard of, and which ones fell silent or came back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

from backend.errors import StoreUnavailable
from backend.events import CameBack, Event, FellSilent
from backend.model import Hostname
from backend.notify.reporter import Listener, Reporter
from backend.store import Sighting, Store
from backend.store.leases import Leadership

TICK_SECONDS = 10.0  # how often `tick` should be called, or more often
_LEASE = "watcher"
_LEASE_SECONDS = 40.0
# A longer pause between two checks means that the process was stopped or the store unavailable.
_LONGEST_PAUSE = 4 * TICK_SECONDS


def judge(sightings: Iterable[Sighting], lost_after: float) -> Iterator[Sighting]:
    """Return the hosts that fell silent, and those that came back.

    A host is silent when it wasn't heard of for more than `lost_after` seconds in which a process
    watched. It is back when it was heard of since; a longer timeout alone doesn't bring it back.
    """
    for sighting in sightings:
        is_silent = sighting.silent_for > lost_after
        if is_silent if sighting.silent_since is None else not is_silent and _was_heard(sighting):
            yield sighting


def _was_heard(sighting: Sighting) -> bool:
    return sighting.seen_at is not None and sighting.seen_at != sighting.silent_since


class _Quiet(NamedTuple):
    """Since when (monotonic) a host is silent, and the number of its sightings at that time."""

    heard: int
    since: float


class Silences:
    """Counts how long hosts are silent while this process watches."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._quiet: Dict[Hostname, _Quiet] = {}
        self._looked_at: Optional[float] = None

    def stop(self) -> None:
        """Stop counting: the time until the next `look` adds to no silence."""
        self._looked_at = None

    def look(self, sightings: Iterable[Sighting]) -> List[Sighting]:
        """Return the sightings with the silence counted until now."""
        now = self._monotonic()
        if self._looked_at is None or now - self._looked_at > _LONGEST_PAUSE:
            self._quiet.clear()
        self._looked_at = now
        return [replace(one, silent_for=self._silence(one, now)) for one in sightings]

    def _silence(self, sighting: Sighting, now: float) -> float:
        quiet = self._quiet.get(sighting.host)
        if quiet is None or quiet.heard != sighting.heard:
            # Start at zero after a sighting, else at the silence that an earlier watcher stored.
            quiet = _Quiet(sighting.heard, now - sighting.silent_for)
            self._quiet[sighting.host] = quiet
        return now - quiet.since


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
        self._silences = Silences(monotonic)

    def tick(self) -> None:
        """Keep the lease, and once an interval report who fell silent and who came back."""
        now = self._clock()
        try:
            if not self._leadership.keep(now):
                self._silences.stop()
                return
            sightings = self._silences.look(self._known(now))
            if self._is_due(self._store.watch.watched_until(), now):
                self._look(sightings, now)
        except StoreUnavailable:  # sightings can't be stored either
            self._silences.stop()
            raise

    def _look(self, sightings: Sequence[Sighting], now: float) -> None:
        self._store.watch.watch_until(now)
        flips = list(judge(sightings, self._lost_after))
        # Store nothing of hosts that were heard of lately or are already lost.
        silent = [one for one in sightings if one.silent_for >= self._interval / 2]
        self._store.hosts.count(one for one in silent if one.silent_since is None)
        for sighting in flips:
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
            told = FellSilent(sighting.host, sighting.seen_at, sighting.silent_for)
            return told if self._store.hosts.fall_silent(sighting, now) else None
        away = max(0.0, (sighting.seen_at or now) - sighting.silent_since)
        back = CameBack(sighting.host, away)
        return back if self._store.hosts.come_back(sighting, now) else None


MUTES_TICK_SECONDS = 10.0


class Mutes:
    """Stands between the watcher and the reporter. The log and the history hear everything."""

    def __init__(
        self, store: Store, reporter: Reporter, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._clock = clock

    def report(self, event: Event) -> None:
        """Tell of an event, quietly if it is about a muted host."""
        quietly = isinstance(event, (FellSilent, CameBack)) and self._is_muted(event.host)
        self._reporter.report(event, quietly=quietly)

    def tick(self) -> None:
        """End the mutes whose time has come, and tell of the hosts that are lost by then."""
        now = self._clock()
        over = {host for host, until in self._store.operations.mutes().items() if until <= now}
        if not over:
            return
        for sighting in self._store.hosts.registered(now):
            if sighting.host in over and self._store.operations.lift(sighting.host, now):
                over.discard(sighting.host)
                if sighting.silent_since is not None:
                    quiet = now - sighting.silent_since
                    self._reporter.report(FellSilent(sighting.host, sighting.seen_at, quiet))
        for host in over:  # not registered any more
            self._store.operations.lift(host, now)

    def _is_muted(self, host: Hostname) -> bool:
        with contextlib.suppress(StoreUnavailable):  # then rather a push too many
            return self._store.operations.mutes().get(host, 0.0) > self._clock()
        return False
