"""The history of each record: what changed, when, why, and who requested it."""

from __future__ import annotations

from typing import Collection, Mapping, NamedTuple

import sqlalchemy as sa

from backend.model import Hostname
from backend.store.database import Database
from backend.store.leases import Leases
from backend.store.schema import Entry, add_entry, history


class Sample(NamedTuple):
    """An entry that stands for all entries of its kind within a short period."""

    entry: Entry
    number: int = 1


# Entries, as many as a change every six minutes makes in 90 days. Without this limit, anyone with a
# key could fill the store.
_MOST_OF_A_HOST = 20_000
_HOSTS_AT_ONCE = 100
_COLUMNS = [column for column in history.c if column is not history.c.id]


class History:
    """The history. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases

    def find(
        self,
        host: Hostname | None = None,
        *,
        since: float = 0.0,
        events: Collection[str] = (),
        limit: int = 100,
        skip: int = 0,
    ) -> list[Entry]:
        """Return the newest entries, newest first: of one host or of all, of some kinds or all."""
        query = sa.select(*_COLUMNS).where(history.c.at >= since)
        if host is not None:
            query = query.where(history.c.host == host.text)
        if events:
            query = query.where(history.c.event.in_(list(events)))
        query = query.order_by(history.c.id.desc()).limit(limit).offset(skip)
        with self._database.read() as connection:
            return [Entry(*row) for row in connection.execute(query).all()]

    def sample(
        self, host: Hostname, start: float, end: float, periods: int, lasting: Collection[str]
    ) -> list[Sample]:
        """Return what happened to a host from `start` to `end`, oldest first.

        For each of the `periods`, the last entry of each kind stands for the others. The result
        includes the last entry of the `lasting` events before `start`, which still holds then.
        """
        mine, number = history.c.host == host.text, sa.func.count()
        period = sa.cast((history.c.at - start) * periods / (end - start), sa.Integer)
        within = (
            sa.select(sa.func.max(history.c.id).label("id"), number.label("number"))
            .where(mine, history.c.at >= start, history.c.at <= end)
            .group_by(history.c.type, history.c.event, period)
        )
        earlier = (
            sa.select(sa.func.max(history.c.id).label("id"), sa.literal(1).label("number"))
            .where(mine, history.c.at < start, history.c.event.in_(list(lasting)))
            .group_by(history.c.type)
        )
        last = sa.union_all(within, earlier).subquery()
        query = (
            sa.select(*_COLUMNS, last.c.number)
            .join(last, history.c.id == last.c.id)
            .order_by(history.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [Sample(Entry(*row[:-1]), row[-1]) for row in rows]

    def numbers(self, host: Hostname, since: float) -> Mapping[str, int]:
        """Return how many entries of each event a host has since a time (UTC seconds)."""
        query = (
            sa.select(history.c.event, sa.func.count())
            .where(history.c.host == host.text, history.c.at >= since)
            .group_by(history.c.event)
        )
        with self._database.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def next(
        self, host: Hostname, kind: str, after: float, events: Collection[str]
    ) -> float | None:
        """Return when one of some events happened to a record next; `None` if not since then."""
        query = sa.select(sa.func.min(history.c.at)).where(
            history.c.host == host.text,
            history.c.type == kind,
            history.c.at > after,
            history.c.event.in_(list(events)),
        )
        with self._database.read() as connection:
            found: float | None = connection.execute(query).scalar()
        return found

    def prune(self, before: float, limit: int) -> int:
        """Delete up to `limit` entries that are older than a time, or too many for their host.

        Returns the number of deleted entries.
        """
        number = sa.func.count()
        crowded = (
            sa.select(history.c.host).group_by(history.c.host).having(number > _MOST_OF_A_HOST)
        )
        with self._database.read() as connection:
            hosts = connection.execute(crowded.limit(_HOSTS_AT_ONCE)).scalars().all()
        is_old = [history.c.at < before]
        for host in hosts:
            mine = history.c.host == host
            newest = sa.select(history.c.id).where(mine).order_by(history.c.id.desc())
            first_left_out = newest.offset(_MOST_OF_A_HOST).limit(1).scalar_subquery()
            is_old.append(sa.and_(mine, history.c.id <= first_left_out))
        old = sa.select(history.c.id).where(sa.or_(*is_old)).limit(limit)
        with self._database.write() as connection:
            return connection.execute(history.delete().where(history.c.id.in_(old))).rowcount

    def add(self, entry: Entry) -> None:
        with self._database.write() as connection:
            add_entry(connection, entry)

    def add_once(self, entry: Entry, cause: str) -> bool:
        """Add an entry, unless one of the same host and cause was added within `SAY_AGAIN`.

        Returns whether it was added.
        """
        with self._database.write() as connection:
            subject = f"{entry.event} {entry.host}"
            is_first = self._leases.once(subject, cause, entry.at)
            if is_first:
                add_entry(connection, entry)
        return is_first
