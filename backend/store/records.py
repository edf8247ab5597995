"""The desired and the accepted state of every record, and the work that is due."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Any, Iterable, NamedTuple, Sequence, Union

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.errors import DyndnsError, not_registered
from backend.model import Hostname, RecordType, Requester, Update
from backend.store.database import Database, excluded
from backend.store.hosts import (
    SHORTLY,
    Record,
    State,
    first_generation,
    is_listed,
    is_past,
    is_registered,
    read_record,
    rivals,
)
from backend.store.leases import Leases, new_owner
from backend.store.schema import SKEW_SECONDS, Entry, add_entry, hosts, records, reports, run

# Hetzner takes 2 to 17 seconds to publish a change, usually 4.
FIRST_POLL = 4.0
LOCK_SECONDS = 20.0
_WAITING = (State.PENDING.value, State.REFUSED.value)
# An error may have another text at every attempt: only this many are reported for a record.
_MOST_ERRORS = 5
_DONE = {"action": None, "attempts": 0, "error": "", "hint": ""}
_OF_DESIRED = ("desired", "desired_at", "source", "protocol", "retry_at")
_OF_HOST = sa.select(records).where(records.c.host == sa.bindparam("name"))
_LEAVING = sa.select(hosts.c.host).where(
    hosts.c.host == sa.bindparam("name"), hosts.c.leaving.is_not(None)
)
# Built once: building a statement takes longer than running it.
_OF_RECORD = records.update().where(
    records.c.host == sa.bindparam("a_host"), records.c.type == sa.bindparam("a_type")
)
_OF_GENERATION = _OF_RECORD.where(records.c.generation == sa.bindparam("a_generation"))
_OF_ACTION = _OF_GENERATION.where(
    records.c.action == sa.bindparam("an_action"), records.c.state == State.PUBLISHING.value
)
_CLEAR_ERRORS = reports.delete().where(
    reports.c.subject == sa.bindparam("a_host"), reports.c.key.like(sa.bindparam("keys"))
)
_OF_NEWER = _OF_RECORD.where(records.c.generation != sa.bindparam("a_generation"))


class Notice(enum.Enum):
    """A new error of a record, or the end of its errors: for the record only, or for the host."""

    RECORD = "record"  # the host fails in the same way already, or its other record still fails
    HOST = "host"


class Noted(NamedTuple):
    """The facts about a stored result that are reported."""

    notice: Notice | None = None  # None: nothing new
    rivals: Sequence[str] = ()  # the sources of requests that change the record back and forth


class ChangeNote(NamedTuple):
    """The entry of an accepted change in the history."""

    event: str
    old: str | None
    why: str


@dataclass(frozen=True)
class Accepted:
    """Hetzner has accepted the desired state, or holds it already (then without an action)."""

    record: Record
    action: int | None = None
    change: ChangeNote | None = None
    comment: str = ""
    error: None = None


@dataclass(frozen=True)
class Failed:
    """The desired state could not be published: it is `PENDING`, or `REFUSED`.

    Requests try again before `retry_at`, but not before `verify_after`.
    """

    record: Record
    state: State
    error: DyndnsError
    retry_at: float
    verify_after: float = 0.0


@dataclass(frozen=True)
class Delayed:
    """Hetzner wasn't asked, or didn't answer: only one of the times changes.

    `error` is for the caller only.
    """

    record: Record
    retry_at: float | None = None
    verify_after: float | None = None
    error: DyndnsError | None = None


Result = Union[Accepted, Failed, Delayed]


class Records:
    """The records. Times are UTC seconds; every method raises `StoreUnavailable`."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        self._of_host = database.prepared(_OF_HOST)
        columns = excluded(records)
        new = {name: columns[name] for name in (*_OF_DESIRED, "state", "attempts", "verify_after")}
        new["generation"] = records.c.generation + 1
        upsert = database.upsert(records, new, records.c.desired.is_distinct_from(columns.desired))
        self._set_desired = upsert.values(
            **{name: sa.bindparam(name) for name in ("host", "type", *_OF_DESIRED)},
            state=State.PENDING.value,
            attempts=0,
            generation=sa.bindparam("generation"),
            checked_at=0.0,
            verify_after=0.0,
            error="",
        )

    def of(self, host: Hostname) -> dict[RecordType, Record]:
        """Return the records of a host, with one indexed read."""
        found = map(read_record, self._database.fetch(self._of_host, host.text))
        return {record.type: record for record in found}

    def set_desired(self, update: Update, now: float, grace: float) -> None:
        """Store the desired state before Hetzner is asked.

        A new desired state becomes pending; the same one again changes nothing. For `grace` seconds
        only the request itself tries to publish it. An error stays until it is cleared.
        """
        with self._database.write() as connection:
            # Another process may have removed the host since the request was authorized.
            if run(connection, _LEAVING, {"name": update.host.text}).fetchone() is not None:
                raise not_registered(update.host)
            for desired in sorted(update.desired, key=lambda one: one.type.value):
                row = {
                    "host": update.host.text,
                    "type": desired.type.value,
                    "desired": None if desired.address is None else str(desired.address.ip),
                    "desired_at": now,
                    "source": update.requester.source,
                    "protocol": update.requester.protocol,
                    "retry_at": now + grace,
                    "generation": first_generation(now),
                }
                run(connection, self._set_desired, row)

    def lock(
        self,
        host: Hostname,
        owner: str,
        now: float,
        update: Update | None = None,
        grace: float = 0,
    ) -> dict[RecordType, Record] | None:
        """Store an update if there is one, lock the host, and return its records.

        All in one transaction. Returns `None` if another owner has the lock; the update is stored
        all the same.
        """
        with self._database.write() as connection:
            if update is not None:
                self.set_desired(update, now, grace)
            if not self._leases.acquire(f"host {host.text}", owner, now, LOCK_SECONDS):
                return None
            found = map(read_record, run(connection, _OF_HOST, {"name": host.text}))
            return {record.type: record for record in found}

    def unlock(
        self, host: Hostname, owner: str, results: Sequence[Result], now: float
    ) -> list[Noted]:
        """Store the results for the records of a locked host, and unlock it, in one transaction.

        A desired state that is newer than its result stays pending.
        """
        with self._database.write() as connection:
            noted = [self._note(connection, result, now) for result in results]
            self._leases.release(f"host {host.text}", owner)
        return noted

    def note(self, result: Result, now: float) -> Notice | None:
        """Store the result for one record, without a lock."""
        with self._database.write() as connection:
            return self._note(connection, result, now).notice

    def note_actions(
        self, polled: Iterable[tuple[Record, float | None]]
    ) -> list[tuple[Record, Notice | None]]:
        """Store when the actions of records are polled next; `None`: they have succeeded.

        Returns the records that are published now. The transaction isn't durable: after a power
        failure, the actions are polled again.
        """
        published = []
        with self._database.write(durable=False) as connection:
            for record, poll_at in sorted(polled, key=lambda one: (one[0].host, one[0].type.value)):
                done = {"state": State.PUBLISHED.value, **_DONE}
                new = {"poll_action_at": poll_at} if poll_at is not None else done
                key = {**_key(record), "an_action": record.action}
                is_current = run(connection, _OF_ACTION, {**key, **new}).rowcount == 1
                if is_current and poll_at is None:
                    published.append((record, _clear_errors(connection, record)))
        return published

    def due_retries(self, now: float, limit: int) -> list[Record]:
        """Return the records whose next attempt is due, the longest overdue first."""
        has_come = is_past(records.c.retry_at, now)
        is_due = sa.and_(records.c.state.in_(_WAITING), has_come, is_registered(now))
        return self._read(is_due, limit, records.c.retry_at)

    def due_polls(self, now: float, limit: int) -> list[Record]:
        """Return the records whose action is due to be polled, the longest overdue first."""
        has_come = is_past(records.c.poll_action_at, now)
        is_due = sa.and_(records.c.state == State.PUBLISHING.value, has_come)
        return self._read(is_due, limit, records.c.poll_action_at)

    def retry_now(self, state: State, now: float) -> None:
        """Make every record in a state due."""
        waiting = sa.and_(records.c.state == state.value, records.c.retry_at > now)
        with self._database.write() as connection:
            connection.execute(records.update().where(waiting).values(retry_at=now))

    def unverified(self, before: float, now: float, limit: int) -> list[Record]:
        """Return published records not confirmed since a time, of hosts last seen after that.

        A record that was confirmed in the future is due, too: the clock was set back since.
        """
        was_seen = sa.exists().where(
            hosts.c.host == records.c.host, hosts.c.seen_at > records.c.checked_at
        )
        is_due = sa.and_(
            records.c.state == State.PUBLISHED.value,
            sa.or_(
                sa.and_(records.c.checked_at <= before, was_seen),
                records.c.checked_at > now + SKEW_SECONDS,
            ),
            is_registered(now),
        )
        return self._read(is_due, limit, records.c.checked_at)

    def in_zone(self, zone: str, now: float) -> list[tuple[Record, float]]:
        """Return the published records of a zone, each with when its host was last seen."""
        is_inside = sa.or_(
            records.c.host == zone, records.c.host.endswith(f".{zone}", autoescape=True)
        )
        query = (
            sa.select(records, hosts.c.seen_at)
            .join(hosts, hosts.c.host == records.c.host)
            .where(records.c.state == State.PUBLISHED.value, is_listed(now), is_inside)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [(read_record(row[:-1]), row.seen_at or 0.0) for row in rows]

    def confirm(self, seen: Iterable[tuple[Record, str]], now: float) -> None:
        """Store that Hetzner holds the desired state of some records, each with this comment."""
        # Several rows are always written in this order, so that two processes can't deadlock.
        ordered = sorted(seen, key=lambda one: (one[0].host, one[0].type.value))
        rows = [{**_key(one), "checked_at": now, "comment": comment} for one, comment in ordered]
        if rows:
            with self._database.write() as connection:
                connection.execute(_OF_GENERATION, rows)

    def doubt(self, record: Record) -> None:
        """Store that a record isn't up to date until Hetzner confirms it."""
        with self._database.write() as connection:
            connection.execute(_OF_GENERATION, {**_key(record), "checked_at": 0.0})

    def retry(self, host: Hostname, now: float) -> int:
        """Make the pending and refused records of a host due; return how many there are."""
        waiting = sa.and_(records.c.host == host.text, records.c.state.in_(_WAITING))
        with self._database.write() as connection:
            change = records.update().where(waiting).values(retry_at=now)
            return int(connection.execute(change).rowcount)

    def drop_update(self, host: Hostname, operator: Requester, now: float) -> int | None:
        """Drop desired states that Hetzner doesn't accept; return the number of records.

        The desired state becomes what was accepted last. If that may never have been published, it
        is written again. If nothing was ever accepted, the record isn't managed any more. Returns
        `None` while the host is being updated.
        """
        failed = sa.and_(records.c.host == host.text, records.c.error != "")
        lock, owner = f"host {host.text}", new_owner()
        with self._database.write() as connection:
            if not self._leases.acquire(lock, owner, now, 1):
                return None
            rows = connection.execute(sa.select(records).where(failed)).all()
            for record in map(read_record, rows):
                connection.execute(_dropping(record, now))
                kind, by = record.type.value, (operator.source, operator.protocol)
                entry = Entry(now, host.text, kind, "dropped", *by, why=record.error)
                add_entry(connection, entry)
            if rows:  # the next failure is reported again
                connection.execute(reports.delete().where(reports.c.subject == host.text))
            self._leases.release(lock, owner)
        return len(rows)

    def _read(
        self, condition: sa.ColumnElement[bool], limit: int, order: sa.Column[float]
    ) -> list[Record]:
        query = sa.select(records).where(condition).order_by(order).limit(limit)
        with self._database.read() as connection:
            return list(map(read_record, connection.execute(query)))

    def _note(self, connection: Connection, result: Result, now: float) -> Noted:
        record = result.record
        if isinstance(result, Accepted):
            notice = _note_accepted(connection, result, now)
            if result.change is None or now - (record.changed_at or 0.0) > SHORTLY:
                return Noted(notice)
            sources = rivals(connection, record.host.text, record.type.value, now)
            key = f"{record.host} {record.type.value}"
            if not (sources and self._leases.once("rivals", key, now)):
                return Noted(notice)
            why = f"two devices: requests from {' and '.join(sources)} change it back and forth"
            add_entry(connection, entry_of(record, now, "contested", None, None, why))
            return Noted(notice, sources)
        if isinstance(result, Failed):
            return Noted(self._note_failed(connection, result, now))
        times = {"retry_at": result.retry_at, "verify_after": result.verify_after}
        later = {name: at for name, at in times.items() if at is not None}
        run(connection, _OF_GENERATION, {**_key(record), **later})
        return Noted()

    def _note_failed(self, connection: Connection, failed: Failed, now: float) -> Notice | None:
        record, error = failed.record, failed.error
        values = {
            **_key(record),
            "state": failed.state.value,
            "attempts": record.attempts + 1,
            "retry_at": failed.retry_at,
            "verify_after": failed.verify_after,
            "error": error.seen,
            "hint": error.hint,
        }
        if run(connection, _OF_GENERATION, values).rowcount != 1:
            return None  # a newer desired state came in: this one's failure doesn't matter
        query = sa.select(reports.c.key).where(reports.c.subject == record.host.text)
        known = [row.key.split(" ", 2) for row in connection.execute(query)]
        kind, text = record.type.value, str(error)
        if sum(1 for one, _, _ in known if one == kind) >= _MOST_ERRORS:
            return None
        event = "refused" if failed.state is State.REFUSED else "postponed"
        key = f"{kind} {event} {text}"
        if not self._leases.once(record.host.text, key, now, math.inf):
            return None
        address = record.desired.address
        desired = None if address is None else str(address.ip)
        add_entry(connection, entry_of(record, now, event, None, desired, text))
        # An outage has a different error now and then: the host is waiting all the same.
        is_known = any(
            other == event and (event == "postponed" or one == text) for _, other, one in known
        )
        return Notice.RECORD if is_known else Notice.HOST


def _note_accepted(connection: Connection, accepted: Accepted, now: float) -> Notice | None:
    record, action, change = accepted.record, accepted.action, accepted.change
    address = record.desired.address
    published = None if address is None else str(address.ip)
    held: dict[str, Any] = {"published": published, "checked_at": now, "verify_after": 0.0}
    held["comment"] = accepted.comment
    if action is not None:
        held["accepted_at"] = now
    if change is not None:
        held["changed_at"] = now
        entry = entry_of(record, now, change.event, change.old, published, change.why)
        add_entry(connection, entry)
    state: dict[str, Any] = {}
    if action is not None:
        # The failure of an action is cleared by the end of the next one.
        state = _DONE if record.action is None else {}
        state = {**state, "state": State.PUBLISHING.value, "action": action}
        state["poll_action_at"] = now + FIRST_POLL
    elif record.state is not State.PUBLISHING:  # else the action that publishes it still runs
        state = {"state": State.PUBLISHED.value, **_DONE}
    if run(connection, _OF_GENERATION, {**_key(record), **held, **state}).rowcount == 1:
        return _clear_errors(connection, record) if "error" in state else None
    # Hetzner may have accepted a newer desired state before this one: it has to be written again.
    again = {**held, "state": State.PENDING.value, "retry_at": now}
    run(connection, _OF_NEWER, {**_key(record), **again})
    return None


def entry_of(  # noqa: PLR0913, PLR0917
    record: Record, at: float, event: str, old: str | None, new: str | None, why: str
) -> Entry:
    """Return the entry of an event in the history of a record."""
    host, kind, by = record.host.text, record.type.value, record.requester
    return Entry(at, host, kind, event, by.source, by.protocol, old, new, why)


def _clear_errors(connection: Connection, record: Record) -> Notice | None:
    """Delete the reported errors of a record in the transaction of its success."""
    mine = {"a_host": record.host.text, "keys": f"{record.type.value} %"}
    if not run(connection, _CLEAR_ERRORS, mine).rowcount:
        return None
    others = sa.select(reports.c.key).where(reports.c.subject == record.host.text)
    return Notice.RECORD if connection.execute(others).first() else Notice.HOST


def _key(record: Record) -> dict[str, Any]:
    """Return the parameters by which the statements above find a record."""
    kind = record.type.value
    return {"a_host": record.host.text, "a_type": kind, "a_generation": record.generation}


def _dropping(record: Record, now: float) -> sa.Update | sa.Delete:
    this = sa.and_(records.c.host == record.host.text, records.c.type == record.type.value)
    cleared = {"error": "", "hint": "", "attempts": 0}
    if record.is_accepted:
        return records.update().where(this).values(**cleared)
    if record.published is None and record.accepted_at is None:
        return records.delete().where(this)
    dropped = {
        "desired": None if record.published is None else str(record.published),
        # A late answer to the dropped update no longer matches.
        "generation": record.generation + 1,
        "state": (State.PENDING if record.is_doubtful else State.PUBLISHED).value,
        "retry_at": now,
        "checked_at": 0.0,
        "verify_after": 0.0,
    }
    return records.update().where(this).values(**cleared, **dropped)
