"""Notifications: those that wait for others with the same cause, and those on their way."""

from __future__ import annotations

from itertools import groupby
from operator import attrgetter
from typing import Any, Callable, Iterable, NamedTuple, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.store.database import Database, excluded
from backend.store.schema import SKEW_SECONDS, causes, deliveries, pushes

# A push waits at most this long for events that follow each other closely.
_LONGEST_WAIT = 60.0
# Seconds from one push about a cause to the next one, for hosts that join it later. Pushes
# about the end of a problem keep the first pause.
_PAUSES = (30.0, 120.0, 600.0, 1800.0)
_RESET_SECONDS = 3600.0  # after a push; then the pauses start again


_Group = Sequence[Any]  # rows of one cause


class WaitingPush(NamedTuple):
    """A notification about a host. Times are UTC seconds.

    A problem and the end of a problem about the same host and topic are opposites. Without a topic,
    a notification has neither opposite nor order.
    """

    cause: str
    host: str
    topic: str
    is_problem: bool
    at: float
    due: float  # unless another one with the same cause joins
    content: str


class Delivery(NamedTuple):
    """A push that a channel hasn't accepted yet. Times are UTC seconds."""

    id: int
    channel: str
    priority: int
    at: float
    doubts: int  # attempts whose outcome is unknown
    retry_at: float  # after such an attempt
    content: str


class Pushes:
    """The notifications. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        new = {"sent_at": excluded(causes).sent_at, "pause": excluded(causes).pause}
        self._note_sent = database.upsert(causes, new)

    def add(self, waiting: WaitingPush, now: float) -> None:
        """Add a notification that waits for others.

        The order of a problem and another notification about its host and topic never changes: the
        earlier one, of another cause, is sent at once. If it is the opposite of the later one, and
        waits because its cause was pushed a short time ago, it is dropped instead.
        """
        with self._database.write() as connection:
            if waiting.topic:
                earlier = sa.and_(
                    pushes.c.host == waiting.host,
                    pushes.c.topic == waiting.topic,
                    pushes.c.cause != waiting.cause,
                )
                is_opposite = pushes.c.is_problem != waiting.is_problem
                is_ordered = sa.or_(is_opposite, pushes.c.is_problem)
                is_paused = pushes.c.cause.in_(list(_paused(connection, now)))
                connection.execute(pushes.delete().where(earlier, is_opposite, is_paused))
                connection.execute(pushes.update().where(earlier, is_ordered).values(due=0.0))
            connection.execute(pushes.insert().values(**waiting._asdict()))

    def send(self, content: str, priority: int, channels: Iterable[str], now: float) -> None:
        """Add a push for each channel."""
        with self._database.write() as connection:
            _send(connection, content, priority, channels, now)

    def merge(
        self,
        now: float,
        channels: Sequence[str],
        merged: Callable[[Sequence[str]], tuple[str, int]],
        ahead: float = 0.0,
    ) -> set[str]:
        """Turn the notifications of each cause that is due into one push for each channel.

        A cause is due if it would be sent within `ahead` seconds.

        `merged` returns the content and the priority of a push, for the contents of its
        notifications. Returns the channels for which pushes are stored.
        """
        with self._database.read() as connection:
            is_due = bool(_due(connection, now + ahead))
            waiting = set(connection.execute(sa.select(deliveries.c.channel).distinct()).scalars())
        if is_due:
            with self._database.write() as connection:
                for group in _due(connection, now + ahead):
                    content, priority = merged([row.content for row in group])
                    _send(connection, content, priority, channels, now)
                    self._remove(connection, group, now)
            waiting.update(channels)
        return waiting

    def is_empty(self) -> bool:
        """Return whether no notification waits or is on its way."""
        with self._database.read() as connection:
            return not any(
                connection.execute(sa.select(table.c.id).limit(1)).first()
                for table in (pushes, deliveries)
            )

    def queue(self, channel: str) -> list[Delivery]:
        """Return the pushes for a channel: the most urgent first, then the oldest."""
        query = sa.select(deliveries).where(deliveries.c.channel == channel)
        query = query.order_by(deliveries.c.priority.desc(), deliveries.c.id)
        with self._database.read() as connection:
            return [Delivery(*row) for row in connection.execute(query)]

    def delivered(self, ids: Iterable[int]) -> None:
        """Delete pushes that were accepted, or are dropped."""
        with self._database.write() as connection:
            connection.execute(deliveries.delete().where(deliveries.c.id.in_(list(ids))))

    def doubt(self, delivery: Delivery, retry_at: float) -> None:
        """Store that an attempt may have delivered a push, and when it is repeated."""
        later = {"doubts": delivery.doubts + 1, "retry_at": retry_at}
        with self._database.write() as connection:
            this = deliveries.update().where(deliveries.c.id == delivery.id)
            connection.execute(this.values(later))

    def _remove(self, connection: Connection, group: _Group, now: float) -> None:
        """Delete a group that is sent now, and store when the next one of its cause may be sent."""
        cause = group[0].cause
        # Another process may have added a notification of the same cause in the meantime.
        connection.execute(pushes.delete().where(pushes.c.id.in_([row.id for row in group])))
        connection.execute(causes.delete().where(causes.c.sent_at < now - _RESET_SECONDS))
        last = connection.execute(sa.select(causes).where(causes.c.cause == cause)).first()
        pause = _PAUSES[0]
        if last is not None and group[0].is_problem and last.sent_at <= now:
            pause = next((one for one in _PAUSES if one > last.pause), _PAUSES[-1])
        sent = {"cause": cause, "sent_at": now, "pause": pause}
        connection.execute(self._note_sent, sent)


def _send(
    connection: Connection, content: str, priority: int, channels: Iterable[str], now: float
) -> None:
    row = {"priority": priority, "at": now, "doubts": 0, "retry_at": now, "content": content}
    for channel in channels:
        connection.execute(deliveries.insert().values(channel=channel, **row))


def _paused(connection: Connection, now: float) -> dict[str, float]:
    """Return the causes that were pushed lately, each with the time when it may be pushed again."""
    rows = connection.execute(sa.select(causes).where(causes.c.sent_at <= now + SKEW_SECONDS))
    return {row.cause: row.sent_at + row.pause for row in rows if row.sent_at + row.pause > now}


def _due(connection: Connection, now: float) -> list[_Group]:
    """Return the notifications that are due, those of the oldest cause first."""
    # The lock, which SQLite doesn't need, keeps two processes from taking the same ones.
    query = sa.select(pushes).order_by(pushes.c.cause, pushes.c.id).with_for_update()
    rows = connection.execute(query).all()
    paused = _paused(connection, now) if rows else {}
    groups = ((cause, list(found)) for cause, found in groupby(rows, attrgetter("cause")))
    due = [group for cause, group in groups if _is_due(group, now, paused.get(cause, 0.0))]
    return sorted(due, key=lambda group: group[0].at)


def _is_due(group: _Group, now: float, paused_until: float) -> bool:
    first, last = group[0], group[-1]
    if any(one.due <= 0 for one in group):  # another one about its host follows
        return True
    due = min(last.due, max(first.at + _LONGEST_WAIT, first.due))
    was_set_back = now < first.at - SKEW_SECONDS  # the clock
    return bool(was_set_back or now >= max(due, paused_until))
