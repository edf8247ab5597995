"""Finds out in the background whether Hetzner still holds what it accepted, a zone at a time."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from backend.errors import DyndnsError
from backend.hetzner.api import Deadline
from backend.hetzner.dns import Hetzner
from backend.hetzner.refusals import NotFound
from backend.hetzner.rrsets import RRSet, Zone
from backend.hetzner.zones import Location, Zones
from backend.publishing.publisher import Publisher
from backend.store import Record, Store
from backend.store.leases import Leadership

TICK_SECONDS = 5.0
# From so many hosts on, reading zones is cheaper than reading hosts one by one as they ask.
MANY_HOSTS = 20
_LEASE = "verifier"
_LEASE_SECONDS = 40.0
_ZONE_SECONDS = 15.0
_RECORDS_A_TICK = 5000
_PAUSE_AFTER_FAILURE = 60.0

_Place = Tuple[Hetzner, Zone]
_Stale = Tuple[Location, Record]

logger = logging.getLogger(__name__)


class Verifier:
    """Works in one process of all at a time: the one that holds its lease."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        publisher: Publisher,
        zones: Zones,
        projects: Sequence[Hetzner],
        *,
        cache_ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._zones = zones
        self._projects = projects
        self._cache_ttl = cache_ttl
        self._clock = clock
        self._leadership = Leadership(store.leases, _LEASE, _LEASE_SECONDS)
        self._pause_until = 0.0
        self._pages: Dict[Zone, int] = {}  # how many calls reading a zone took last time

    def tick(self) -> None:
        """Check the records that weren't for `REQUEST_CACHE_TTL`, of hosts that were heard of."""
        now = self._clock()
        if not self._leadership.keep(now) or now < self._pause_until:
            return
        if any(project.api.is_low for project in self._projects):
            return  # what is left of the quota belongs to changes
        stale = self._store.verifications.due(now - self._cache_ttl, _RECORDS_A_TICK)
        for (hetzner, zone), records in self._by_zone(stale).items():
            if not self._leadership.keep(self._clock()):
                return
            try:
                self._check(hetzner, zone, records)
            except DyndnsError as error:
                logger.debug("Zone %s could not be checked: %s", zone.name, error)
                self._pause_until = now + _PAUSE_AFTER_FAILURE
                return

    def stop(self) -> None:
        """Let another process take over at once."""
        self._leadership.give_up()

    def _by_zone(self, stale: Sequence[Record]) -> Mapping[_Place, List[_Stale]]:
        found: Dict[_Place, List[_Stale]] = defaultdict(list)
        for record in stale:
            location = self._zones.find(record.host, Deadline(_ZONE_SECONDS))
            found[location.hetzner, location.owner.zone].append((location, record))
        return found

    def _check(self, hetzner: Hetzner, zone: Zone, stale: Sequence[_Stale]) -> None:
        if len(stale) < self._pages.get(zone, 1):  # a few of ours in a large zone
            self._put_right([record for _, record in stale])
            return
        now = self._clock()
        try:
            self._pages[zone], found = hetzner.read_zone(zone, Deadline(_ZONE_SECONDS))
        except NotFound:
            self._zones.forget()
            raise
        right: List[Tuple[Record, str]] = []
        wrong: List[Record] = []
        for location, record in stale:
            rrset = found.get((location.owner.name, record.type))
            if _is_right(hetzner, record, rrset):
                right.append((record, "" if rrset is None else rrset.comment))
            else:
                wrong.append(record)
        self._store.verifications.confirm(right, now)
        self._put_right(wrong)

    def _put_right(self, records: Sequence[Record]) -> None:
        """Let records be read one by one, and written if they differ."""
        for record in records:
            if not self._leadership.keep(self._clock()):
                return
            self._store.verifications.doubt(record)
            self._publisher.publish(record.host, [record.type], Deadline(_ZONE_SECONDS))


def _is_right(hetzner: Hetzner, record: Record, rrset: Optional[RRSet]) -> bool:
    address = record.wanted.address
    if address is None:
        return rrset is None
    return hetzner.is_right(rrset, address)
