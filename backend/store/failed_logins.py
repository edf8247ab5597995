"""How often logins failed lately, counted by every process together."""

from __future__ import annotations

from typing import Dict, Mapping, Tuple

import sqlalchemy as sa

from backend.store.database import Database
from backend.store.schema import failed_logins

_SKEW = 60.0  # seconds by which the clocks of several machines may differ


class FailedLoginCounts:
    """Counters that end with their window. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, numbers: Mapping[str, int], now: float, window: float
    ) -> Dict[str, Tuple[int, float]]:
        """Add to some counters; return what each has now, and when its window began (UTC)."""
        # In one order everywhere: two processes can't wait for each other's rows then.
        rows = [
            {"key": key, "number": number, "since": now} for key, number in sorted(numbers.items())
        ]
        theirs = sa.select(failed_logins).where(failed_logins.c.key.in_(list(numbers)))
        with self._database.write() as connection:
            connection.execute(self._upsert(now, window), rows)
            return {row.key: (row.number, row.since) for row in connection.execute(theirs)}

    def _upsert(self, now: float, window: float) -> sa.Insert:
        insert = self._database.insert(failed_logins)
        new, known = insert.excluded, failed_logins.c
        # A window that begins in the future is one of before the clock was set back.
        is_over = sa.or_(known.since <= now - window, known.since > now + _SKEW)
        upsert: sa.Insert = insert.on_conflict_do_update(
            index_elements=[known.key],
            set_={
                "number": sa.case((is_over, new.number), else_=known.number + new.number),
                "since": sa.case((is_over, new.since), else_=known.since),
            },
        )
        return upsert

    def prune(self, before: float, most: int) -> None:
        """Forget windows that began before a time, and the oldest of more than so many."""
        since = failed_logins.c.since
        newest = sa.select(since).order_by(since.desc()).offset(most).limit(1)
        with self._database.write() as connection:
            connection.execute(failed_logins.delete().where(since < before))
            border = connection.execute(newest).scalar()
            if border is not None:
                connection.execute(failed_logins.delete().where(since <= border))
