"""What the operator looks at and changes: all records at once, mutes, leases, the signing key."""

from __future__ import annotations

import secrets
import uuid
from typing import Dict, List, Optional, Union

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.model import Hostname, Requester
from backend.store.database import Database
from backend.store.leases import Leases, new_owner, release
from backend.store.record import Record, State, read_record
from backend.store.schema import (
    Entry,
    add_entry,
    history,
    hosts,
    leases,
    meta,
    records,
    reports,
)

_SIGNING_KEY = "signing_key"
_WAITING = (State.PENDING.value, State.REFUSED.value)


class Operations:
    """The operator's side of the store. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        probed = database.insert(meta).values(key="probed", value=sa.bindparam("value"))
        self._probed = probed.on_conflict_do_update(
            index_elements=[meta.c.key], set_={"value": probed.excluded.value}
        )

    def records(self) -> List[Record]:
        """Return every record."""
        with self._database.read() as connection:
            return [read_record(row) for row in connection.execute(_RECORDS).mappings().all()]

    def retry(self, host: Hostname, now: float) -> int:
        """Let a host's waiting wishes be tried now; return how many there are."""
        waiting = sa.and_(records.c.host == host.text, records.c.state.in_(_WAITING))
        with self._database.write() as connection:
            change = records.update().where(waiting).values(retry_at=now)
            return int(connection.execute(change).rowcount)

    def drop_update(self, host: Hostname, operator: Requester, now: float) -> Optional[int]:
        """Drop what a host asks for and Hetzner doesn't accept; return how many records it was.

        The desired state of such a record becomes what was accepted last. If that may never have
        been published, it is written again. If nothing was ever accepted, the record is left to
        those who made it. `None` while the host is being updated.
        """
        failed = sa.and_(records.c.host == host.text, records.c.error != "")
        lock, owner = f"host {host.text}", new_owner()
        with self._database.write() as connection:
            if not self._leases.take(connection, lock, owner, now, 1):
                return None
            rows = connection.execute(sa.select(records).where(failed)).mappings().all()
            for record in map(read_record, rows):
                connection.execute(_dropping(record, now))
                add_entry(
                    connection,
                    Entry(
                        at=now,
                        host=host.text,
                        type=record.type.value,
                        event="dropped",
                        source=operator.source,
                        protocol=operator.protocol,
                        old=None,
                        new=None,
                        why=record.error,
                    ),
                )
            if rows:  # the next failure is reported again
                connection.execute(reports.delete().where(reports.c.subject == host.text))
            release(connection, lock, owner)
        return len(rows)

    def mutes(self) -> Dict[Hostname, float]:
        """Return until when the operator doesn't want to hear of which lost hosts."""
        query = sa.select(hosts.c.host, hosts.c.muted_until).where(hosts.c.muted_until.is_not(None))
        with self._database.read() as connection:
            return {Hostname(row.host): row.muted_until for row in connection.execute(query)}

    def mute(self, host: Hostname, until: Optional[float], entry: Entry) -> None:
        """Don't push that a host is lost until then; `None` ends that."""
        insert = self._database.insert(hosts).values(host=host.text, muted_until=until)
        statement = insert.on_conflict_do_update(
            index_elements=[hosts.c.host], set_={"muted_until": until}
        )
        with self._database.write() as connection:
            connection.execute(statement)
            add_entry(connection, entry)

    def lift(self, host: Hostname, now: float) -> bool:
        """End a mute whose time has come; false when another process has done it."""
        over = sa.and_(hosts.c.host == host.text, hosts.c.muted_until <= now)
        with self._database.write() as connection:
            change = hosts.update().where(over).values(muted_until=None)
            return bool(connection.execute(change).rowcount == 1)

    def note(self, entry: Entry) -> None:
        """Add to the history what the operator did."""
        with self._database.write() as connection:
            add_entry(connection, entry)

    def signing_key(self) -> bytes:
        """Return the key that all processes sign with; it is made when it is first asked for."""
        with self._database.read() as connection:
            found = _signing_key(connection)
        if found is None:
            new = self._database.insert(meta).values(key=_SIGNING_KEY, value=secrets.token_hex(32))
            with self._database.write() as connection:
                connection.execute(new.on_conflict_do_nothing())
                found = _signing_key(connection)
        return bytes.fromhex(found or "")

    def probe(self, *, mark: bool = False) -> None:
        """Test whether everything that an update needs can be read and written.

        With `mark`, a row changes: otherwise SQLite doesn't notice a full disk.
        """
        with self._database.read() as connection:
            for read in _READS:
                connection.execute(read).all()
        with self._database.write() as connection:
            for write in _WRITES:
                connection.execute(write)
            if mark:
                connection.execute(self._probed, {"value": uuid.uuid4().hex})


# Read every row of the small tables, and the newest one of the history, to find damaged pages.
_READS = [
    sa.select(sa.func.max(column))
    for column in (records.c.comment, hosts.c.seen_at, leases.c.until, reports.c.key)
] + [sa.select(history).order_by(history.c.id.desc()).limit(1)]
# These change no row.
_WRITES = [
    table.update().where(column.is_(None)).values({column: column})
    for table, column in (
        (records, records.c.host),
        (hosts, hosts.c.host),
        (leases, leases.c.name),
        (reports, reports.c.subject),
        (history, history.c.id),
    )
]

_RECORDS = sa.select(records).order_by(records.c.host, records.c.type)


def _signing_key(connection: Connection) -> Optional[str]:
    return connection.execute(sa.select(meta.c.value).where(meta.c.key == _SIGNING_KEY)).scalar()


def _dropping(record: Record, now: float) -> Union[sa.Update, sa.Delete]:
    this = sa.and_(records.c.host == record.host.text, records.c.type == record.type.value)
    cleared = {"error": "", "hint": "", "attempts": 0}
    if record.is_accepted:
        return records.update().where(this).values(**cleared)
    if record.published is None and record.accepted_at is None:
        return records.delete().where(this)
    dropped = {
        "desired": None if record.published is None else str(record.published),
        "generation": record.generation
        + 1,  # a late answer to the dropped update no longer matches
        "state": (State.PENDING if record.is_doubtful else State.PUBLISHED).value,
        "retry_at": now,
        "checked_at": 0.0,
    }
    return records.update().where(this).values(**cleared, **dropped)
