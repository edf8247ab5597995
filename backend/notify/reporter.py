"""Reports events: a log line, and perhaps a push, alone or with others of the same cause."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from backend.events import Event
from backend.text import duration, local

events = logging.getLogger("hetzner-dyndns")

# Longer lists contain only the names, and no more of them: a long message doesn't fit into a push,
# and its end says what to do.
_MOST_CHARACTERS = 3000


@dataclass(frozen=True)
class Push:
    """One notification. Priorities: 1 (least) to 5, 3 is ntfy's default."""

    title: str
    message: str
    priority: int = 3
    tags: tuple[str, ...] = ()

    def content(self, **more: str) -> str:
        """Return the push as JSON, for the store, with `more` for `merged`."""
        return json.dumps({**vars(self), **more})


class HostPush(NamedTuple):
    """A push about one host, which others of the same cause may join."""

    push: Push
    content: str  # for `merged`
    host: str
    cause: str
    topic: str
    is_problem: bool
    waits: float  # seconds


def merged(contents: Sequence[str]) -> tuple[str, int]:
    """Return content and priority of one push for all notifications of a cause."""
    found = [json.loads(content) for content in contents]
    first, hosts = found[0], {one["host"] for one in found}
    title, message = first["title"], first["message"]
    if len(hosts) > 1:
        title = f"{len(hosts)} {first['plural']}"
    if len(found) > 1:
        is_long = sum(len(one["line"]) for one in found) > _MOST_CHARACTERS
        lines_of: dict[str, dict[str, None]] = {}  # by advice
        for one in found:
            line = one["host"] if is_long else one["line"]
            lines_of.setdefault(one["advice"], {})[line] = None
        separator = ", " if is_long else "\n"
        paragraphs = [
            f"{_listed(list(lines), separator)}\n{advice}".strip()
            for advice, lines in lines_of.items()
        ]
        message = "\n\n".join(paragraphs)
    push = Push(title, message, max(one["priority"] for one in found), tuple(first["tags"]))
    return push.content(), push.priority


def _listed(lines: Sequence[str], separator: str) -> str:
    text = separator.join(lines)
    if len(text) <= _MOST_CHARACTERS:
        return text
    shown = text[:_MOST_CHARACTERS].rpartition(separator)[0]
    return f"{shown} and {len(lines) - shown.count(separator) - 1} more"


class Reporter:
    """Logs events, and pushes those that have a title."""

    def __init__(
        self,
        push: Callable[[Push | HostPush], None] = lambda _: None,
        *,
        pushes_routine: bool = False,
    ) -> None:
        self._push = push
        self._pushes_routine = pushes_routine

    def report(self, event: Event, *, quietly: bool = False) -> None:
        is_left_out = event.is_routine and not self._pushes_routine
        is_pushed = bool(event.title) and not (quietly or is_left_out)
        if not events.isEnabledFor(event.level) and not is_pushed:
            return  # an unchanged update ends here
        words = {name: _FORMATS.get(name, str)(value) for name, value in vars(event).items()}
        message = event.message.format(**words)
        events.log(event.level, "%s", message)
        if not is_pushed:
            return
        push = Push(event.title.format(**words), message, event.priority, event.tags)
        if not event.plural:
            self._push(push)
            return
        host = words["host"]
        shared = {name: text.replace(host, "the host") for name, text in words.items()}
        content = push.content(
            host=host,
            plural=event.plural,
            line=event.line.format(**words),
            advice=event.advice.format(**shared),
        )
        kind, is_problem = type(event).__name__, event.level >= logging.WARNING
        cause, topic = f"{kind} {event.cause}".strip(), event.topic or kind
        self._push(HostPush(push, content, host, cause, topic, is_problem, event.waits))


# How a field of an event is written; `str` writes all others.
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "host": lambda host: str(host or "an unknown host"),
    "type": lambda kind: str(kind.value),
    "after": duration,
    "seen_at": lambda at: f"last seen {local(at)}" if at else "none since its registration",
    "left_out": lambda more: f" {more} earlier ones were not logged." if more else "",
}
