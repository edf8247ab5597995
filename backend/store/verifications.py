"""When Hetzner confirmed each record last, and which have to be compared with it again."""

from __future__ import annotations

from typing import Iterable, List, Tuple

import sqlalchemy as sa

from backend.store.conditions import is_listed, is_registered
from backend.store.database import Database
from backend.store.record import Record, State, read_record
from backend.store.records import this_wish
from backend.store.schema import hosts, records

_SKEW = 60.0  # that the clocks of several machines may have


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
                records.c.checked_at > now + _SKEW,
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
                "a_wish": record.wish,
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
            connection.execute(this_wish(record).values(checked_at=0.0))

    def postpone(self, record: Record, until: float) -> None:
        """Note that an accepted record is good without another check until a certain time."""
        with self._database.write() as connection:
            connection.execute(this_wish(record).values(recheck_at=until))


_CONFIRMED = (
    records.update()
    .where(
        records.c.host == sa.bindparam("a_host"),
        records.c.type == sa.bindparam("a_type"),
        records.c.wish == sa.bindparam("a_wish"),
    )
    .values(checked_at=sa.bindparam("checked_at"), comment=sa.bindparam("comment"))
)
