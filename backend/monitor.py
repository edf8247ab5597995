"""Finds hosts that fell silent or came back; stores zones and quotas for the dashboard."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Callable, Container, Iterable, Iterator, NamedTuple, Sequence

from backend.errors import OperatorError, StoreUnavailable, TransientError
from backend.events import CameBack, Event, EventSink, FellSilent, TokenRefused, ZoneFailed
from backend.hetzner.dns import Hetzner
from backend.model import Deadline, Hostname
from backend.store import Store
from backend.store.hosts import HostActivity
from backend.store.leases import LeaderElection, new_owner
from backend.store.projects import Project, SeenZone

logger = logging.getLogger(__name__)

TICK_SECONDS = 10.0  # call `Watcher.tick` at least this often
# If the leader on another machine is killed, the next one takes over after this time and a tick.
_LEASE_SECONDS = 40.0
# Hosts behind one router send their updates at different times, so they are lost and come back
# one after the other: within this many seconds, or sooner if the timeout is short. The next check
# finds them, unless checks are rare.
_SPREAD_SECONDS = 300.0
_LONGEST_INTERVAL = 60.0
# A longer pause between two checks means that the process was stopped or the store unavailable.
_LONGEST_PAUSE = 4 * TICK_SECONDS
_LIST_SECONDS = 3600.0  # the zones are listed as often as this
_LISTING_SECONDS = 60.0  # the lease of the process that lists them
_PROJECT_SECONDS = 15.0


def judge(activities: Iterable[HostActivity], lost_after: float) -> Iterator[HostActivity]:
    """Return the hosts that fell silent, and those that came back.

    A host is silent if it sent no update for longer than its own time, or than `lost_after`
    seconds, while a process watched. A lost host is back when it sends an update. A longer timeout
    alone doesn't end the loss.
    """
    for activity in activities:
        is_silent = activity.is_silent(lost_after)
        was_seen = activity.seen_at is not None and activity.seen_at != activity.silent_since
        if is_silent if activity.silent_since is None else not is_silent and was_seen:
            yield activity


class _Quiet(NamedTuple):
    """The start (monotonic) of a host's silence, and its number of updates at that time."""

    heard: int
    since: float


class Silences:
    """Counts how long hosts are silent while this process watches."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._quiet: dict[Hostname, _Quiet] = {}
        self._measured_at: float | None = None

    def stop(self) -> None:
        """Stop counting: the time until the next `measure` isn't added to any silence."""
        self._measured_at = None

    def measure(self, activities: Iterable[HostActivity]) -> list[HostActivity]:
        """Return the activities with the silence counted until now."""
        now = self._monotonic()
        if self._measured_at is None or now - self._measured_at > _LONGEST_PAUSE:
            self._quiet.clear()
        self._measured_at = now
        measured = []
        for one in activities:
            quiet = self._quiet.get(one.host)
            if quiet is None or quiet.heard != one.heard:
                # Start at zero after an update, or at the silence that an earlier watcher stored.
                quiet = self._quiet[one.host] = _Quiet(one.heard, now - one.silent_for)
            measured.append(one._replace(silent_for=now - quiet.since))
        return measured


