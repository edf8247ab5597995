"""Makes Hetzner hold the desired records of a host."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import OrderedDict
from typing import Callable, Dict, Iterable, Mapping, Optional, Sequence, Tuple, Type, Union

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    OperatorError,
    ShareUsedUp,
    StoreUnavailable,
)
from backend.events import Cleared, Confirmed, Event, Postponed, Published, Refused
from backend.hetzner.client import Deadline
from backend.hetzner.dns import RRSet
from backend.hetzner.responses import NotFound
from backend.hetzner.zones import Location, Zones
from backend.model import Change, Hostname, RecordOutcome, RecordType
from backend.notify.reporter import Reporter
from backend.store import ChangeNote, Notice, Record, State, Store
from backend.sync.locks import HostLocks


def change_of(record: Record, rrset: Optional[RRSet]) -> Change:
    """Return what writing a record has done to what was there before."""
    address = record.desired.address
    if address is None:
        return Change.DELETED
    if rrset is None:
        return Change.CREATED
    return Change.UNCHANGED if rrset.holds(address) else Change.REPLACED  # only the TTL changed


def event_of(record: Record, note: Optional[ChangeNote]) -> Event:
    """Return what the operator may hear of it."""
    if note is None:
        return Confirmed(record.host, record.type)
    new = str(record.desired.address or "none")
    return Published(record.host, record.type, note.old or "none", new, note.why)


def reason_for(record: Record) -> str:
    """Say for the history why a record is written."""
    if record.is_accepted:
        return "put back: it was changed at Hetzner"
    if record.attempts:
        return f"asked by {record.requester.source}, done at attempt {record.attempts + 1}"
    return f"asked by {record.requester.source}"


def cleared(record: Record, notice: Notice, now: float) -> Cleared:
    """Return the event that a record is well again."""
    after = now - record.desired_at
    return Cleared(record.host, record.type, after, is_news=notice is Notice.HOST)


_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0

# While Hetzner's quota is short, a host may try so often at once, and then once in so long.
_TRIES_AT_ONCE = 4.0
_SECONDS_A_TRY = 120.0
_MOST_HOSTS = 20_000


def pause_after(attempts: int, error: Optional[DyndnsError] = None) -> float:
    """Seconds until the next try: growing, capped, and spread so that not all come at once."""
    grown = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempts, 10))
    asked = error.retry_after if isinstance(error, HetznerBusy) else 0.0
    # Nothing secret comes of it.
    return max(asked, grown * random.uniform(0.5, 1.0))  # noqa: S311


class Shares:
    """Keeps a host that tries all the time from using up what all hosts share.

    Safe to share between threads.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._left: OrderedDict[Hostname, Tuple[float, float]] = OrderedDict()

    def take(self, host: Hostname, *, is_short: bool) -> None:
        """Count a try to change a host's records. Nobody waits while there is plenty for all.

        Raises:
            ShareUsedUp: it has to wait first.

        """
        now = self._clock()
        with self._lock:
            left, at = self._left.pop(host, (_TRIES_AT_ONCE, now))
            left = min(_TRIES_AT_ONCE, left + (now - at) / _SECONDS_A_TRY)
            must_wait = is_short and left < 1
            self._left[host] = (left if must_wait else max(0.0, left - 1), now)
            if len(self._left) > _MOST_HOSTS:
                self._left.popitem(last=False)
        if must_wait:
            raise ShareUsedUp(
                f"{host} has used up its share of calls while the quota is short",
                (1 - left) * _SECONDS_A_TRY,
                hint="its turn comes by itself. If others wait as well, raise REQUEST_CACHE_TTL.",
            )


_REFUSED_PAUSE = 3600.0
_VERIFY_PAUSE = 60.0
# Hosts that are heard of are checked each REQUEST_CACHE_TTL; what wasn't for twice as long is read
# before it is written.
_KNOWN_FOR = 2

Result = Union[RecordOutcome, DyndnsError]


