"""Conditions that several queries have in common."""

from __future__ import annotations

import sqlalchemy as sa

from backend.store.schema import hosts, records

# Nothing waits for longer than an hour; the clocks of several machines may differ by a minute.
_LONGEST_WAIT = 3660.0


def is_registered() -> sa.ColumnElement[bool]:
    """Return the condition that a record's host wasn't taken off the list of hosts."""
    is_gone = sa.exists().where(hosts.c.host == records.c.host, hosts.c.registered_at.is_(None))
    return sa.not_(is_gone)


def has_come(at: sa.Column[float], now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a time has come, or was set before the clock was set back."""
    return sa.or_(at <= now, at > now + _LONGEST_WAIT)
