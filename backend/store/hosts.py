"""Since when each host is registered, and when it was last heard of."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping, Optional

import sqlalchemy as sa

from backend.model import Hostname
from backend.store.database import Database
from backend.store.schema import hosts


class Hosts:
    """The hosts. Times are UTC seconds; every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, names: Iterable[Hostname], now: float) -> None:
        """Note since when each host is known; those known already keep their time."""
        rows = [{"host": name.text, "registered_at": now} for name in names]
        if not rows:
            return
        with self._database.write() as connection:
            connection.execute(self._database.insert(hosts).on_conflict_do_nothing(), rows)

    def see(self, sightings: Mapping[Hostname, float]) -> None:
        """Note when hosts were last heard of; an older time never replaces a newer one."""
        rows = [
            {"host": host.text, "registered_at": at, "seen_at": at}
            for host, at in sightings.items()
        ]
        insert = self._database.insert(hosts)
        is_newer = sa.or_(hosts.c.seen_at.is_(None), hosts.c.seen_at < insert.excluded.seen_at)
        statement = insert.on_conflict_do_update(
            index_elements=[hosts.c.host],
            set_={"seen_at": insert.excluded.seen_at},
            where=is_newer,
        )
        with self._database.write() as connection:
            connection.execute(statement, rows)

    def last_seen(self) -> Dict[Hostname, Optional[float]]:
        """Return when each known host was last heard of."""
        with self._database.read() as connection:
            rows = connection.execute(sa.select(hosts.c.host, hosts.c.seen_at)).all()
        return {Hostname(host): seen_at for host, seen_at in rows}