class Publisher:
    """The only one that changes records. Safe to share between threads."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        host_locks: HostLocks,
        zones: Zones,
        reporter: Reporter,
        *,
        cache_ttl: float,
        is_checked_elsewhere: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._host_locks = host_locks
        self._zones = zones
        self._reporter = reporter
        self._cache_ttl = cache_ttl
        self._is_checked_elsewhere = is_checked_elsewhere
        self._clock = clock
        self._shares = Shares()
        self._began = clock()

    def is_up_to_date(self, record: Optional[Record]) -> bool:
        """Whether a record is accepted, and Hetzner needn't be asked: it was, a short while ago.

        With many hosts the verifier asks it, not each of them.
        """
        if record is None or not record.is_accepted:
            return False
        if self._is_checked_elsewhere and record.checked_at > 0:
            return True
        now = self._clock()
        # A clock that was set back must not make memory good for ever.
        is_fresh = 0 <= now - record.checked_at < self._cache_ttl
        is_postponed = 0 < record.verify_after - now <= _VERIFY_PAUSE
        return is_fresh or is_postponed

    def read(self, host: Hostname, deadline: Deadline) -> Mapping[RecordType, RRSet]:
        """Return what Hetzner holds for a host, whatever the host wants.

        Raises:
            OperatorError, TransientError: as calls to Hetzner do.

        """
        return self._look(host, deadline)[1]

    def publish(
        self, host: Hostname, kinds: Iterable[RecordType], deadline: Deadline
    ) -> Dict[RecordType, Result]:
        """Bring a host's records to what the host wants now, and say how each of them fared.

        A record may meanwhile be wanted otherwise than the caller knows: compare the answer.

        Raises:
            HostBusy: another update of the host doesn't come to an end.
            StoreUnavailable: nothing is known of the wishes.

        """
        with self._host_locks.take(host, deadline):
            known = self._store.records.of(host)
            records = [known[kind] for kind in kinds if kind in known]
            due = [record for record in records if not self.is_up_to_date(record)]
            results: Dict[RecordType, Result] = {
                record.type: RecordOutcome(record.desired, Change.CACHED) for record in records
            }
            if due:
                results.update(self._publish_records(host, due, deadline))
            return results

    def _publish_records(
        self, host: Hostname, records: Sequence[Record], deadline: Deadline
    ) -> Dict[RecordType, Result]:
        try:
            location = self._find(host, deadline)
            self._share_out(location, host, records)
            found = self._recalled(location, records)
            if found is None:
                location, found = self._look(host, deadline)
        except DyndnsError as error:
            return {record.type: self._fail(record, error) for record in records}
        results: Dict[RecordType, Result] = {}
        for record in records:
            try:
                rrset = found.get(record.type)
                results[record.type] = self._publish_record(record, location, rrset, deadline)
            except DyndnsError as error:
                results[record.type] = self._fail(record, error)
        return results

    def _recalled(
        self, location: Location, records: Sequence[Record]
    ) -> Optional[Mapping[RecordType, RRSet]]:
        """Spare the read before a write where Hetzner confirmed the records a short while ago."""
        recalled: Dict[RecordType, RRSet] = {}
        for record in records:
            if record.published is None or not self._is_known(record):
                return None
            recalled[record.type] = location.hetzner.recalled(record.published, record.comment)
        return recalled

    def _share_out(self, location: Location, host: Hostname, records: Sequence[Record]) -> None:
        if not all(record.is_accepted for record in records):  # else nobody wants a change
            self._shares.take(host, is_short=location.hetzner.api.is_short)

    def _is_known(self, record: Record) -> bool:
        """Whether a new address can be written at once: nothing odd has happened lately."""
        is_change = record.desired.address not in (None, record.published)
        is_smooth = record.state is State.PENDING and not record.attempts
        age = self._clock() - record.checked_at
        # A process that has just begun may have been given another RECORD_TTL.
        is_known = record.checked_at >= self._began and 0 <= age < _KNOWN_FOR * self._cache_ttl
        return is_change and is_smooth and is_known

    def _look(
        self, host: Hostname, deadline: Deadline
    ) -> Tuple[Location, Mapping[RecordType, RRSet]]:
        """Find the host's zone and read what it holds for the host: one call for both families."""
        location = self._find(host, deadline)
        try:
            return location, location.hetzner.read(location.owner, deadline)
        except NotFound:
            return self._look_anew(host, deadline)

    def _look_anew(
        self, host: Hostname, deadline: Deadline
    ) -> Tuple[Location, Mapping[RecordType, RRSet]]:
        """Do the same after the list of zones turned out to be out of date."""
        self._zones.invalidate()
        location = self._find(host, deadline)
        return location, location.hetzner.read(location.owner, deadline)

    def _find(self, host: Hostname, deadline: Deadline) -> Location:
        location = self._zones.find(host, deadline)
        if location.owner.zone.mode != "primary":
            raise ChangeRefused(
                f"Zone {location.owner.zone.name} is a {location.owner.zone.mode} zone at Hetzner",
                hint="change it at its primary server.",
            )
        return location

    def _publish_record(
        self, record: Record, location: Location, rrset: Optional[RRSet], deadline: Deadline
    ) -> RecordOutcome:
        """Make Hetzner hold what one record shall be."""
        try:
            actions = self._write(record, location, rrset, deadline)
        except NotFound:
            location, found = self._look_anew(record.host, deadline)
            rrset = found.get(record.type)
            actions = self._write(record, location, rrset, deadline)
        change = change_of(record, rrset) if actions else Change.UNCHANGED
        self._remember(record, change, rrset, actions)
        return RecordOutcome(record.desired, change)

    def _write(
        self, record: Record, location: Location, rrset: Optional[RRSet], deadline: Deadline
    ) -> Sequence[int]:
        address = record.desired.address
        hetzner, owner = location.hetzner, location.owner
        if address is None:
            return [] if rrset is None else hetzner.delete(owner, record.type, deadline)
        doubtful = record.is_doubtful
        return hetzner.put(owner, rrset, address, deadline, rewrite=doubtful)

    def _remember(
        self, record: Record, change: Change, rrset: Optional[RRSet], actions: Sequence[int]
    ) -> None:
        # An answer that was lost after Hetzner had accepted the wish looks like no change now.
        is_news = change is not Change.UNCHANGED or record.published != record.desired.address
        seen = record.published if change is Change.UNCHANGED else rrset
        old = None if seen is None else str(seen)
        note = ChangeNote(change.value, old, reason_for(record)) if is_news else None
        action = actions[0] if actions else None
        now = self._clock()
        comment = "" if rrset is None else rrset.comment
        notice = self._store.records.accept(record, action, now, note, comment=comment)
        self._reporter.report(event_of(record, note))
        if notice is not Notice.NONE:
            self._reporter.report(cleared(record, notice, now))

    def _fail(self, record: Record, error: DyndnsError) -> Result:
        """Remember a failure; a failed check of an accepted record is none for its host."""
        now = self._clock()
        with contextlib.suppress(StoreUnavailable):  # the wish is stored, and that suffices
            if isinstance(error, OperatorError):
                again_at = now + _REFUSED_PAUSE
                notice = self._store.records.refuse(record, error, now, again_at)
                self._tell(Refused, record, error, notice)
            elif record.is_accepted:
                self._store.verifications.postpone(record, now + _VERIFY_PAUSE)
                return RecordOutcome(record.desired, Change.CACHED)
            elif isinstance(error, ShareUsedUp) and record.state is State.REFUSED:
                # Nobody has asked: the operator is still needed, for the reason that is known.
                self._store.records.try_later(record, now + error.retry_after)
            else:
                again_at = now + pause_after(record.attempts, error)
                notice = self._store.records.postpone(record, error, now, again_at)
                self._tell(Postponed, record, error, notice)
        return error

    def _tell(
        self,
        kind: Type[Union[Postponed, Refused]],
        record: Record,
        error: DyndnsError,
        notice: Notice,
    ) -> None:
        if notice is not Notice.NONE:
            is_news = notice is Notice.HOST
            self._reporter.report(kind(record.host, record.type, str(error), is_news=is_news))
