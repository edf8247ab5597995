"""What the operator hears of an event: all wording is here, in one table."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Mapping, Optional, Tuple, Type, Union

from backend.model import Hostname, RecordType

logger = logging.getLogger("hetzner-dyndns")


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
    pause: float  # seconds


@dataclass(frozen=True)
class Refused:
    """A wish can't be fulfilled before the operator changes something."""

    host: Hostname
    type: RecordType
    error: str


@dataclass(frozen=True)
class LoginFailed:
    """Somebody sent wrong credentials; `host` is `None` when no registered one was named."""

    source: str
    host: Optional[Hostname]
    count: int
    locked: bool


Event = Union[Published, Confirmed, Remembered, Postponed, Refused, LoginFailed]

_SENTENCES: Mapping[Type[Event], Tuple[int, str]] = {
    Published: (logging.INFO, "%(host)s %(type)s: %(old)s -> %(new)s (%(why)s)"),
    Confirmed: (logging.DEBUG, "%(host)s %(type)s: no change (asked Hetzner)"),
    Remembered: (logging.DEBUG, "%(host)s %(type)s: no change (cache)"),
    Postponed: (
        logging.WARNING,
        "%(host)s %(type)s: not published yet, next try in %(pause).0f s. %(error)s",
    ),
    Refused: (logging.ERROR, "%(host)s %(type)s: can't be published. %(error)s"),
    LoginFailed: (
        logging.WARNING,
        "Failed login from %(source)s for %(host)s, number %(count)d of late",
    ),
}


class Reporter:
    """Tells the operator what happened, as one log line an event."""

    def report(self, event: Event) -> None:
        """Tell of an event. Never raises, never waits for anybody."""
        level, sentence = _SENTENCES[type(event)]
        if logger.isEnabledFor(level):
            logger.log(level, sentence, _words(event))


def _words(event: Event) -> Mapping[str, object]:
    words = dict(vars(event))
    if "type" in words:
        words["type"] = words["type"].value
    if words["host"] is None:
        words["host"] = "an unknown host"
    return words
