"""A record as the store holds it, and conditions that several queries share."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Any, Mapping, Optional

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.model import Address, DesiredRecord, Hostname, RecordType, Requester
from backend.store.schema import hosts, records, reported_errors

# Nothing waits for longer than an hour; the clocks of several machines may differ by a minute.
_LONGEST_WAIT = 3660.0
# A process that serves a host extends the registration by this, if another one started without it.
KEPT_SECONDS = 600.0
SKEW_SECONDS = 60.0  # by which the clocks of several machines may differ


def is_listed(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a host is registered in any running process.

    An end too far in the future was stored before the clock was set back, and counts as passed.
    """
    ends = hosts.c.unregistered_at
    is_kept = sa.and_(ends > now, ends <= now + KEPT_SECONDS + SKEW_SECONDS)
    return sa.and_(hosts.c.registered_at.is_not(None), sa.or_(ends.is_(None), is_kept))


def is_registered(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that the host of a record is registered, or was never stored."""
    is_gone = sa.exists().where(hosts.c.host == records.c.host, sa.not_(is_listed(now)))
    return sa.not_(is_gone)


def is_past(at: sa.Column[float], now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a time has come, or was set before the clock was set back."""
    return sa.or_(at <= now, at > now + _LONGEST_WAIT)


class State(enum.Enum):
    """How far a wish has come."""

    PENDING = "pending"  # wanted, not yet accepted by Hetzner
    PUBLISHING = "publishing"  # accepted; Hetzner's action still runs
    PUBLISHED = "published"
    REFUSED = "refused"  # needs the operator


@dataclass(frozen=True)
class Record:
    """What is known of one record: the wish, and how far it has come. Times are UTC seconds."""

    host: Hostname
    desired: DesiredRecord
    generation: int  # counts wishes: tells a late answer to an older one
    desired_at: float
    requester: Requester
    state: State
    published: Optional[Address]
    action: Optional[int]  # Hetzner's that publishes it; not accepted: see `is_doubtful`
    accepted_at: Optional[float]
    checked_at: float
    attempts: int
    retry_at: float
    error: str  # what was seen, and what to do about it
    hint: str
    comment: str  # what somebody wrote beside the address at Hetzner
    verify_after: float  # a check of an accepted record failed: not again before
    changed_at: Optional[float]

    @property
    def type(self) -> RecordType:
        """The record's type."""
        return self.desired.type

    @property
    def is_accepted(self) -> bool:
        """Whether Hetzner has accepted the wish."""
        return self.state in (State.PUBLISHING, State.PUBLISHED)

    @property
    def is_doubtful(self) -> bool:
        """Whether what Hetzner's API shows may never have been published.

        It shows an address from the moment it is accepted. The action that was to publish one
        failed, or nobody follows it any more, be it for this wish or one before it.
        """
        return not self.is_accepted and self.action is not None


def read_record(row: Mapping[Any, Any]) -> Record:
    """Make a record of a row of the table."""
    return Record(
        host=Hostname(row["host"]),
        desired=DesiredRecord(RecordType(row["type"]), _address(row["desired"])),
        generation=row["generation"],
        desired_at=row["desired_at"],
        requester=Requester(row["source"], row["protocol"]),
        state=State(row["state"]),
        published=_address(row["published"]),
        action=row["action"],
        accepted_at=row["accepted_at"],
        checked_at=row["checked_at"],
        attempts=row["attempts"],
        retry_at=row["retry_at"],
        error=row["error"],
        hint=row["hint"],
        comment=row["comment"],
        verify_after=row["verify_after"],
        changed_at=row["changed_at"],
    )


# Whoever looks at all records looks again soon, and most are as they were.
@functools.lru_cache(maxsize=8192)
def _address(text: Optional[str]) -> Optional[Address]:
    return None if text is None else Address.parse(text)


# Should a cause be worded anew at every attempt, the operator hears of so many and no more.
_MOST_CAUSES = 5


class Notice(enum.Enum):
    """To whom a failure, or its end, is news."""

    NONE = 0
    RECORD = 1  # the host's other record fails alike, or fails still
    HOST = 2


def add_reported_error(
    connection: Connection, insert: sa.Insert, record: Record, cause: str
) -> Notice:
    """Note a cause in the transaction of the failure; `insert` passes over what is there."""
    query = sa.select(reported_errors.c.type, reported_errors.c.cause).where(_of_host(record))
    known = [(row.type, row.cause) for row in connection.execute(query)]
    mine = [told for kind, told in known if kind == record.type.value]
    if cause in mine or len(mine) >= _MOST_CAUSES:
        return Notice.NONE
    row = {"host": record.host.text, "type": record.type.value, "cause": cause}
    done = connection.execute(insert.values(row), execution_options={"preserve_rowcount": True})
    if done.rowcount != 1:  # another process was faster
        return Notice.NONE
    return Notice.RECORD if any(told == cause for _, told in known) else Notice.HOST


def clear_reported_errors(connection: Connection, record: Record) -> Notice:
    """Forget a record's causes in the transaction of its success."""
    mine = sa.and_(_of_host(record), reported_errors.c.type == record.type.value)
    if not connection.execute(reported_errors.delete().where(mine)).rowcount:
        return Notice.NONE
    others = sa.select(sa.func.count()).select_from(reported_errors).where(_of_host(record))
    return Notice.RECORD if connection.execute(others).scalar() else Notice.HOST


def _of_host(record: Record) -> sa.ColumnElement[bool]:
    return reported_errors.c.host == record.host.text
