"""Makes Hetzner hold what one host wants, one process at a time, and remembers how it went."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Union

from backend.cloud_api import Deadline
from backend.cloud_errors import NotFound
from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    OperatorError,
    StoreUnavailable,
)
from backend.events import Cleared, Confirmed, Event, Postponed, Published, Refused
from backend.hetzner import RRSet
from backend.model import Change, Hostname, RecordType, Settled
from backend.reporter import Reporter
from backend.store import News, Record, State, Store
from backend.turns import Turns
from backend.zones import Location, Zones

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_REFUSED_PAUSE = 3600.0
_RECHECK_PAUSE = 60.0

Result = Union[Settled, DyndnsError]


class Publisher:
    """The only one that changes records. Safe to share between threads."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        turns: Turns,
        zones: Zones,
        reporter: Reporter,
        *,
        cache_ttl: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._turns = turns
        self._zones = zones
        self._reporter = reporter
        self._cache_ttl = cache_ttl
        self._clock = clock

    def is_settled(self, record: Optional[Record]) -> bool:
        """Whether a record is accepted, and confirmed so lately that Hetzner needn't be asked."""
        if record is None or not record.is_accepted:
            return False
        now = self._clock()
        # A clock that was set back must not make memory good for ever.
        is_fresh = 0 <= now - record.checked_at < self._cache_ttl
        is_postponed = 0 < record.recheck_at - now <= _RECHECK_PAUSE
        return is_fresh or is_postponed

    def publish(
        self, host: Hostname, kinds: Iterable[RecordType], deadline: Deadline
    ) -> Dict[RecordType, Result]:
        """Bring a host's records to what the host wants now, and say how each of them fared.

        A record may meanwhile be wanted otherwise than the caller knows: compare the answer.

        Raises:
            HostBusy: another update of the host doesn't come to an end.
            StoreUnavailable: nothing is known of the wishes.

        """
        with self._turns.take(host, deadline):
            known = self._store.records.of(host)
            records = [known[kind] for kind in kinds if kind in known]
            due = [record for record in records if not self.is_settled(record)]
            results: Dict[RecordType, Result] = {
                record.type: Settled(record.wanted, Change.REMEMBERED) for record in records
            }
            if due:
                results.update(self._settle_all(host, due, deadline))
            return results

    def _settle_all(
        self, host: Hostname, records: Sequence[Record], deadline: Deadline
    ) -> Dict[RecordType, Result]:
        try:
            location, found = self._look(host, deadline)
        except DyndnsError as error:
            return {record.type: self._fail(record, error) for record in records}
        results: Dict[RecordType, Result] = {}
        for record in records:
            try:
                rrset = found.get(record.type)
                results[record.type] = self._settle(record, location, rrset, deadline)
            except DyndnsError as error:
                results[record.type] = self._fail(record, error)
        return results

    def _look(
        self, host: Hostname, deadline: Deadline
    ) -> Tuple[Location, Mapping[RecordType, RRSet]]:
        """Find the host's zone and read what it holds for the host: one call for both families."""
        location = self._find(host, deadline)
        try:
            return location, location.hetzner.read(location.owner, deadline)
        except NotFound:  # the list of zones is out of date
            self._zones.forget()
            location = self._find(host, deadline)
            return location, location.hetzner.read(location.owner, deadline)

    def _find(self, host: Hostname, deadline: Deadline) -> Location:
        location = self._zones.find(host, deadline)
        if location.owner.zone.mode != "primary":
            raise ChangeRefused(
                f"Zone {location.owner.zone.name} is a {location.owner.zone.mode} zone at "
                "Hetzner: it is changed at its primary server."
            )
        return location

    def _settle(
        self, record: Record, location: Location, rrset: Optional[RRSet], deadline: Deadline
    ) -> Settled:
        """Make Hetzner hold what one record shall be."""
        address = record.wanted.address
        hetzner, owner = location.hetzner, location.owner
        if address is not None:
            failed_before = record.state is State.PENDING and record.action is not None
            actions = hetzner.put(owner, rrset, address, deadline, rewrite=failed_before)
        else:
            actions = [] if rrset is None else hetzner.delete(owner, record.type, deadline)
        change = _change(record, rrset) if actions else Change.UNCHANGED
        self._remember(record, change, rrset, actions)
        return Settled(record.wanted, change)

    def _remember(
        self, record: Record, change: Change, rrset: Optional[RRSet], actions: Sequence[int]
    ) -> None:
        # An answer that was lost after Hetzner had accepted the wish looks like no change now.
        is_news = change is not Change.UNCHANGED or record.published != record.wanted.address
        seen = record.published if change is Change.UNCHANGED else rrset
        old = None if seen is None else str(seen)
        news = News(change.value, old, _why(record)) if is_news else None
        action = actions[0] if actions else None
        now = self._clock()
        self._store.records.accept(record, action, now, news)
        self._reporter.report(_told(record, news))
        if record.error and record.action is None:
            self._reporter.report(Cleared(record.host, record.type, now - record.wished_at))

    def _fail(self, record: Record, error: DyndnsError) -> Result:
        """Remember a failure; a failed check of an accepted record is none for its host."""
        now = self._clock()
        with contextlib.suppress(StoreUnavailable):  # the wish is stored, and that suffices
            if isinstance(error, OperatorError):
                self._store.records.refuse(record, str(error), now, now + _REFUSED_PAUSE)
                self._tell(record, error, Refused(record.host, record.type, str(error)))
            elif record.is_accepted:
                self._store.records.recheck_later(record, now + _RECHECK_PAUSE)
                return Settled(record.wanted, Change.REMEMBERED)
            else:
                pause = pause_after(record.attempts, error)
                self._store.records.postpone(record, str(error), now, now + pause)
                told = Postponed(record.host, record.type, str(error))
                self._tell(record, error, told)
        return error

    def _tell(self, record: Record, error: DyndnsError, event: Event) -> None:
        if str(error) != record.error:  # once a cause, not once an attempt
            self._reporter.report(event)


def _change(record: Record, rrset: Optional[RRSet]) -> Change:
    address = record.wanted.address
    if address is None:
        return Change.DELETED
    if rrset is None:
        return Change.CREATED
    return Change.UNCHANGED if rrset.holds(address) else Change.REPLACED  # only the TTL changed


def _told(record: Record, news: Optional[News]) -> Event:
    if news is None:
        return Confirmed(record.host, record.type)
    new = str(record.wanted.address or "none")
    return Published(record.host, record.type, news.old or "none", new, news.why)


def _why(record: Record) -> str:
    if record.is_accepted:
        return "put back: it was changed at Hetzner"
    if record.attempts:
        return f"asked by {record.asker.source}, done at attempt {record.attempts + 1}"
    return f"asked by {record.asker.source}"


def pause_after(attempts: int, error: Optional[DyndnsError] = None) -> float:
    """Seconds until the next try: growing, capped, and spread so that not all come at once."""
    grown = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempts, 10))
    asked = error.retry_after if isinstance(error, HetznerBusy) else 0.0
    # Nothing secret comes of it.
    return max(asked, grown * random.uniform(0.5, 1.0))  # noqa: S311  # nosec B311
