"""Publishes the desired records of a host at Hetzner.

`Publisher.begin` stores an update and locks its host, and `complete` writes to Hetzner, stores the
results and unlocks the host. Each is one transaction, and none is open while Hetzner is asked.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterable, Mapping, NamedTuple, Sequence

from backend.errors import (
    ChangeRefused,
    DyndnsError,
    HetznerBusy,
    OperatorError,
    SecondaryZone,
    ShareUsedUp,
    StoreUnavailable,
    ZoneNotFound,
)
from backend.events import (
    Cleared,
    Confirmed,
    Contested,
    Event,
    EventSink,
    Postponed,
    Published,
    Refused,
    SeveralRecords,
)
from backend.hetzner.client import AlreadyExists, NotFound
from backend.hetzner.dns import Location, RRSet, Written
from backend.hetzner.zones import Zones
from backend.model import Change, Deadline, Hostname, RecordOutcome, RecordType, Update
from backend.notify.reporter import Reporter
from backend.rate import Shares, network_of
from backend.store import Store
from backend.store.hosts import Record, State
from backend.store.leases import new_owner, wait_for_host
from backend.store.records import (
    LOCK_SECONDS,
    Accepted,
    ChangeNote,
    Delayed,
    Failed,
    Notice,
    Result,
    entry_of,
)

# For this many seconds, background jobs leave a new update to its request.
GRACE_SECONDS = 10.0
# An update that takes longer counts as hung, and must not block its host forever.
_LONGEST_LOCK = 120.0
_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 60.0
_FIRST_REFUSED_PAUSE = 60.0
LONGEST_REFUSED_PAUSE = 3600.0
_VERIFY_PAUSE = 60.0
# The records of active hosts are verified each REQUEST_CACHE_TTL. After twice that time without a
# verification, a record is read before it is written.
_KNOWN_FOR = 2
# Writes of AAAA records at the same time as those of the A records of their hosts.
_SECOND_WRITES = 32
# Hosts behind one router may send its new address one after another.
_SPREAD_SECONDS = 60.0
_SEVERAL = "several records at one name: the update replaces them with one"
# Hetzner says that the RRSet exists, but doesn't list it.
_UNLISTED = RRSet({}, None)


def pause_after(
    attempts: int,
    error: DyndnsError | None = None,
    *,
    first: float = _FIRST_PAUSE,
    longest: float = _LONGEST_PAUSE,
) -> float:
    """Return the seconds until the next attempt: growing, bounded and randomly spread."""
    grown = min(longest, first * 2.0 ** min(attempts, 10))
    asked = error.retry_after if isinstance(error, HetznerBusy) else 0.0
    return max(asked, grown * random.uniform(0.5, 1.0))  # noqa: S311 - no secret depends on it


class Attempt(NamedTuple):
    """An attempt to bring the records of a locked host to their desired state."""

    host: Hostname
    owner: str  # of the lock
    known: Mapping[RecordType, Record]
    deadline: Deadline


class Publisher:
    """Changes records at Hetzner; no other class does. Safe to share between threads."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        zones: Zones,
        reporter: Reporter,
        *,
        cache_ttl: float,
        ttl_of: Callable[[Hostname], int | None] = lambda _: None,
        is_checked_elsewhere: Callable[[], bool] = lambda: False,
        pushes_changes: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`ttl_of` returns the TTL that a host has of its own."""
        self._store = store
        self._zones = zones
        self._reporter = reporter
        self._cache_ttl = cache_ttl
        self.ttl_of = ttl_of
        self._is_checked_elsewhere = is_checked_elsewhere
        self._pushes_changes = pushes_changes
        self._clock = clock
        self.shares = Shares()
        self._began = clock()
        self._locked: dict[str, float] = {}  # when each lock was taken, by its owner
        self._pool = ThreadPoolExecutor(_SECOND_WRITES, thread_name_prefix="second record")

    def publish(
        self, host: Hostname, kinds: Iterable[RecordType], deadline: Deadline
    ) -> dict[RecordType, RecordOutcome]:
        """Bring records to the stored state of their host; raise the errors of both halves."""
        return self.complete(self.begin(host, deadline), kinds)

    def begin(self, host: Hostname, deadline: Deadline, update: Update | None = None) -> Attempt:
        """Store an update if there is one, and lock its host; `complete` does the rest.

        Raises:
            HostBusy: another update of the host doesn't end before the deadline.
            StoreUnavailable: the update could not be stored.

        """
        owner, now = new_owner(), self._clock()
        known = self._store.records.lock(host, owner, now, update, GRACE_SECONDS)
        if known is None:
            known = wait_for_host(
                host, lambda: self._store.records.lock(host, owner, self._clock()), deadline
            )
        self._locked[owner] = now
        return Attempt(host, owner, known, deadline)

    def complete(
        self, attempt: Attempt, kinds: Iterable[RecordType]
    ) -> dict[RecordType, RecordOutcome]:
        """Bring records of a locked host to its desired state, and unlock it.

        A newer update may have changed the desired state, so the caller has to compare the outcome.
        A record without a desired state has no outcome. A failure is stored, and the reconciler
        tries again later.

        Raises:
            StoreUnavailable: the outcome could not be stored.
            OperatorError, TransientError: Hetzner refuses or can't accept one of the records.

        """
        outcomes: dict[RecordType, RecordOutcome] = {}
        errors: list[DyndnsError] = []
        results: list[Result] = []
        due: list[Record] = []
        try:
            for record in (attempt.known[kind] for kind in kinds if kind in attempt.known):
                outcomes[record.type] = RecordOutcome(record.desired, Change.CACHED)
                if self.is_up_to_date(record):
                    continue
                seconds = record.waits_for(self._clock())
                if seconds:
                    errors.append(_stored_error(record, seconds))
                else:
                    due.append(record)
            if due:
                results = self._bring(attempt, due)
                errors += [one.error for one in results if one.error is not None]
                for one in [one for one in results if isinstance(one, Accepted)]:
                    change = Change.UNCHANGED if one.change is None else Change(one.change.event)
                    outcomes[one.record.type] = RecordOutcome(one.record.desired, change)
        finally:
            self._locked.pop(attempt.owner, None)
            try:
                self._unlock(attempt, results)
            except StoreUnavailable:
                if not errors:  # otherwise the update is stored, and the caller gets that error
                    raise
        if errors:
            try:
                raise errors[0]
            finally:
                # The traceback refers to these lists: an error in them would keep connections open.
                errors.clear()
                results.clear()
        return outcomes

    def is_up_to_date(self, record: Record) -> bool:
        """Whether a record is accepted, and was verified within `REQUEST_CACHE_TTL`.

        With many hosts, the verifier reads whole zones, and accepted records count as verified.
        """
        if record.state not in (State.PUBLISHING, State.PUBLISHED):
            return False
        if record.checked_at > 0 and self._is_checked_elsewhere():
            return True
        now = self._clock()
        # After the clock was set back, neither time may count for too long.
        is_fresh = 0 <= now - record.checked_at < self._cache_ttl
        return is_fresh or 0 < record.verify_after - now <= _VERIFY_PAUSE

    def read(
        self, host: Hostname, deadline: Deadline
    ) -> tuple[Location, Mapping[RecordType, RRSet]]:
        """Find the zone of a host and read both families; list zones again if the zone is gone.

        Raises:
            OperatorError, TransientError: as calls to Hetzner do.

        """
        location = self._zones.find(host, deadline)
        try:
            return location, location.zone.project.read(location, deadline)
        except (NotFound, SecondaryZone):
            self._zones.invalidate()
        location = self._zones.find(host, deadline)
        try:
            return location, location.zone.project.read(location, deadline)
        except NotFound:
            name = location.zone.name
            raise HetznerBusy(f"Hetzner lists the zone {name}, but doesn't find it.") from None

    def keep_locks(self) -> None:
        """Renew the locks of this process. Call this every few seconds: Hetzner may be slow."""
        now = self._clock()
        owners = [one for one, at in list(self._locked.items()) if now - at < _LONGEST_LOCK]
        if owners:
            self._store.leases.renew(owners, now, LOCK_SECONDS)

    def _bring(self, attempt: Attempt, due: Sequence[Record]) -> list[Result]:
        """Bring records to their desired state; those of both families at the same time."""
        host, deadline, now = attempt.host, attempt.deadline, self._clock()
        found: Mapping[RecordType, RRSet]
        try:
            location = self._zones.find(host, deadline)
            project = location.zone.project
            if project.api.is_short and not all(record.is_accepted for record in due):
                self.shares.take(host)
            # If Hetzner certainly holds the last published record, it isn't read before the write.
            # A process that has just started may have another RECORD_TTL.
            ttl, seconds = self.ttl_of(host) or project.chosen_ttl, _KNOWN_FOR * self._cache_ttl
            found = {
                record.type: RRSet({record.published.ip: record.comment}, ttl)
                for record in due
                if record.published is not None
                and record.desired.address not in (None, record.published)
                and record.state is State.PENDING
                and not record.attempts
                and self._began <= record.checked_at <= now < record.checked_at + seconds
            }
            if len(found) < len(due):
                location, found = self.read(host, deadline)
        except DyndnsError as error:
            return [self._failed(record, error) for record in due]
        others = [
            self._pool.submit(self._write, record, location, found, deadline) for record in due[1:]
        ]
        first = self._write(due[0], location, found, deadline)
        return [first, *(other.result() for other in others)]

    def _write(
        self,
        record: Record,
        location: Location,
        found: Mapping[RecordType, RRSet],
        deadline: Deadline,
    ) -> Result:
        """Write the desired state of one record to Hetzner, where `found` is."""
        rrset = seen = found.get(record.type)
        exists, is_again = False, False
        try:
            while True:
                if rrset is not None and len(rrset.comments) > 1:
                    self._warn_of_several(record, rrset)
                try:
                    written = location.zone.project.put(
                        location,
                        record.desired,
                        rrset,
                        deadline,
                        replaced=record.published,
                        rewrite=record.is_doubtful or exists,
                        ttl=self.ttl_of(record.host),
                    )
                    break
                except (AlreadyExists, NotFound, SecondaryZone) as error:  # it has changed
                    if is_again:
                        raise _contradiction(record, is_listed=rrset is not _UNLISTED) from None
                    is_again, exists = True, isinstance(error, AlreadyExists)
                location, found = self.read(record.host, deadline)
                seen = found.get(record.type)
                rrset = _UNLISTED if exists and seen is None else seen
        except DyndnsError as error:
            return self._failed(record, error)
        if exists and written.change is Change.UNCHANGED:  # an earlier write of ours created it
            return _accepted(record, written._replace(change=Change.CREATED), None)
        return _accepted(record, written, seen)

    def _warn_of_several(self, record: Record, rrset: RRSet) -> None:
        """Report that an update replaces several records, before it does so."""
        host, kind = record.host, record.type
        event = SeveralRecords(host, kind, str(rrset), str(record.desired.address or "none"))
        entry = entry_of(record, self._clock(), "several", event.values, event.new, _SEVERAL)
        with self._store.transaction():
            if self._store.history.add_once(entry, kind.value):
                self._reporter.report(event)

    def _failed(self, record: Record, error: DyndnsError) -> Result:
        """Return the result of an error. A check that Hetzner can't answer now is only delayed."""
        now = self._clock()
        if isinstance(error, OperatorError):
            pause = pause_after(
                record.attempts, first=_FIRST_REFUSED_PAUSE, longest=LONGEST_REFUSED_PAUSE
            )
            # A request looks for the zone again: the list of zones bounds the calls for that.
            is_cheap = isinstance(error, (ZoneNotFound, SecondaryZone))
            until = 0.0 if is_cheap else now + pause
            return Failed(record, State.REFUSED, error, now + pause, until)
        if record.is_accepted:
            return Delayed(record, verify_after=now + _VERIFY_PAUSE)
        if isinstance(error, ShareUsedUp) and record.state is State.REFUSED:
            # Hetzner wasn't called, so the earlier error, which the operator has to fix, remains.
            return Delayed(record, retry_at=now + error.retry_after, error=error)
        return Failed(record, State.PENDING, error, now + pause_after(record.attempts, error))

    def _unlock(self, attempt: Attempt, results: Sequence[Result]) -> None:
        """Store the results, unlock the host, and report new events."""
        now = self._clock()
        with self._store.transaction():  # with the pushes, which a kill must not lose
            noted = self._store.records.unlock(attempt.host, attempt.owner, results, now)
            for result, (notice, rivals) in zip(results, noted):
                record = result.record
                host, kind = record.host, record.type
                if isinstance(result, Accepted):
                    change, new = result.change, str(record.desired.address or "none")
                    event: Confirmed | Published = Confirmed(host, kind)
                    if change is not None:
                        network = network_of(record.requester.source)
                        old = change.old or "none"
                        spread = 0.0
                        if self._pushes_changes and self._store.conditions.has_neighbour(host, old):
                            spread = _SPREAD_SECONDS
                        event = Published(host, kind, old, new, change.why, network, spread)
                    self._reporter.report(event)
                if rivals:
                    self._reporter.report(Contested(host, kind, " and ".join(rivals)))
                if notice is not None:
                    report_notice(self._reporter, result, notice, now)


