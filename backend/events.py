"""What can happen that the operator may want to hear of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Protocol, Union

from backend.model import Hostname, RecordType


@dataclass(frozen=True)
class Published:
    """Hetzner has accepted a change of a record."""

    host: Hostname
    type: RecordType
    old: str
    new: str
    why: str


@dataclass(frozen=True)
class Confirmed:
    """Hetzner was asked, and has the record as it shall be."""

    host: Hostname
    type: RecordType


@dataclass(frozen=True)
class AnsweredFromCache:
    """The record is as it shall be; Hetzner wasn't asked."""

    host: Hostname
    type: RecordType


@dataclass(frozen=True)
class Postponed:
    """A wish could not be fulfilled now, and will be tried again."""

    host: Hostname
    type: RecordType
    error: str
    is_news: bool = True  # of the host; false: its other record failed alike, which was told


@dataclass(frozen=True)
class Refused:
    """A wish can't be fulfilled before the operator changes something."""

    host: Hostname
    type: RecordType
    error: str
    is_news: bool = True  # as above


@dataclass(frozen=True)
class Cleared:
    """What kept a wish from being fulfilled is gone."""

    host: Hostname
    type: RecordType
    after: float  # seconds since the wish
    is_news: bool = True  # of the host; false: its other record isn't well yet


@dataclass(frozen=True)
class FellSilent:
    """A host wasn't heard of for too long."""

    host: Hostname
    seen_at: Optional[float]  # None: it never came
    after: float  # seconds


@dataclass(frozen=True)
class CameBack:
    """A host that was reported lost is heard of again."""

    host: Hostname
    after: float  # seconds


@dataclass(frozen=True)
class PrefixIgnored:
    """A host was to move to another IPv6 prefix, and nobody knows its host part."""

    host: Hostname
    prefix: str


@dataclass(frozen=True)
class Rejected:
    """A host with the right key sent an update of which nothing can be made."""

    host: Hostname
    source: str
    error: str


@dataclass(frozen=True)
class LoginFailed:
    """Somebody sent wrong credentials; `host` is `None` when no registered one was named."""

    source: str
    host: Optional[Hostname]
    unsaid: int = 0  # others before it that were not told, for there were too many


@dataclass(frozen=True)
class LoginsBlocked:
    """So many logins failed for a host that wrong ones are turned away for a while."""

    source: str
    host: Hostname
    unsaid: int = 0  # other hosts before it that were not told, for there were too many


@dataclass(frozen=True)
class OperatorActed:
    """The operator did something about a host, from the page or by a command."""

    host: Hostname
    what: str
    source: str


Event = Union[
    Published,
    Confirmed,
    AnsweredFromCache,
    Postponed,
    Refused,
    Cleared,
    FellSilent,
    CameBack,
    PrefixIgnored,
    Rejected,
    LoginFailed,
    LoginsBlocked,
    OperatorActed,
]


class EventSink(Protocol):
    """Receives events, as the reporter does."""

    def report(self, event: Event) -> None:
        """Report an event. Never raises, never waits."""