class Watcher:
    """Checks all hosts once in each interval, in the one process that has the lease."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        hosts: Container[Hostname],
        sink: EventSink,
        *,
        lost_after: float,
        interval: float,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._sink = sink
        self._lost_after = lost_after
        self._interval = interval
        self._clock = clock
        self._monotonic = monotonic
        self._waits_since = monotonic()  # for the next check
        self._election = LeaderElection(store.leases, "watcher", _LEASE_SECONDS)
        self._silences = Silences(monotonic)

    def tick(self) -> None:
        """Keep the lease, count silences, end mutes, and once an interval report changes."""
        now = self._clock()
        try:
            if self._election.keep(now):
                self._watch(now)
            else:
                self._silences.stop()
        except StoreUnavailable:  # updates can't be stored either: count no silence
            self._silences.stop()
            raise

    def stop(self) -> None:
        """Give up the lease, so that another process takes over at once."""
        self._election.resign()

    def _watch(self, now: float) -> None:
        registered = self._store.hosts.registered(now)
        activities = self._silences.measure(one for one in registered if one.host in self._hosts)
        for one in activities:
            if one.muted_until is not None and one.muted_until <= now:
                with self._store.transaction():
                    if self._store.hosts.lift(one.host, now) and one.silent_since is not None:
                        self._sink.report(FellSilent(one.host, one.seen_at, now - one.silent_since))
        # The first interval after a start gives the hosts time to send an update.
        late = self._interval - min(self._interval, TICK_SECONDS) / 2
        if self._monotonic() - self._waits_since < late:
            return
        if not self._store.leases.once("watcher", "check", now, late):
            return
        self._waits_since = self._monotonic()
        # Hosts that sent an update lately, or are lost already, need no stored silence.
        silent = [one for one in activities if one.silent_for >= self._interval / 2]
        self._store.hosts.count(one for one in silent if one.silent_since is None)
        for activity in judge(activities, self._lost_after):
            others_within = self._others_within(activity, activities)
            with self._store.transaction():
                since = activity.silent_since
                if since is None:
                    is_first = self._store.hosts.fall_silent(activity, now)
                    event: Event = FellSilent(
                        activity.host, activity.seen_at, activity.silent_for, others_within
                    )
                else:
                    is_first = self._store.hosts.come_back(activity, now)
                    away = max(0.0, (activity.seen_at or now) - since)
                    event = CameBack(activity.host, away, others_within)
                if is_first:  # no other process has stored it
                    self._sink.report(event, quietly=(activity.muted_until or 0.0) > now)

    def _others_within(self, flipped: HostActivity, activities: Iterable[HostActivity]) -> float:
        """Return the seconds in which other hosts are likely to change in the same way."""
        timeout = flipped.lost_after or self._lost_after
        spread = min(_SPREAD_SECONDS, timeout / 4)
        if self._interval > max(spread, _LONGEST_INTERVAL):
            return 0.0
        others = [one for one in activities if one.host != flipped.host]
        start = flipped.silent_since
        if start is None:
            known = (one for one in others if one.silent_since is None)
            left = [(one.lost_after or self._lost_after) - one.silent_for for one in known]
            soon = [seconds + self._interval for seconds in left if 0 <= seconds <= spread]
            return max(soon, default=0.0)
        is_alone = not any(
            one.silent_since is not None
            and abs(one.silent_since - start) <= spread
            and one.is_silent(self._lost_after)
            for one in others
        )
        return 0.0 if is_alone else spread + self._interval


class Collector:
    """Runs in every process, because each has its own quotas. One process lists the zones."""

    def __init__(
        self,
        store: Store,
        projects: Sequence[Hetzner],
        sink: EventSink,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._projects = projects
        self._sink = sink
        self._clock = clock
        self._monotonic = monotonic
        self._began = clock()
        # The times of the stored quotas, by project and limit.
        self._stored: dict[tuple[int, int], float] = {}

    def tick(self) -> None:
        """Store new quotas; list the zones after the start and once an hour."""
        self._store_quotas()
        now = self._clock()
        listed_at = self._store.projects.listed_at()
        is_due = listed_at < self._began or not 0 <= now - listed_at < _LIST_SECONDS
        # If the owner of the lease dies, another process lists the zones at once.
        leases, owner = self._store.leases, new_owner()
        if is_due and leases.acquire("collector", owner, now, _LISTING_SECONDS):
            if self._list_zones(now):
                # A start soon after this one, with another token, lists the zones at once.
                leases.release("collector", owner)
            self._store_quotas()

    def _store_quotas(self) -> None:
        offset = self._clock() - self._monotonic()
        found = [
            replace(quota, project=number, at=round(quota.at + offset, 3))
            for number, project in enumerate(self._projects, 1)
            for quota in project.api.quotas
        ]
        new = [one for one in found if one.at > self._stored.get((one.project, one.limit), 0) + 1]
        if new:
            self._store.projects.store_quotas(new)
            self._stored.update({(one.project, one.limit): one.at for one in new})

    def _list_zones(self, now: float) -> bool:
        """Store the zones of all projects; `False` if they can't be listed now."""
        listed: list[tuple[Project, Sequence[SeenZone]]] = []
        for number, project in enumerate(self._projects, 1):
            if project.api.is_low:
                return False  # the rest of the quota is for live requests
            try:
                zones = project.zones(Deadline(_PROJECT_SECONDS))
            except TransientError as error:
                logger.debug("The zones of project %d can't be listed now: %s", number, error)
                return False
            except OperatorError as error:
                listed.append((Project(number, str(error), now), []))
                refusal = TokenRefused(number, str(error))
                is_at_start = self._store.projects.listed_at() < self._began
                self._report_once("projects", f"{number} {error}", refusal, always=is_at_start)
                continue
            for zone in zones:
                if zone.has_failed:
                    self._report_once("zones", zone.name, ZoneFailed(zone.name))
            seen = [SeenZone(zone.name, number, zone.mode, zone.delegation) for zone in zones]
            listed.append((Project(number, "", now), seen))
        self._store.projects.store_zones(listed)
        return True

    def _report_once(self, subject: str, key: str, event: Event, *, always: bool = False) -> None:
        """Report an event unless it was reported within a day by any process."""
        with self._store.transaction():
            if self._store.leases.once(subject, key, self._clock()) or always:
                self._sink.report(event)
