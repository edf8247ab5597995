"""Answers updates: from the cache, or by publishing them within a time limit."""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as FutureTimeout
from typing import Any, Callable, Mapping, TypeVar

from backend.errors import (
    BadAddress,
    DyndnsError,
    HetznerBusy,
    HetznerUnreachable,
    HostBusy,
    OperatorError,
    StoreUnavailable,
    Superseded,
    TransientError,
)
from backend.events import AnsweredFromCache, PrefixIgnored
from backend.hetzner.dns import RRSet
from backend.metrics import Meters
from backend.model import (
    ANSWER_SECONDS,
    Address,
    Change,
    Deadline,
    DesiredRecord,
    Hostname,
    Outcome,
    RecordOutcome,
    RecordType,
    Update,
)
from backend.notify.reporter import Reporter
from backend.store import Store
from backend.store.history import History
from backend.store.hosts import Hosts, Record
from backend.store.schema import Entry
from backend.sync.publisher import GRACE_SECONDS, Attempt, Publisher

logger = logging.getLogger(__name__)

# A host without an AAAA record must not cost a call to Hetzner at each request.
_MISS_SECONDS = 300.0
# Each waiting request occupies a request thread, and unchanged updates need some of these.
_MOST_WAITING = 6

T = TypeVar("T")

Reading = Callable[[Hostname, Deadline], Mapping[RecordType, RRSet]]


