"""Finds records that were changed at Hetzner, by reading whole zones in the background."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Callable, Mapping, Sequence, Sized

from backend.errors import DyndnsError, OperatorError, StoreUnavailable
from backend.hetzner.client import NotFound
from backend.hetzner.dns import Hetzner, Zone
from backend.hetzner.zones import Zones
from backend.model import Deadline
from backend.store import Store
from backend.store.hosts import Record
from backend.store.leases import LeaderElection
from backend.sync.publisher import Publisher

logger = logging.getLogger(__name__)

# From this number of hosts on, reading zones is cheaper than reading each host.
_MANY_HOSTS = 20
# With a shorter REQUEST_CACHE_TTL, each record is verified when its host sends an update.
_SHORTEST_ROUND = 60
_LEASE = "verifier"
_LEASE_SECONDS = 40.0
_ZONE_SECONDS = 15.0
_LONGEST_TICK = 120.0  # the rest is read at the next tick
_RECORDS_A_TICK = 5000
_PAUSE_AFTER_FAILURE = 60.0


def reads_zones(hosts: Sized, cache_ttl: float) -> bool:
    """Whether the verifier is needed; the number of hosts may change."""
    return len(hosts) >= _MANY_HOSTS and cache_ttl >= _SHORTEST_ROUND


class Verifier:
    """Works in one process at a time: the leader."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        publisher: Publisher,
        zones: Zones,
        projects: Sequence[Hetzner],
        *,
        cache_ttl: float,
        is_needed: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`is_needed` is `reads_zones`, for the hosts and the cache of the service."""
        self._store = store
        self._publisher = publisher
        self._zones = zones
        self._projects = projects
        self._cache_ttl = cache_ttl
        self._is_needed = is_needed
        self._clock = clock
        self._election = LeaderElection(store.leases, _LEASE, _LEASE_SECONDS)
        self._pause_until = 0.0
        self._end = Deadline(0)  # of the tick
        self._pages: dict[Zone, int] = {}  # how many calls reading a zone took last time

    def tick(self) -> None:
        """Check the records of active hosts that weren't checked for `REQUEST_CACHE_TTL`."""
        if not self._is_needed():
            self._election.resign()
            return
        now = self._clock()
        # After the clock was set back, the pause must not take longer.
        is_paused = 0 < self._pause_until - now <= _PAUSE_AFTER_FAILURE
        if not self._election.keep(now) or is_paused:
            return
        self._end = Deadline(_LONGEST_TICK)
        stale = self._store.records.unverified(now - self._cache_ttl, now, _RECORDS_A_TICK)
        for zone, records in self._by_zone(stale).items():
            try:
                if self._may_go_on(zone):
                    self._check(zone, records)
            except DyndnsError as error:  # go on with the other zones
                self._pause(error)

    def stop(self) -> None:
        """Let another process take over at once."""
        self._election.resign()

    def _may_go_on(self, zone: Zone | None) -> bool:
        projects = self._projects if zone is None else [zone.project]
        if self._end.has_passed or any(project.api.is_low for project in projects):
            return False  # the reserve of the quota is left to changes
        return self._election.keep(self._clock())

    def _pause(self, error: DyndnsError) -> None:
        logger.debug("Not all zones could be checked: %s", error)
        self._pause_until = self._clock() + _PAUSE_AFTER_FAILURE

    def _by_zone(self, stale: Sequence[Record]) -> Mapping[Zone | None, list[Record]]:
        """Group records by zone; `None` for those without a zone.

        Records whose project is unavailable are left out.
        """
        found: dict[Zone | None, list[Record]] = defaultdict(list)
        for record in stale:
            try:
                location = self._zones.find(record.host, Deadline(_ZONE_SECONDS))
                found[location.zone].append(record)
            except OperatorError:
                found[None].append(record)
            except DyndnsError as error:
                self._pause(error)
                if not self._zones.known:  # no project can be called
                    break
        return found

    def _check(self, zone: Zone | None, stale: Sequence[Record]) -> None:
        """Compare all records of a zone as soon as one is stale: one read returns all of them.

        Otherwise the zone would be read once for each host that has changed at another time.
        """
        if zone is None:
            self._put_right(stale, zone)
            return
        now = self._clock()
        ours = self._store.records.in_zone(zone.name, now)
        asking = sum(1 for _, heard_at in ours if heard_at > now - self._cache_ttl)
        if max(asking, len(stale)) < self._pages.get(zone, 1):  # a few records in a large zone
            self._put_right(stale, zone)
            return
        try:
            self._pages[zone], found = zone.project.read_zone(zone, Deadline(_ZONE_SECONDS))
        except NotFound:
            self._zones.invalidate()
            raise
        right: list[tuple[Record, str]] = []
        for record, _ in ours:
            location = self._zones.recall(record.host)
            if location is not None and location.zone == zone:
                address = record.desired.address
                rrset = found.get((location.name, record.type.value))
                if zone.project.is_right(rrset, address, self._publisher.ttl_of(record.host)):
                    right.append((record, "" if rrset is None else rrset.comment_of(address)))
        self._store.records.confirm(right, now)
        confirmed = {(record.host, record.type) for record, _ in right}
        # The records of silent hosts may differ, too: they are corrected at the next update.
        wrong = [one for one in stale if (one.host, one.type) not in confirmed]
        self._put_right(wrong, zone)

    def _put_right(self, records: Sequence[Record], zone: Zone | None) -> None:
        """Read records one by one, and write those that differ."""
        for record in records:
            if not self._may_go_on(zone):
                return
            self._store.records.doubt(record)
            try:
                self._publisher.publish(record.host, [record.type], Deadline(_ZONE_SECONDS))
            except StoreUnavailable:
                raise
            except DyndnsError as error:  # the publisher has stored it
                logger.debug("%s couldn't be corrected: %s", record.host, error)
