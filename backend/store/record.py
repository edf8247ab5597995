"""One record as it is stored, and conditions that several queries share."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Any, Mapping

import sqlalchemy as sa

from backend.model import Address, DesiredRecord, Hostname, RecordType, Requester
from backend.store.schema import SKEW_SECONDS, hosts, records

# A process that serves a host extends the registration by this, if another one started without it.
KEPT_SECONDS = 600.0
_LONGEST_WAIT = 3600.0 + SKEW_SECONDS  # no record waits for longer than an hour


def is_listed(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a host is registered in any running process.

    An end that is too far in the future was stored before the clock was set back, and is past.
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
    """How far the desired state of a record has come."""

    PENDING = "pending"  # not yet accepted by Hetzner
    PUBLISHING = "publishing"  # accepted; Hetzner's action still runs
    PUBLISHED = "published"
    REFUSED = "refused"  # the operator has to change something


@dataclass(frozen=True)
class Record:
    """One record: its desired state, and how far that has come. Times are UTC seconds."""

    host: Hostname
    desired: DesiredRecord
    generation: int  # of the desired state: tells late answers to older ones apart
    desired_at: float
    requester: Requester
    state: State
    published: Address | None
    action: int | None  # of Hetzner, which publishes it; see `is_doubtful`
    accepted_at: float | None
    checked_at: float
    attempts: int
    retry_at: float
    error: str  # what is wrong, and what to do about it
    hint: str
    comment: str  # of the record at Hetzner
    verify_after: float  # a check or a write failed: no request asks Hetzner before then
    changed_at: float | None

    @property
    def type(self) -> RecordType:
        """A or AAAA."""
        return self.desired.type

    @property
    def is_accepted(self) -> bool:
        """Whether Hetzner has accepted the desired state."""
        return self.state in (State.PUBLISHING, State.PUBLISHED)

    def waits_for(self, now: float) -> float:
        """Return the seconds in which requests don't repeat the failed write; 0 if they may."""
        if self.is_accepted:
            return 0.0
        seconds = min(self.retry_at, self.verify_after) - now
        return seconds if 0 < seconds <= _LONGEST_WAIT else 0.0  # else the clock was set back

    @property
    def is_doubtful(self) -> bool:
        """Whether Hetzner's name servers may lack what its API shows.

        The API shows an address from the moment it is accepted. The action that publishes it, for
        this generation or an earlier one, failed or isn't followed any more.
        """
        return not self.is_accepted and self.action is not None


def read_record(row: Mapping[Any, Any]) -> Record:
    """Make a record from a row of the table."""
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


# The dashboard reads all records again and again, and most are as they were.
@functools.lru_cache(maxsize=8192)
def _address(text: str | None) -> Address | None:
    return None if text is None else Address.parse(text)
