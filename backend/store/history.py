"""The history of each record: what changed, when, why, and who requested it."""

from __future__ import annotations

from typing import Collection

import sqlalchemy as sa

from backend.model import Hostname
from backend.store.database import Database
from backend.store.leases import SAY_AGAIN, Leases
from backend.store.schema import Entry, add_entry, history


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
        columns = [column for column in history.c if column is not history.c.id]
        query = sa.select(*columns).where(history.c.at >= since)
        if host is not None:
            query = query.where(history.c.host == host.text)
        if events:
            query = query.where(history.c.event.in_(list(events)))
        query = query.order_by(history.c.id.desc()).limit(limit).offset(skip)
        with self._database.read() as connection:
            return [Entry(*row) for row in connection.execute(query).all()]

    def prune(self, before: float, limit: int) -> int:
        """Delete up to `limit` entries older than a time; return the number of deleted ones."""
        old = sa.select(history.c.id).where(history.c.at < before).limit(limit)
        with self._database.write() as connection:
            return connection.execute(history.delete().where(history.c.id.in_(old))).rowcount

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        with self._database.write() as connection:
            add_entry(connection, entry)

    def add_once(self, entry: Entry, cause: str, seconds: float = SAY_AGAIN) -> bool:
        """Add an entry, unless one of the same host and cause was added within `seconds`.

        Returns whether it was added.
        """
        with self._database.write() as connection:
            subject = f"{entry.event} {entry.host}"
            is_first = self._leases.report(connection, subject, cause, entry.at, seconds)
            if is_first:
                add_entry(connection, entry)
        return is_first
