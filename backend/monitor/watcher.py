"""When hosts were last heard of, and which ones fell silent or came back."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

from backend.errors import StoreUnavailable
from backend.events import CameBack, Event, EventSink, FellSilent
from backend.model import Hostname
from backend.notify.reporter import Reporter
from backend.store import HostActivity, Store
from backend.store.leases import LeaderElection

TICK_SECONDS = 10.0  # how often `tick` should be called, or more often
_LEASE = "watcher"
_LEASE_SECONDS = 40.0
# A longer pause between two checks means that the process was stopped or the store unavailable.
_LONGEST_PAUSE = 4 * TICK_SECONDS


def judge(activities: Iterable[HostActivity], lost_after: float) -> Iterator[HostActivity]:
    """Return the hosts that fell silent, and those that came back.

    A host is silent when it wasn't heard of for more than `lost_after` seconds in which a process
    watched. It is back when it was heard of since; a longer timeout alone doesn't bring it back.
    """
    for activity in activities:
        is_silent = activity.silent_for > lost_after
        if is_silent if activity.silent_since is None else not is_silent and _was_heard(activity):
            yield activity


def _was_heard(activity: HostActivity) -> bool:
    return activity.seen_at is not None and activity.seen_at != activity.silent_since


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

    def look(self, activities: Iterable[HostActivity]) -> List[HostActivity]:
        """Return the sightings with the silence counted until now."""
        now = self._monotonic()
        if self._looked_at is None or now - self._looked_at > _LONGEST_PAUSE:
            self._quiet.clear()
        self._looked_at = now
        return [replace(one, silent_for=self._silence(one, now)) for one in activities]

    def _silence(self, activity: HostActivity, now: float) -> float:
        quiet = self._quiet.get(activity.host)
        if quiet is None or quiet.heard != activity.heard:
            # Start at zero after a sighting, else at the silence that an earlier watcher stored.
            quiet = _Quiet(activity.heard, now - activity.silent_for)
            self._quiet[activity.host] = quiet
        return now - quiet.since


class Watcher:
    """Works in one process of all at a time: the one that holds its lease."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        hosts: Iterable[Hostname],
        reporter: EventSink,
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
        self._election = LeaderElection(store.leases, _LEASE, _LEASE_SECONDS)
        self._silences = Silences(monotonic)

    def tick(self) -> None:
        """Keep the lease, and once an interval report who fell silent and who came back."""
        now = self._clock()
        try:
            if not self._election.keep(now):
                self._silences.stop()
                return
            activities = self._silences.look(self._known(now))
            if self._is_due(self._store.watch.watched_until(), now):
                self._look(activities, now)
        except StoreUnavailable:  # sightings can't be stored either
            self._silences.stop()
            raise

    def _look(self, activities: Sequence[HostActivity], now: float) -> None:
        self._store.watch.watch_until(now)
        flips = list(judge(activities, self._lost_after))
        # Store nothing of hosts that were heard of lately or are already lost.
        silent = [one for one in activities if one.silent_for >= self._interval / 2]
        self._store.hosts.count(one for one in silent if one.silent_since is None)
        for activity in flips:
            event = self._flip(activity, now)
            if event is not None:
                self._reporter.report(event)

    def stop(self) -> None:
        """Let another process take over at once."""
        self._election.resign()

    def _is_due(self, watched_until: Optional[float], now: float) -> bool:
        """Whether an interval is over, here and since anybody looked.

        After a start the hosts get one to be heard in, however soon the lease comes.
        """
        late = self._interval - min(self._interval, TICK_SECONDS) / 2
        if self._monotonic() - self._listening_since < late:
            return False
        return watched_until is None or not 0 <= now - watched_until < late

    def _known(self, now: float) -> Iterable[HostActivity]:
        return [one for one in self._store.hosts.registered(now) if one.host in self._hosts]

    def _flip(self, activity: HostActivity, now: float) -> Optional[Event]:
        """Note the change; return its event when it wasn't noted already."""
        if activity.silent_since is None:
            told = FellSilent(activity.host, activity.seen_at, activity.silent_for)
            return told if self._store.hosts.fall_silent(activity, now) else None
        away = max(0.0, (activity.seen_at or now) - activity.silent_since)
        back = CameBack(activity.host, away)
        return back if self._store.hosts.come_back(activity, now) else None


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
        for activity in self._store.hosts.registered(now):
            if activity.host in over and self._store.operations.lift(activity.host, now):
                over.discard(activity.host)
                if activity.silent_since is not None:
                    quiet = now - activity.silent_since
                    self._reporter.report(FellSilent(activity.host, activity.seen_at, quiet))
        for host in over:  # not registered any more
            self._store.operations.lift(host, now)

    def _is_muted(self, host: Hostname) -> bool:
        with contextlib.suppress(StoreUnavailable):  # then rather a push too many
            return self._store.operations.mutes().get(host, 0.0) > self._clock()
        return False
