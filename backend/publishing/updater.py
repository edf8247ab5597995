"""The one use case: remember the wish, ask memory, else Hetzner, and answer in time."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError as FutureTimeout
from typing import Any, Callable, Dict, Mapping, Optional, TypeVar

from backend.errors import (
    DyndnsError,
    HetznerUnreachable,
    OperatorError,
    StoreUnavailable,
    Superseded,
    TransientError,
)
from backend.events import Remembered
from backend.hetzner.api import Deadline
from backend.hetzner.rrsets import RRSet
from backend.model import Change, Hostname, Outcome, RecordType, Settled, Update
from backend.publishing.host_parts import HostParts
from backend.publishing.publisher import Publisher, Result
from backend.publishing.slots import Slots
from backend.reporting.reporter import Reporter
from backend.store import Record, Store
from backend.watching.sightings import Sightings
from backend.workers.meters import Meters

# inadyn waits ten seconds for an answer; two of them are for the way.
ANSWER_SECONDS = 8.0
# So long background work leaves a new wish to the request that brought it.
_GRACE_SECONDS = 10.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Updater:
    """Applies updates. Safe to share between threads.

    At most `slots` updates wait for Hetzner at a time, one of each host; the threads left over
    answer the unchanged ones, however slow Hetzner is.
    """

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        publisher: Publisher,
        sightings: Sightings,
        reporter: Reporter,
        *,
        slots: int,
        meters: Optional[Meters] = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._sightings = sightings
        self._reporter = reporter
        self._meters = meters or Meters()
        self._clock = clock
        self._host_parts = HostParts(self._read, reporter)
        self._slots = Slots(slots)
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="publish")

    def apply(self, update: Update, deadline: Optional[Deadline] = None) -> Outcome:
        """Do what a host asks for, by a deadline that several updates may share.

        Raises:
            BadAddress: it brings the prefix of a network only, and the host has no host part.
            OperatorError: Hetzner refuses it until the operator changes something.
            TransientError: it could not be done now. Unless the store is away, the wish is kept.

        """
        deadline = deadline or Deadline(ANSWER_SECONDS)
        with self._meters.update(update.asker.face) as measured:
            outcome = self._apply(update, deadline)
            measured.outcome = _word(outcome)
            return outcome

    def repeat(self, update: Update) -> bool:
        """Do once more what was done from memory before; false when that isn't enough any more.

        It is an update without a prefix.
        """
        start = time.perf_counter()
        self._sightings.note(update.host, self._clock())
        try:
            known = self._store.records.of(update.host)
        except StoreUnavailable:
            return False
        if not self._is_settled(update, known):
            return False
        outcome = self._remembered(update)
        self._meters.updated(update.asker.face, _word(outcome), time.perf_counter() - start)
        return True

    def _apply(self, update: Update, deadline: Deadline) -> Outcome:
        now = self._clock()
        self._sightings.note(update.host, now)
        known = self._store.records.of(update.host)
        update = self._completed(update, known, deadline)
        if self._is_settled(update, known):
            return self._remembered(update)
        self._store.records.wish(update, now, _GRACE_SECONDS)
        return _outcome(update, self._publish(update, deadline))

    def stop(self) -> None:
        """Accept no more work; what is under way ends by its own time limit."""
        self._pool.shutdown(wait=False)

    def _completed(
        self, update: Update, known: Mapping[RecordType, Record], deadline: Deadline
    ) -> Update:
        try:
            return self._host_parts.complete(update, known, deadline)
        except (OperatorError, TransientError):
            # What needs no host part is not lost, and its own attempt tells the operator.
            self._store.records.wish(update, self._clock(), 0)
            raise

    def _is_settled(self, update: Update, known: Mapping[RecordType, Record]) -> bool:
        records = [known.get(wish.type) for wish in update.wishes]
        return all(
            record is not None and record.wanted == wish and self._publisher.is_settled(record)
            for record, wish in zip(records, update.wishes)
        )

    def _remembered(self, update: Update) -> Outcome:
        for wish in update.wishes:
            self._reporter.report(Remembered(update.host, wish.type))
        return Outcome(
            update.host, tuple(Settled(wish, Change.REMEMBERED) for wish in update.wishes)
        )

    def _read(self, host: Hostname, deadline: Deadline) -> Mapping[RecordType, RRSet]:
        return self._in_time(host, deadline, lambda: self._publisher.read(host, deadline))

    def _publish(self, update: Update, deadline: Deadline) -> Dict[RecordType, Result]:
        host, kinds = update.host, [wish.type for wish in update.wishes]
        return self._in_time(host, deadline, lambda: self._publisher.publish(host, kinds, deadline))

    def _in_time(self, host: Hostname, deadline: Deadline, ask: Callable[[], T]) -> T:
        """Ask Hetzner on another thread: whatever hangs there, the caller is answered in time."""
        deadline.remaining()  # nothing begins after the deadline
        self._slots.acquire(host, deadline)
        future = self._pool.submit(ask)
        future.add_done_callback(lambda _: self._slots.release(host))
        try:
            return future.result(deadline.remaining())
        except FutureTimeout:
            future.add_done_callback(_log_crash)
            raise HetznerUnreachable("Hetzner's API took too long to answer.") from None


def _outcome(update: Update, results: Dict[RecordType, Result]) -> Outcome:
    # The operator may have had a wish forgotten while it waited for its turn.
    settled = tuple(_settled(results[wish.type]) for wish in update.wishes if wish.type in results)
    if tuple(one.wish for one in settled) != update.wishes:
        raise Superseded(f"{update.host} is wanted otherwise by now: a newer update came in.")
    return Outcome(update.host, settled)


def _word(outcome: Outcome) -> str:
    """Return what became of an update in one word: of its first record that is new, if any is."""
    changes = [one.change for one in outcome.settled]
    news = [one for one in changes if one not in (Change.UNCHANGED, Change.REMEMBERED)]
    return [*news, *changes][0].value


def _settled(result: Result) -> Settled:
    if isinstance(result, DyndnsError):
        raise result
    return result


def _log_crash(future: Future[Any]) -> None:
    """Nobody waits for the answer any more, so nobody else would log this."""
    error = future.exception()
    if error is not None and not isinstance(error, DyndnsError):
        logger.error("A late update failed", exc_info=error)
