"""One record as it is remembered: the wish, and how far it has come."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Any, Mapping, Optional

from backend.model import Address, Asker, Hostname, RecordType, Wish


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
    wanted: Wish
    wish: int  # counts wishes: tells a late answer to an older one
    wished_at: float
    asker: Asker
    state: State
    published: Optional[Address]
    action: Optional[int]  # Hetzner's that publishes it; not accepted: see `is_doubtful`
    accepted_at: Optional[float]
    checked_at: float
    attempts: int
    next_try_at: float
    error: str  # what was seen, and what to do about it
    mend: str
    comment: str  # what somebody wrote beside the address at Hetzner
    recheck_at: float  # a check of an accepted record failed: not again before
    changed_at: Optional[float]

    @property
    def type(self) -> RecordType:
        """The record's type."""
        return self.wanted.type

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
        wanted=Wish(RecordType(row["type"]), _address(row["wanted"])),
        wish=row["wish"],
        wished_at=row["wished_at"],
        asker=Asker(row["source"], row["face"]),
        state=State(row["state"]),
        published=_address(row["published"]),
        action=row["action"],
        accepted_at=row["accepted_at"],
        checked_at=row["checked_at"],
        attempts=row["attempts"],
        next_try_at=row["next_try_at"],
        error=row["error"],
        mend=row["mend"],
        comment=row["comment"],
        recheck_at=row["recheck_at"],
        changed_at=row["changed_at"],
    )


# Whoever looks at all records looks again soon, and most are as they were.
@functools.lru_cache(maxsize=8192)
def _address(text: Optional[str]) -> Optional[Address]:
    return None if text is None else Address.parse(text)
