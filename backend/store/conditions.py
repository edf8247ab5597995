"""Conditions that several queries have in common."""

from __future__ import annotations

import sqlalchemy as sa

from backend.store.schema import hosts, records

# Nothing waits for longer than an hour; the clocks of several machines may differ by a minute.
_LONGEST_WAIT = 3660.0


# Processes that serve a host which another one has started without say so for this long.
KEPT_SECONDS = 600.0
_SKEW = 60.0  # seconds by which the clocks of several machines may differ


def is_listed(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a host is on the list of hosts of a process that serves.

    An end that lies too far ahead was noted before the clock was set back.
    """
    ends = hosts.c.unregistered_at
    is_kept = sa.and_(ends > now, ends <= now + KEPT_SECONDS + _SKEW)
    return sa.and_(hosts.c.registered_at.is_not(None), sa.or_(ends.is_(None), is_kept))


def is_registered(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a record's host wasn't taken off the list of hosts."""
    is_gone = sa.exists().where(hosts.c.host == records.c.host, sa.not_(is_listed(now)))
    return sa.not_(is_gone)


def has_come(at: sa.Column[float], now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a time has come, or was set before the clock was set back."""
    return sa.or_(at <= now, at > now + _LONGEST_WAIT)
