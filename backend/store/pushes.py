"""Notifications that wait for others with the same cause."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Iterable, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.store.database import Database, excluded
from backend.store.schema import SKEW_SECONDS, causes, pushes

# A push waits at most this long for events that follow each other closely.
_LONGEST_WAIT = 60.0
# Seconds from one push about a cause to the next one, for hosts that join it later. Good news keep
# the first pause.
_PAUSES = (30.0, 120.0, 600.0, 1800.0)
_FORGOTTEN = 3600.0  # seconds after a push: then the pauses start again


class WaitingPush(NamedTuple):
    """A notification about a host. Times are UTC seconds.

    Trouble is ended by good news about the same host and topic, and the other way round. An empty
    topic has no opposite.
    """

    cause: str
    host: str
    topic: str
    is_trouble: bool
    at: float
    due: float  # unless another one with the same cause joins
    content: str


class Pushes:
    """The waiting notifications. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        new = {"sent_at": excluded(causes).sent_at, "pause": excluded(causes).pause}
        self._note_sent = database.upsert(causes, new)

    def add(self, waiting: Iterable[WaitingPush], now: float) -> None:
        """Add notifications, in order.

        The order of two opposite notifications about a host never changes: the earlier one is sent
        at once. If it waits because its cause was pushed a short time ago, it is dropped instead.
        """
        with self._database.write() as connection:
            paused = _paused(connection, now)
            for one in waiting:
                if one.topic:
                    _end_opposite(connection, one, paused)
                connection.execute(pushes.insert().values(**one._asdict()))

    def take(self, now: float, *, everything: bool = False) -> list[list[str]]:
        """Remove the notifications that are due; return their contents, a list for each cause."""
        with self._database.read() as connection:
            if not _due(connection, now, everything=everything):
                return []
        with self._database.write() as connection:
            taken = _due(connection, now, everything=everything)
            for group in taken:
                self._remove(connection, group, now)
        return [[one.content for one in group] for group in taken]

    def _remove(self, connection: Connection, group: list[WaitingPush], now: float) -> None:
        """Delete a group that is sent now, and store when the next one of its cause may be sent."""
        cause = group[0].cause
        connection.execute(pushes.delete().where(pushes.c.cause == cause))
        connection.execute(causes.delete().where(causes.c.sent_at < now - _FORGOTTEN))
        last = connection.execute(sa.select(causes).where(causes.c.cause == cause)).first()
        pause = _PAUSES[0]
        if last is not None and group[0].is_trouble and last.sent_at <= now:
            pause = next((one for one in _PAUSES if one > last.pause), _PAUSES[-1])
        sent = {"cause": cause, "sent_at": now, "pause": pause}
        connection.execute(self._note_sent, sent)


def _paused(connection: Connection, now: float) -> dict[str, float]:
    """Return the causes that were pushed lately, each with the time when it may be pushed again."""
    rows = connection.execute(sa.select(causes).where(causes.c.sent_at <= now + SKEW_SECONDS))
    return {row.cause: row.sent_at + row.pause for row in rows if row.sent_at + row.pause > now}


def _due(connection: Connection, now: float, *, everything: bool) -> list[list[WaitingPush]]:
    """Return the notifications that are due, those of the oldest cause first."""
    # The lock, which SQLite doesn't need, keeps two processes from taking the same ones.
    query = sa.select(pushes).order_by(pushes.c.cause, pushes.c.id).with_for_update()
    rows = [WaitingPush(*row[1:]) for row in connection.execute(query).all()]
    paused = _paused(connection, now) if rows else {}
    groups = ((cause, list(found)) for cause, found in groupby(rows, attrgetter("cause")))
    due = [
        group
        for cause, group in groups
        if everything or _is_due(group, now, paused.get(cause, 0.0))
    ]
    return sorted(due, key=lambda group: group[0].at)


def _is_due(group: list[WaitingPush], now: float, paused_until: float) -> bool:
    first, last = group[0], group[-1]
    if any(one.due <= 0 for one in group):  # an opposite notification follows
        return True
    due = min(last.due, max(first.at + _LONGEST_WAIT, first.due))
    was_set_back = now < first.at - SKEW_SECONDS  # the clock
    return was_set_back or now >= max(due, paused_until)


def _end_opposite(connection: Connection, new: WaitingPush, paused: Iterable[str]) -> None:
    opposite = sa.and_(
        pushes.c.host == new.host,
        pushes.c.topic == new.topic,
        pushes.c.is_trouble != new.is_trouble,
    )
    is_paused = pushes.c.cause.in_(list(paused))
    connection.execute(pushes.delete().where(opposite, is_paused))
    connection.execute(pushes.update().where(opposite).values(due=0.0))
