"""What the operator hears of an event: all wording is here, in one table."""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass
from typing import Callable, Dict, Mapping, Optional, Tuple, Type

from backend.events import (
    AnsweredFromCache,
    CameBack,
    Cleared,
    Confirmed,
    Event,
    FellSilent,
    LoginFailed,
    LoginsBlocked,
    OperatorActed,
    Postponed,
    PrefixIgnored,
    Published,
    Refused,
    Rejected,
)
from backend.notify.ntfy import Push
from backend.text import duration, moment

logger = logging.getLogger("hetzner-dyndns")


class PushPolicy(enum.Enum):
    """When an event is pushed."""

    NEVER = 0
    CHANGING = 1  # NOTIFY_ON_CHANGE=1 or DEBUG_LOGGING=1
    ALWAYS = 2


@dataclass(frozen=True)
class MessageTemplate:
    """How an event is told: the level and the line in the log, and the push."""

    level: int
    sentence: str
    when: PushPolicy = PushPolicy.NEVER
    title: str = ""
    priority: int = 3
    tags: Tuple[str, ...] = ()


_TEMPLATES: Mapping[Type[Event], MessageTemplate] = {
    Published: MessageTemplate(
        logging.INFO,
        "{host} {type}: {old} -> {new} ({why}).",
        PushPolicy.CHANGING,
        "{host} has a new address",
        tags=("arrows_counterclockwise",),
    ),
    Confirmed: MessageTemplate(logging.DEBUG, "{host} {type}: no change (asked Hetzner)."),
    AnsweredFromCache: MessageTemplate(logging.DEBUG, "{host} {type}: no change (cache)."),
    Postponed: MessageTemplate(
        logging.WARNING,
        "{host} {type} is not published yet, and will be tried again. {error} Nothing needs to be "
        "done unless this lasts.",
        PushPolicy.ALWAYS,
        "{host} can't be updated now",
        tags=("hourglass",),
    ),
    Refused: MessageTemplate(
        logging.ERROR,
        "{host} {type} can't be published. {error}",
        PushPolicy.ALWAYS,
        "{host} can't be updated",
        tags=("no_entry",),
    ),
    Cleared: MessageTemplate(
        logging.INFO,
        "{host} {type} is published after all, {after} after it was asked for.",
        PushPolicy.ALWAYS,
        "{host} is up to date again",
        tags=("white_check_mark",),
    ),
    FellSilent: MessageTemplate(
        logging.ERROR,
        "{host} is lost: nothing heard of it for {after} ({last_seen}). Look whether it, its line "
        "and its update client are running, and whether the client has the host's key.",
        PushPolicy.ALWAYS,
        "{host} is lost",
        # 4 makes ntfy's apps vibrate long and pop over.
        priority=4,
        tags=("rotating_light",),
    ),
    CameBack: MessageTemplate(
        logging.INFO,
        "{host} is back again after {after}.",
        PushPolicy.ALWAYS,
        "{host} is back",
        tags=("white_check_mark",),
    ),
    PrefixIgnored: MessageTemplate(
        logging.WARNING,
        "{host} was sent the prefix {prefix} and has no AAAA record to take the host part of: set "
        "IPV6_INTERFACE_IDS={host}=::…, or let it send its own address once.",
    ),
    Rejected: MessageTemplate(
        logging.WARNING,
        "{host} sends updates of which nothing can be made, the last from {source}. {error}",
    ),
    LoginFailed: MessageTemplate(
        logging.WARNING,
        "Failed login from {source} for {host}.{unsaid} If it is your own device, compare its "
        "login with the key file.",
    ),
    LoginsBlocked: MessageTemplate(
        logging.WARNING,
        "Too many failed logins for {host}, the last from {source}: wrong keys are turned away for "
        "a while, the right one still passes. If it is your own device, give it the key in the "
        "key file.{unsaid}",
        PushPolicy.ALWAYS,
        "Failed logins for {host}",
        tags=("lock",),
    ),
    OperatorActed: MessageTemplate(logging.INFO, "{host} {what} (operator, {source})."),
}


class Reporter:
    """Tells the operator what happened: a log line, and perhaps a push."""

    def __init__(
        self,
        push: Callable[[Push], None] = lambda _: None,
        *,
        on_change: bool = False,
        debugging: bool = False,
    ) -> None:
        self._push = push
        self._pushed = {PushPolicy.ALWAYS}
        if on_change or debugging:
            self._pushed.add(PushPolicy.CHANGING)

    def report(self, event: Event, *, quietly: bool = False) -> None:
        """Tell of an event, quietly by the log alone. Never raises, never waits for anybody."""
        template = _TEMPLATES[type(event)]
        is_pushed = template.when in self._pushed and getattr(event, "is_news", True)
        if not logger.isEnabledFor(template.level) and not is_pushed:
            return  # an unchanged poll ends here
        words = _words(event)
        sentence = template.sentence.format(**words)
        logger.log(template.level, "%s", sentence)
        if is_pushed and not quietly:
            title = template.title.format(**words)
            self._push(Push(title, sentence, template.priority, template.tags))


def _words(event: Event) -> Dict[str, object]:
    words = dict(vars(event))
    if "type" in words:
        words["type"] = words["type"].value
    if "after" in words:
        words["after"] = duration(words["after"])
    if "seen_at" in words:
        words["last_seen"] = _last_seen(words["seen_at"])
    if "unsaid" in words:
        more = words["unsaid"]
        words["unsaid"] = f" ({more} more since the last such line.)" if more else ""
    if words["host"] is None:
        words["host"] = "an unknown host"
    return words


def _last_seen(at: Optional[float]) -> str:
    return "never since it was registered" if at is None else f"last seen {moment(at)}"
