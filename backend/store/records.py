"""What each record shall be, what Hetzner has accepted of it, and what is left to do."""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Tuple

import sqlalchemy as sa

from backend.errors import DyndnsError
from backend.model import Hostname, RecordType, Update
from backend.store import schema
from backend.store.database import Database
from backend.store.record import (
    SKEW_SECONDS,
    Notice,
    Record,
    State,
    add_reported_error,
    clear_reported_errors,
    is_listed,
    is_past,
    is_registered,
    read_record,
)
from backend.store.schema import Entry, add_entry, hosts, records

# Hetzner takes 2 to 17 seconds to publish a change, 4 as a rule: asking earlier is a call wasted.
FIRST_POLL = 4.0


class ChangeNote(NamedTuple):
    """What the history shall say of an accepted wish."""

    event: str
    old: Optional[str]
    why: str


class Records:
    """The records. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._of_host = database.prepared(_OF_HOST)
        self._set_desired = _setting_desired(database.insert(records))

    def of(self, host: Hostname) -> Dict[RecordType, Record]:
        """Return what is known of a host's records: one indexed read."""
        rows = self._database.glance(self._of_host, host.text)
        found = [read_record(dict(zip(_COLUMNS, row))) for row in rows]
        return {record.type: record for record in found}

    def set_desired(self, update: Update, now: float, grace: float) -> None:
        """Remember what a host wants, before Hetzner is asked.

        A wish that is new becomes pending; the same wish again changes nothing. For `grace`
        seconds only the request itself tries to fulfil it. An error stays until it is cleared.
        """
        rows = [
            {
                "host": update.host.text,
                "type": desired.type.value,
                "desired": None if desired.address is None else str(desired.address),
                "desired_at": now,
                "source": update.requester.source,
                "protocol": update.requester.protocol,
                "retry_at": now + grace,
            }
            # In one order everywhere: two processes can't wait for each other's rows then.
            for desired in sorted(update.desired, key=lambda desired: desired.type.value)
        ]
        if rows:  # a prefix that waits for its host part is no wish yet
            with self._database.write() as connection:
                connection.execute(self._set_desired, rows)

    def due_retries(self, now: float, limit: int) -> List[Record]:
        """Return wishes whose next try has come, the longest overdue first."""
        names = (State.PENDING.value, State.REFUSED.value)
        has_come = is_past(records.c.retry_at, now)
        is_due = sa.and_(records.c.state.in_(names), has_come, is_registered(now))
        return self._first(is_due, records.c.retry_at, limit)

    def due_polls(self, now: float, limit: int) -> List[Record]:
        """Return accepted wishes whose action it is time to ask about, likewise."""
        has_come = is_past(records.c.poll_action_at, now)
        is_due = sa.and_(records.c.state == State.PUBLISHING.value, has_come)
        return self._first(is_due, records.c.poll_action_at, limit)

    def _first(
        self, condition: sa.ColumnElement[bool], order: sa.Column[float], limit: int
    ) -> List[Record]:
        query = sa.select(records).where(condition).order_by(order).limit(limit)
        with self._database.read() as connection:
            return [read_record(row) for row in connection.execute(query).mappings().all()]

    def retry_now(self, state: State, now: float) -> None:
        """Let every record in a state be tried now: what stood in the way may be gone."""
        waiting = sa.and_(records.c.state == state.value, records.c.retry_at > now)
        with self._database.write() as connection:
            connection.execute(records.update().where(waiting).values(retry_at=now))

    def accept(
        self,
        record: Record,
        action: Optional[int],
        now: float,
        note: Optional[ChangeNote] = None,
        *,
        comment: str = "",
    ) -> Notice:
        """Note that Hetzner has accepted a wish, or holds it already (no new action to follow).

        A newer wish is pending then, even if Hetzner had accepted it before this one. Return to
        whom it is news that the record is well again.
        """
        published = None if record.desired.address is None else str(record.desired.address)
        held: Dict[str, Any] = {
            "published": published,
            "checked_at": now,
            "verify_after": 0.0,
            "comment": comment,
        }
        if action is not None:
            held["accepted_at"] = now
        if note is not None:
            held["changed_at"] = now
        accepted = _accepted(record, action, now)
        with self._database.write() as connection:
            connection.execute(_this(record).values(**held))
            desired = this_generation(record).values(**accepted)
            is_current = bool(accepted) and connection.execute(desired).rowcount == 1
            connection.execute(_overtaken(record, now))
            if note is not None:
                entry = _entry(record, now, note.event, note.old, published, note.why)
                add_entry(connection, entry)
            is_well = is_current and "error" in accepted
            return clear_reported_errors(connection, record) if is_well else Notice.NONE

    def postpone(self, record: Record, error: DyndnsError, now: float, retry_at: float) -> Notice:
        """Note that a wish could not be fulfilled yet, or that its action failed."""
        return self._fail(record, State.PENDING, error, now, retry_at)

    def refuse(self, record: Record, error: DyndnsError, now: float, retry_at: float) -> Notice:
        """Note that a wish needs the operator."""
        return self._fail(record, State.REFUSED, error, now, retry_at)

    def _fail(
        self, record: Record, state: State, error: DyndnsError, now: float, retry_at: float
    ) -> Notice:
        failed = {
            "state": state.value,
            "attempts": record.attempts + 1,
            "retry_at": retry_at,
            "error": error.seen,
            "hint": error.hint,
        }
        event = "refused" if state is State.REFUSED else "postponed"
        with self._database.write() as connection:
            if connection.execute(this_generation(record).values(**failed)).rowcount != 1:
                return Notice.NONE  # a newer wish came in: how this one fared doesn't matter
            insert = self._database.insert(schema.reported_errors).on_conflict_do_nothing()
            notice = add_reported_error(connection, insert, record, str(error))
            if notice is not Notice.NONE:  # once a cause, not once an attempt
                add_entry(connection, _entry(record, now, event, None, None, str(error)))
            return notice

    def try_later(self, record: Record, at: float) -> None:
        """Note that a wish needn't be tried before a certain time."""
        with self._database.write() as connection:
            connection.execute(this_generation(record).values(retry_at=at))

    def finish(self, record: Record) -> Notice:
        """Note that Hetzner has published what it had accepted; return to whom that is news."""
        done = _this_action(record).values(state=State.PUBLISHED.value, **_DONE)
        with self._database.write() as connection:
            is_current = connection.execute(done).rowcount == 1
            return clear_reported_errors(connection, record) if is_current else Notice.NONE

    def poll_later(self, record: Record, at: float) -> None:
        """Note that Hetzner needn't be asked about a record's action before a certain time."""
        with self._database.write() as connection:
            connection.execute(_this_action(record).values(poll_action_at=at))