def report_notice(reporter: EventSink, result: Result, notice: Notice, now: float) -> None:
    """Report a new error of a record, or that its error has cleared.

    It is pushed unless the host's other record has the same error.
    """
    record = result.record
    event: Event = Cleared(record.host, record.type, now - record.desired_at)
    if isinstance(result, Failed):
        error = result.error
        event = Postponed(record.host, record.type, str(error))
        if result.state is State.REFUSED:
            event = Refused(record.host, record.type, str(error), type(error).__name__)
    reporter.report(event, quietly=notice is Notice.RECORD)


def _contradiction(record: Record, *, is_listed: bool) -> HetznerBusy:
    name = f"the {record.type.value} record of {record.host}"
    if is_listed:
        hint = "if this lasts, stop other programs that change it."
        return HetznerBusy(f"Another client creates and deletes {name} at Hetzner", hint=hint)
    hint = "if this lasts, check the zone at console.hetzner.com, or contact Hetzner's support."
    return HetznerBusy(f"Hetzner answers that {name} exists, but doesn't list it", hint=hint)


def _stored_error(record: Record, seconds: float) -> DyndnsError:
    """Return the error of the last attempt again, without another attempt."""
    text = f"{record.error} {record.hint}".rstrip()
    return ChangeRefused(text) if record.state is State.REFUSED else HetznerBusy(text, seconds)


def _accepted(record: Record, written: Written, rrset: RRSet | None) -> Accepted:
    """Return the result of a write that replaced this RRSet."""
    note, is_unchanged = None, written.change is Change.UNCHANGED
    # If the answer to an earlier attempt was lost, the record already has the new address.
    if not is_unchanged or record.published != record.desired.address:
        old = record.published if is_unchanged else rrset
        why = f"requested by {record.requester.source or 'the operator'}"
        if record.is_accepted:
            why = "restored: it was changed at Hetzner"
        elif record.attempts:
            why = f"{why}, done at attempt {record.attempts + 1}"
        note = ChangeNote(written.change.value, None if old is None else str(old), why)
    return Accepted(record, next(iter(written.actions), None), note, written.comment)
