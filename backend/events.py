"""What can happen that the operator may want to hear of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

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
class Remembered:
    """The record is as it shall be; Hetzner wasn't asked."""

    host: Hostname
    type: RecordType


@dataclass(frozen=True)
class Postponed:
    """A wish could not be fulfilled now, and will be tried again."""

    host: Hostname
    type: RecordType
    error: str


@dataclass(frozen=True)
class Refused:
    """A wish can't be fulfilled before the operator changes something."""

    host: Hostname
    type: RecordType
    error: str


@dataclass(frozen=True)
class Cleared:
    """What kept a wish from being fulfilled is gone."""

    host: Hostname
    type: RecordType
    after: float  # seconds since the wish


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
class LoginFailed:
    """Somebody sent wrong credentials; `host` is `None` when no registered one was named."""

    source: str
    host: Optional[Hostname]


@dataclass(frozen=True)
class LoginsBlocked:
    """So many logins failed for a host that wrong ones are turned away for a while."""

    source: str
    host: Hostname


@dataclass(frozen=True)
class OperatorActed:
    """The operator did something about a host, from the page or by a command."""

    host: Hostname
    what: str
    source: str


Event = Union[
    Published,
    Confirmed,
    Remembered,
    Postponed,
    Refused,
    Cleared,
    FellSilent,
    CameBack,
    LoginFailed,
    LoginsBlocked,
    OperatorActed,
]
