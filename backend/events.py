"""All events that are reported to the operator, each with its log line and its push."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from backend.model import Hostname, RecordType


@dataclass(frozen=True)
class Event:
    """The base class of events. `message` and `title` are templates over the event's fields.

    Events without a title aren't pushed. Those that are `is_routine` are pushed only with
    NOTIFY_ON_CHANGE=1 or DEBUG_LOGGING=1.

    Events about a host share a push with others of the same class and `cause`: `plural` is its
    title after the number of hosts, `line` the template of the line for each event, and `advice`
    the template of the text below.
    """

    level: ClassVar[int]
    message: ClassVar[str]
    title: ClassVar[str] = ""
    is_routine: ClassVar[bool] = False
    priority: ClassVar[int] = 3
    tags: ClassVar[tuple[str, ...]] = ()
    plural: ClassVar[str] = ""
    line: ClassVar[str] = "{host}"
    advice: ClassVar[str] = ""
    # An event ends those about the same host and topic that have another class.
    topic: ClassVar[str] = ""
    # A push waits until no event has joined it for this many seconds.
    gathers: ClassVar[float] = 5.0

    @property
    def cause(self) -> str:
        """What events must have in common, besides their class, to share a push."""
        return ""

    @property
    def others_within(self) -> float:
        """The seconds in which more hosts are expected to join."""
        return 0.0

    @property
    def waits(self) -> float:
        """The seconds in which more events of the same cause may follow."""
        return max(self.gathers, self.others_within)


@dataclass(frozen=True)
class RecordEvent(Event):
    """The base class of events about one record."""

    host: Hostname
    type: RecordType


@dataclass(frozen=True)
class Published(RecordEvent):
    """Hetzner has accepted a change of a record."""

    level = logging.INFO
    message = "{host} {type}: {old} -> {new} ({why})."
    is_routine = True
    title = "{host} has a new address"
    tags = ("arrows_counterclockwise",)
    plural = "hosts have new addresses"
    line = "{host} {type}: {old} -> {new}"

    old: str
    new: str
    why: str
    # The network of the requester: a new prefix moves all hosts behind one router.
    cause: str = field(default="", compare=False)
    # The seconds in which other hosts behind this router may follow.
    others_within: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Confirmed(RecordEvent):
    """Hetzner's API shows the desired record."""

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
    title = "{host} can't be updated now"
    tags = ("hourglass",)
    plural = "hosts can't be updated now"
    advice = "The updates will be retried. {error} Act only if this lasts."
    topic = "failure"
    gathers = 60.0  # hosts send updates at different times, so they fail one after another

    error: str


@dataclass(frozen=True)
class Refused(RecordEvent):
    """An update can't be published before the operator changes something."""

    level = logging.ERROR
    message = "{host} {type} can't be published. {error}"
    title = "{host} can't be updated"
    tags = ("no_entry",)
    plural = "hosts can't be updated"
    advice = "{error}"
    topic = "failure"

    error: str
    cause: str = field(default="", compare=False)  # the class of the error, whose text may differ


@dataclass(frozen=True)
class Cleared(RecordEvent):
    """An update whose error was reported has been published."""

    level = logging.INFO
    message = "{host} {type} is published after all, {after} after the request."
    title = "{host} is up to date again"
    tags = ("white_check_mark",)
    plural = "hosts are up to date again"
    line = "{host} {type}: {after} after the request"
    topic = "failure"

    after: float  # seconds since the request


@dataclass(frozen=True)
class SeveralRecords(RecordEvent):
    """An update is about to replace several records with a single one."""

    level = logging.WARNING
    message = (
        "{host} has several {type} records ({values}): the update replaces them with {new}. "
        "Give each of the other machines its own host name."
    )
    title = "{host} has several records"
    tags = ("warning",)
    plural = "hosts have several records"
    line = "{host} {type}: {values}"
    advice = "An update replaces these records with one. Give each machine its own host name."
    values: str
    new: str


@dataclass(frozen=True)
class Contested(RecordEvent):
    """Two devices overwrite each other's address."""

    level = logging.WARNING
    message = (
        "{host} {type} was changed back and forth repeatedly within an hour by requests from "
        "{sources}. Two devices seem to use the same host: give each device its own host name and "
        "key."
    )
    title = "Two devices update {host}"
    tags = ("warning",)
    plural = "hosts are updated by two devices each"
    line = "{host} {type}: requests from {sources}"
    advice = "Give each device its own host name and key."

    sources: str


@dataclass(frozen=True)
class ZoneFailed(Event):
    """Hetzner can't publish a zone."""

    level = logging.ERROR
    message = (
        "Hetzner can't publish zone {zone}, so updates of its hosts don't reach DNS. Check the "
        "zone at console.hetzner.com, or contact Hetzner's support."
    )
    title = "Zone {zone} isn't published"
    tags = ("warning",)

    zone: str