_DONE = {"action": None, "attempts": 0, "error": "", "hint": ""}


def _accepted(record: Record, action: Optional[int], now: float) -> Dict[str, Any]:
    """Return what a wish becomes; nothing when the action that publishes it runs already."""
    if action is None:
        done = {"state": State.PUBLISHED.value, **_DONE}
        return {} if record.state is State.PUBLISHING else done
    # The failure of an action is cleared by the end of the next one.
    cleared = _DONE if record.action is None else {}
    publishing = {
        "state": State.PUBLISHING.value,
        "action": action,
        "poll_action_at": now + FIRST_POLL,
    }
    return {**cleared, **publishing}


_OF_DESIRED = ("desired", "desired_at", "source", "protocol", "retry_at")
_COLUMNS = records.columns.keys()
_OF_HOST = sa.select(records).where(records.c.host == sa.bindparam("name"))


def _this(record: Record) -> sa.Update:
    return records.update().where(
        records.c.host == record.host.text, records.c.type == record.type.value
    )


def _setting_desired(insert: Any) -> Any:  # noqa: ANN401
    """Return the statement, made once: making it takes longer than running it."""
    values = insert.values(
        **{name: sa.bindparam(name) for name in ("host", "type", *_OF_DESIRED)},
        state=State.PENDING.value,
        attempts=0,
        generation=1,
        checked_at=0.0,
        error="",
    )
    new = {name: values.excluded[name] for name in (*_OF_DESIRED, "state", "attempts")}
    return values.on_conflict_do_update(
        index_elements=[records.c.host, records.c.type],
        set_={"generation": records.c.generation + 1, **new},
        where=records.c.desired.is_distinct_from(values.excluded.desired),
    )