class HostParts:
    """Completes updates that contain a prefix. Safe to share between threads."""

    def __init__(
        self,
        read: Reading,
        history: History,
        reporter: Reporter,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._history = history
        self._reporter = reporter
        self._clock = clock
        self._missed: dict[Hostname, float] = {}  # when Hetzner had no AAAA record

    def complete(
        self, update: Update, known: Mapping[RecordType, Record], deadline: Deadline
    ) -> Update:
        """Replace the prefix of an update by an address with the host part of the AAAA record.

        Without an AAAA record the prefix is ignored.

        Raises:
            BadAddress: the update contains nothing else.
            OperatorError, TransientError: as calls to Hetzner do.

        """
        if update.prefix is None:
            return update
        part = self._host_part(update, known.get(RecordType.AAAA), deadline)
        if part is not None:
            address = Address.parse(update.prefix.address_of(part))
            desired = (*update.desired, DesiredRecord(RecordType.AAAA, address))
        elif update.desired:
            desired = update.desired
        else:
            raise BadAddress(
                f"{update.prefix} is the prefix of a network, and the host part of {update.host} "
                "is unknown: send its address once, or enter its host part in its settings."
            )
        return Update(update.host, desired, update.requester)

    def _host_part(
        self, update: Update, record: Record | None, deadline: Deadline
    ) -> ipaddress.IPv6Address | None:
        host = update.host
        if record is not None:
            address = record.desired.address or record.published
            if address is not None and isinstance(address.ip, ipaddress.IPv6Address):
                return address.ip
        missed = self._missed.get(host)
        if missed is not None and 0 <= self._clock() - missed < _MISS_SECONDS:
            return None
        rrset = self._read(host, deadline).get(RecordType.AAAA)
        found = () if rrset is None else rrset.comments
        part = next((one for one in found if isinstance(one, ipaddress.IPv6Address)), None)
        if part is None:
            now = self._missed[host] = self._clock()
            event = PrefixIgnored(host, update.requester.source, str(update.prefix))
            entry = Entry(
                at=now,
                host=host.text,
                type="AAAA",
                event="partial" if update.desired else "rejected",
                source=event.source,
                protocol=update.requester.protocol,
                new=event.prefix,
                why="a prefix was ignored: the host part of the host is unknown",
            )
            if self._history.add_once(entry, "prefix"):
                self._reporter.report(event)
        return part


class HostSlots:
    """Gives each host at most one slot; one more request of the same host may wait for it.

    `otherwise` says in messages what happens to a request without a slot.
    """

    def __init__(self, number: int, otherwise: str = "this update is queued") -> None:
        self._otherwise = otherwise
        self._free = number
        self._busy: set[Hostname] = set()
        self._waiting: set[Hostname] = set()
        self._changed = threading.Condition()

    def acquire(self, host: Hostname, deadline: Deadline) -> None:
        """Take the slot of a host.

        A request may wait for another one of the same host, since routers send A and AAAA as two
        requests at once. It never waits for other hosts.

        Raises:
            HostBusy: another request of the host waits already, or the wait takes too long.
            HetznerBusy: other hosts have all slots.
            HetznerUnreachable: the deadline has passed.

        """
        deadline.remaining()
        with self._changed:
            must_wait = host in self._busy
            if host in self._waiting or (must_wait and len(self._waiting) >= _MOST_WAITING):
                raise HostBusy(f"Other updates of {host} aren't finished: {self._otherwise}.")
            if must_wait:
                self._waiting.add(host)
                try:
                    self._changed.wait_for(lambda: host not in self._busy, deadline.remaining())
                finally:
                    self._waiting.remove(host)
                if host in self._busy:
                    raise HostBusy(f"Another update of {host} isn't finished.")
            if not self._free:
                raise HetznerBusy(f"Many updates are waiting for Hetzner: {self._otherwise}.")
            self._free -= 1
            self._busy.add(host)

    def release(self, host: Hostname) -> None:
        with self._changed:
            self._free += 1
            self._busy.remove(host)
            self._changed.notify_all()


class ActivityBuffer:
    """Collects last-seen times, so that an unchanged update doesn't write to the store itself.

    Safe to share between threads.
    """

    def __init__(self, hosts: Hosts, clock: Callable[[], float] = time.time) -> None:
        self._hosts = hosts
        self._clock = clock
        self._lock = threading.Lock()
        self._gathered: dict[Hostname, float] = {}

    def note(self, host: Hostname, at: float) -> None:
        """Note that a host was seen (UTC seconds)."""
        with self._lock:
            self._gathered[host] = at

    def flush(self) -> None:
        """Write the collected times; keep them if the store is unavailable."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
        if not gathered:
            return
        try:
            self._hosts.see(gathered, self._clock())
        except StoreUnavailable:
            with self._lock:
                self._gathered = {**gathered, **self._gathered}
            raise


class Updater:
    """Applies updates. Safe to share between threads.

    At most `threads` updates call Hetzner at a time, one for each host, and `queued` more wait for
    that. So the other request threads answer unchanged updates, however slow Hetzner is.
    """

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        publisher: Publisher,
        activity: ActivityBuffer,
        reporter: Reporter,
        *,
        threads: int,
        queued: int,
        meters: Meters | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._activity = activity
        self._reporter = reporter
        self._meters = meters or Meters()
        self._clock = clock
        self._host_parts = HostParts(self._read, store.history, reporter)
        self._slots = HostSlots(threads + queued)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="publish")

    def apply(self, update: Update, deadline: Deadline | None = None) -> Outcome:
        """Apply an update by a deadline, which several updates may share.

        Raises:
            BadAddress: the update brings only the prefix of a network, and the host part of the
                address isn't known.
            OperatorError: Hetzner refuses it until the operator changes something.
            TransientError: it is published later; or not stored, if the store is unavailable.

        """
        deadline = deadline or Deadline(ANSWER_SECONDS)
        with self._meters.update(update.requester.protocol) as measured:
            now = self._clock()
            self._activity.note(update.host, now)
            known = self._store.records.of(update.host)
            if update.prefix is not None:
                try:
                    update = self._host_parts.complete(update, known, deadline)
                except (OperatorError, TransientError):
                    # The records without a prefix are stored; their own attempt reports the error.
                    self._store.records.set_desired(update, self._clock(), 0)
                    raise
            outcome = self._from_cache(update, known)
            if outcome is None:
                kinds = [one.type for one in update.desired]
                attempt = self._begin(update, deadline)
                outcomes = self._in_time(
                    update.host, deadline, lambda: self._publisher.complete(attempt, kinds)
                )
                # The operator may have dropped the update while it waited for the host's lock.
                records = tuple(outcomes[kind] for kind in kinds if kind in outcomes)
                if tuple(one.desired for one in records) != update.desired:
                    newer = f"A newer update for {update.host}"
                    raise Superseded(f"{newer} has replaced this update.")
                outcome = Outcome(update.host, records)
            changes = [one.change for one in outcome.records]
            new = [one for one in changes if one not in (Change.UNCHANGED, Change.CACHED)]
            measured.outcome = [*new, *changes][0].value
            return outcome

    def repeat(self, update: Update) -> bool:
        """Answer an update without a prefix from memory again; false if it isn't up to date now."""
        start = time.perf_counter()
        self._activity.note(update.host, self._clock())
        try:
            known = self._store.records.of(update.host)
        except StoreUnavailable:
            return False
        if self._from_cache(update, known) is None:
            return False
        seconds = time.perf_counter() - start
        self._meters.updated(update.requester.protocol, Change.CACHED.value, seconds)
        return True

    def stop(self) -> None:
        """Accept no more work; running work ends by its own time limit."""
        self._pool.shutdown(wait=False)

    def _from_cache(self, update: Update, known: Mapping[RecordType, Record]) -> Outcome | None:
        """Return the outcome of an update if its records are up to date, else `None`."""
        for desired in update.desired:
            record = known.get(desired.type)
            if record is None or record.desired != desired:
                return None
            if not self._publisher.is_up_to_date(record):
                return None
        for desired in update.desired:
            self._reporter.report(AnsweredFromCache(update.host, desired.type))
        records = tuple(RecordOutcome(desired, Change.CACHED) for desired in update.desired)
        return Outcome(update.host, records)

    def _read(self, host: Hostname, deadline: Deadline) -> Mapping[RecordType, RRSet]:
        self._slots.acquire(host, deadline)
        return self._in_time(host, deadline, lambda: self._publisher.read(host, deadline))[1]

    def _begin(self, update: Update, deadline: Deadline) -> Attempt:
        """Take a slot for an update, store it, and lock its host; without a slot, only store it.

        The update is stored before it waits for a thread, so that no newer update overtakes it.
        """
        host = update.host
        try:
            self._slots.acquire(host, deadline)
        except TransientError:
            self._store.records.set_desired(update, self._clock(), GRACE_SECONDS)
            raise
        try:
            return self._publisher.begin(host, deadline, update)
        except BaseException:
            self._slots.release(host)
            raise

    def _in_time(self, host: Hostname, deadline: Deadline, work: Callable[[], T]) -> T:
        """Do work on another thread, so that the caller is answered in time.

        The slot of the host is released when the work ends.
        """
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: self._slots.release(host))
        try:
            return future.result(deadline.remaining())
        except FutureTimeout:
            future.add_done_callback(_log_crash)
            raise HetznerUnreachable("Hetzner's API took too long to answer.") from None


def _log_crash(future: Future[Any]) -> None:
    """Log a bug in work whose caller has stopped waiting."""
    error = future.exception()
    if error is not None and not isinstance(error, DyndnsError):
        logger.error("An update failed after its request had been answered", exc_info=error)