@dataclass(frozen=True)
class ActionsUnknown(Event):
    """Hetzner doesn't report the outcome of the actions of accepted changes."""

    level = logging.ERROR
    message = (
        "Hetzner doesn't confirm that it publishes changes. {error} Until Hetzner confirms changes "
        "again, a record counts as published as soon as the API shows it."
    )
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
    title = "{host} is lost"
    priority = 4  # ntfy's apps vibrate long and show a pop-over
    tags = ("rotating_light",)
    plural = "hosts are lost"
    line = "{host}: no update for {after} ({seen_at})"
    advice = (
        "If they share an internet connection, check it first. Then check that the hosts and their "
        "update clients work, and that each client has the key of its host."
    )
    topic = "silence"

    host: Hostname
    seen_at: float | None  # None: never
    after: float  # seconds
    # The seconds in which more hosts are about to count as lost.
    others_within: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class CameBack(Event):
    """A host that was reported as lost has sent an update."""

    level = logging.INFO
    message = "{host} is back again after {after}."
    title = "{host} is back"
    tags = ("white_check_mark",)
    plural = "hosts are back"
    line = "{host}: after {after}"
    topic = "silence"

    host: Hostname
    after: float  # seconds
    # The seconds in which the hosts that were lost with it may be back as well.
    others_within: float = field(default=0.0, compare=False)


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
    title = "{host} sends invalid updates"
    tags = ("warning",)
    plural = "hosts send invalid updates"
    line = "{host} (from {source}): {error}"
    kind: ClassVar[str] = "rejected"  # in the history

    host: Hostname
    source: str
    error: str


@dataclass(frozen=True)
class PartlyUsed(Rejected):
    """An update has valid addresses, but also invalid values."""

    message = "{host} was updated, but a part of the request from {source} is invalid. {error}"
    title = "{host} sends partly invalid updates"
    plural = "hosts send partly invalid updates"
    kind = "partial"


@dataclass(frozen=True)
class LoginFailed(Event):
    """A client sent wrong credentials."""

    level = logging.WARNING
    message = (
        "Failed login from {source} for {host}.{left_out} If {source} is your own device, "
        "compare its user name and key with the output of `setup`."
    )

    source: str
    host: Hostname | None  # None: the request named no registered host
    left_out: int = 0  # earlier failures that weren't logged because there were too many


@dataclass(frozen=True)
class LoginsBlocked(Event):
    """Too many logins failed for a host: wrong logins are rejected for a while."""

    level = logging.WARNING
    message = (
        "Too many failed logins for {host}, the last one from {source}: wrong keys are rejected "
        "for a while, but the correct key still works. If {source} is your own device, enter "
        "the key that the dashboard and `setup` show.{left_out}"
    )
    title = "Failed logins for {host}"
    tags = ("lock",)
    plural = "hosts have failed logins"
    line = "{host}: the last one from {source}"
    advice = (
        "Wrong keys are rejected for a while, but the correct keys still work. If a source is your "
        "own device, enter the key that the dashboard and `setup` show.{left_out}"
    )

    source: str
    host: Hostname
    left_out: int = 0  # earlier hosts that weren't reported because there were too many


@dataclass(frozen=True)
class TokenRefused(Event):
    """Hetzner refuses a token: no host of its project can be updated."""

    level = logging.ERROR
    message = "Hetzner refuses token {number}. {error}"
    title = "Hetzner refuses a token"
    tags = ("key",)

    number: int  # in HETZNER_TOKEN, from 1
    error: str


@dataclass(frozen=True)
class ChallengePublished(Event):
    """A text for a certificate is in DNS. This is pushed only after a failure."""

    level = logging.INFO
    message = (
        "{host}: a certificate challenge from {source} is published, {after} after the request."
    )
    title = "{host} can get certificates again"
    tags = ("white_check_mark",)
    plural = "hosts can get certificates again"
    topic = "certificates"

    host: Hostname
    source: str
    after: float  # seconds


@dataclass(frozen=True)
class ChallengeFailed(Event):
    """A text for a certificate could not be published, or not be removed."""

    level = logging.WARNING
    message = "{host}: a certificate challenge failed. {error}"
    title = "A certificate of {host} may fail"
    tags = ("lock",)
    plural = "certificates may fail"
    advice = "{error}"
    topic = "certificates"

    host: Hostname
    error: str


@dataclass(frozen=True)
class ChallengeRemoved(Event):
    """A text for a certificate was removed from DNS."""

    level = logging.DEBUG
    message = "{host}: a certificate challenge was removed."

    host: Hostname


@dataclass(frozen=True)
class OperatorActed(Event):
    """The operator acted on a host, on the dashboard or with a command."""

    level = logging.INFO
    message = "{host} {what} (operator, {source})."

    host: Hostname
    what: str
    source: str


class EventSink(Protocol):
    """Receives events, as the reporter does."""

    def report(self, event: Event, *, quietly: bool = False) -> None:
        """Report an event; `quietly` sends no push.

        Raises:
            StoreUnavailable: the push can't be stored. Events without a push never raise.

        """