def this_generation(record: Record) -> sa.Update:
    """Return an update of a record's row, unless a newer wish came in."""
    return _this(record).where(records.c.generation == record.generation)


def _overtaken(record: Record, now: float) -> sa.Update:
    newer = _this(record).where(records.c.generation != record.generation)
    return newer.values(state=State.PENDING.value, retry_at=now)


def _this_action(record: Record) -> sa.Update:
    is_followed = records.c.state == State.PUBLISHING.value
    return this_generation(record).where(records.c.action == record.action, is_followed)


def _entry(  # noqa: PLR0913, PLR0917
    record: Record, at: float, event: str, old: Optional[str], new: Optional[str], why: str
) -> Entry:
    return Entry(
        at=at,
        host=record.host.text,
        type=record.type.value,
        event=event,
        source=record.requester.source,
        protocol=record.requester.protocol,
        old=old,
        new=new,
        why=why,
    )


class Verifications:
    """When records were verified. Times are UTC seconds; every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self, before: float, now: float, limit: int) -> List[Record]:
        """Return published records not confirmed since a time, of hosts heard of since then.

        One that was confirmed in times to come is due, too: the clock was set back since.
        """
        was_heard = sa.exists().where(
            hosts.c.host == records.c.host, hosts.c.seen_at > records.c.checked_at
        )
        is_due = sa.and_(
            records.c.state == State.PUBLISHED.value,
            sa.or_(
                sa.and_(records.c.checked_at <= before, was_heard),
                records.c.checked_at > now + SKEW_SECONDS,
            ),
            is_registered(now),
        )
        query = sa.select(records).where(is_due).order_by(records.c.checked_at).limit(limit)
        with self._database.read() as connection:
            return [read_record(row) for row in connection.execute(query).mappings().all()]

    def in_zone(self, zone: str, now: float) -> List[Tuple[Record, float]]:
        """Return the published records of a zone, each with when its host was last heard of."""
        is_inside = sa.or_(
            records.c.host == zone, records.c.host.endswith(f".{zone}", autoescape=True)
        )
        query = (
            sa.select(records, hosts.c.seen_at)
            .join(hosts, hosts.c.host == records.c.host)
            .where(
                records.c.state == State.PUBLISHED.value,
                is_listed(now),
                is_inside,
            )
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [(read_record(row), row["seen_at"] or 0.0) for row in rows]

    def confirm(self, seen: Iterable[Tuple[Record, str]], now: float) -> None:
        """Note that Hetzner holds some records as they shall be, each with this comment."""
        rows = [
            {
                "a_host": record.host.text,
                "a_type": record.type.value,
                "a_generation": record.generation,
                "checked_at": now,
                "comment": comment,
            }
            # In one order everywhere: two processes can't wait for each other's rows then.
            for record, comment in sorted(seen, key=lambda one: (one[0].host, one[0].type.value))
        ]
        if rows:
            with self._database.write() as connection:
                connection.execute(_CONFIRMED, rows)

    def doubt(self, record: Record) -> None:
        """Note that Hetzner has to be asked about a record before it is taken for published."""
        with self._database.write() as connection:
            connection.execute(this_generation(record).values(checked_at=0.0))

    def postpone(self, record: Record, until: float) -> None:
        """Note that an accepted record is good without another check until a certain time."""
        with self._database.write() as connection:
            connection.execute(this_generation(record).values(verify_after=until))


_CONFIRMED = (
    records.update()
    .where(
        records.c.host == sa.bindparam("a_host"),
        records.c.type == sa.bindparam("a_type"),
        records.c.generation == sa.bindparam("a_generation"),
    )
    .values(checked_at=sa.bindparam("checked_at"), comment=sa.bindparam("comment"))
)
