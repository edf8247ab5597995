"""Every event that the operator may want to know of, with its log line and its push."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import ClassVar, Protocol

from backend.model import Hostname, RecordType


class PushPolicy(enum.Enum):
    """When an event is pushed."""

    NEVER = 0
    CHANGING = 1  # NOTIFY_ON_CHANGE=1 or DEBUG_LOGGING=1
    ALWAYS = 2


@dataclass(frozen=True)
class Event:
    """What all events have. `message` and `title` are templates over the fields of the event."""

    level: ClassVar[int]
    message: ClassVar[str]
    push: ClassVar[PushPolicy] = PushPolicy.NEVER
    title: ClassVar[str] = ""
    priority: ClassVar[int] = 3
    tags: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class RecordEvent(Event):
    """An event of one record."""

    host: Hostname
    type: RecordType


@dataclass(frozen=True)
class Published(RecordEvent):
    """Hetzner has accepted a change of a record."""

    level = logging.INFO
    message = "{host} {type}: {old} -> {new} ({why})."
    push = PushPolicy.CHANGING
    title = "{host} has a new address"
    tags = ("arrows_counterclockwise",)

    old: str
    new: str
    why: str


@dataclass(frozen=True)
class Confirmed(RecordEvent):
    """Hetzner was asked, and has the desired record."""

    level = logging.DEBUG
    message = "{host} {type}: no change (asked Hetzner)."


@dataclass(frozen=True)
class AnsweredFromCache(RecordEvent):
    """The record is up to date; Hetzner wasn't asked."""

    level = logging.DEBUG
    message = "{host} {type}: no change (cache)."


@dataclass(frozen=True)
class Postponed(RecordEvent):
    """An update can't be published now, and is retried later."""

    level = logging.WARNING
    message = (
        "{host} {type} is not published yet, and will be retried. {error} Act only if this lasts."
    )
    push = PushPolicy.ALWAYS
    title = "{host} can't be updated now"
    tags = ("hourglass",)

    error: str


@dataclass(frozen=True)
class Refused(RecordEvent):
    """An update can't be published before the operator changes something."""

    level = logging.ERROR
    message = "{host} {type} can't be published. {error}"
    push = PushPolicy.ALWAYS
    title = "{host} can't be updated"
    tags = ("no_entry",)

    error: str


@dataclass(frozen=True)
class Cleared(RecordEvent):
    """An update is published whose error was reported."""

    level = logging.INFO
    message = "{host} {type} is published after all, {after} after the request."
    push = PushPolicy.ALWAYS
    title = "{host} is up to date again"
    tags = ("white_check_mark",)

    after: float  # seconds since the request


@dataclass(frozen=True)
class SeveralRecords(RecordEvent):
    """An update is about to replace several records by one."""

    level = logging.WARNING
    message = (
        "{host} has several {type} records ({values}): the update replaces them by {new}. Give "
        "other machines host names of their own."
    )

    values: str
    new: str


@dataclass(frozen=True)
class Contested(RecordEvent):
    """Two devices overwrite each other's address."""

    level = logging.WARNING
    message = (
        "{host} {type} is changed back and forth, seven times within an hour, by requests from "
        "{sources}. Two devices seem to use the same host: give each a host name and a key of its "
        "own."
    )
    push = PushPolicy.ALWAYS
    title = "Two devices update {host}"
    tags = ("warning",)

    sources: str


@dataclass(frozen=True)
class ZoneFailed(Event):
    """Hetzner can't publish a zone."""

    level = logging.ERROR
    message = (
        "Hetzner can't publish zone {zone}, so updates of its hosts don't reach DNS. Look at the "
        "zone at console.hetzner.com, or ask Hetzner's support."
    )
    push = PushPolicy.ALWAYS
    title = "Zone {zone} isn't published"
    tags = ("warning",)

    zone: str


@dataclass(frozen=True)
class ActionsUnknown(Event):
    """Hetzner doesn't tell how the actions of accepted changes have ended."""

    level = logging.ERROR
    message = (
        "Hetzner doesn't confirm that it publishes changes. {error} Until it does, a record counts "
        "as published as soon as the API shows it."
    )
    push = PushPolicy.ALWAYS
    title = "Hetzner doesn't confirm changes"
    tags = ("warning",)

    error: str


@dataclass(frozen=True)
class FellSilent(Event):
    """A host has sent no update for too long."""

    level = logging.ERROR
    message = (
        "{host} is lost: no update for {after} ({seen_at}). Check that the host, its internet "
        "connection and its update client work, and that the client has the host's key."
    )
    push = PushPolicy.ALWAYS
    title = "{host} is lost"
    priority = 4  # ntfy's apps vibrate long and pop over
    tags = ("rotating_light",)

    host: Hostname
    seen_at: float | None  # None: never
    after: float  # seconds


@dataclass(frozen=True)
class CameBack(Event):
    """A host that was reported as lost has sent an update."""

    level = logging.INFO
    message = "{host} is back again after {after}."
    push = PushPolicy.ALWAYS
    title = "{host} is back"
    tags = ("white_check_mark",)

    host: Hostname
    after: float  # seconds


@dataclass(frozen=True)
class PrefixIgnored(Event):
    """An update moves a host to another IPv6 prefix, but the host part is unknown."""

    level = logging.WARNING
    message = (
        "{source} sent the prefix {prefix} for {host}, but {host} has no AAAA record that shows "
        "its host part. Set IPV6_INTERFACE_IDS={host}=::…, or send the address of the host once."
    )

    host: Hostname
    source: str
    prefix: str


@dataclass(frozen=True)
class Rejected(Event):
    """A client with the right key sent an invalid update."""

    level = logging.WARNING
    message = "{host} was not updated: the request from {source} is invalid. {error}"
    kind: ClassVar[str] = "rejected"  # in the history

    host: Hostname
    source: str
    error: str


@dataclass(frozen=True)
class PartlyUsed(Event):
    """An update has valid addresses, and invalid texts beside them."""

    level = logging.WARNING
    message = "{host} was updated, but a part of the request from {source} is invalid. {error}"
    kind: ClassVar[str] = "partial"  # in the history

    host: Hostname
    source: str
    error: str


@dataclass(frozen=True)
class LoginFailed(Event):
    """A client sent wrong credentials."""

    level = logging.WARNING
    message = (
        "Failed login from {source} for {host}.{left_out} If it is your own device, compare its "
        "login with the key file."
    )

    source: str
    host: Hostname | None  # None: no registered one was named
    left_out: int = 0  # earlier ones that were left out because there were too many


@dataclass(frozen=True)
class LoginsBlocked(Event):
    """So many logins failed for a host that wrong ones are rejected for a while."""

    level = logging.WARNING
    message = (
        "Too many failed logins for {host}, the last from {source}: wrong keys are rejected for a "
        "while, the right key still works. If it is your own device, give it the key in the key "
        "file.{left_out}"
    )
    push = PushPolicy.ALWAYS
    title = "Failed logins for {host}"
    tags = ("lock",)

    source: str
    host: Hostname
    left_out: int = 0  # earlier hosts that were left out because there were too many


@dataclass(frozen=True)
class OperatorActed(Event):
    """The operator did something about a host, on the dashboard or by a command."""

    level = logging.INFO
    message = "{host} {what} (operator, {source})."

    host: Hostname
    what: str
    source: str


class EventSink(Protocol):
    """Receives events, as the reporter does."""

    def report(self, event: Event, *, quietly: bool = False) -> None:
        """Report an event; `quietly` sends no push. Never raises, and never waits."""
