"""Which causes of failure the operator has been told of: each once, until it is cleared."""

from __future__ import annotations

import enum

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.store.record import Record
from backend.store.schema import troubles

# Should a cause be worded anew at every attempt, the operator hears of so many and no more.
_MOST_CAUSES = 5


class Novelty(enum.Enum):
    """To whom a failure, or its end, is news."""

    NONE = 0
    RECORD = 1  # the host's other record fails alike, or fails still
    HOST = 2


def add(connection: Connection, insert: sa.Insert, record: Record, cause: str) -> Novelty:
    """Note a cause in the transaction of the failure; `insert` passes over what is there."""
    query = sa.select(troubles.c.type, troubles.c.cause).where(_of_host(record))
    known = [(row.type, row.cause) for row in connection.execute(query)]
    mine = [told for kind, told in known if kind == record.type.value]
    if cause in mine or len(mine) >= _MOST_CAUSES:
        return Novelty.NONE
    row = {"host": record.host.text, "type": record.type.value, "cause": cause}
    done = connection.execute(insert.values(row), execution_options={"preserve_rowcount": True})
    if done.rowcount != 1:  # another process was faster
        return Novelty.NONE
    return Novelty.RECORD if any(told == cause for _, told in known) else Novelty.HOST


def clear(connection: Connection, record: Record) -> Novelty:
    """Forget a record's causes in the transaction of its success."""
    mine = sa.and_(_of_host(record), troubles.c.type == record.type.value)
    if not connection.execute(troubles.delete().where(mine)).rowcount:
        return Novelty.NONE
    others = sa.select(sa.func.count()).select_from(troubles).where(_of_host(record))
    return Novelty.RECORD if connection.execute(others).scalar() else Novelty.HOST


def _of_host(record: Record) -> sa.ColumnElement[bool]:
    return troubles.c.host == record.host.text
