"""Reports events: a log line, and perhaps a push, alone or with others of the same cause."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Mapping, Sequence

from backend.errors import StoreUnavailable
from backend.events import Event, PushPolicy
from backend.notify.ntfy import Push
from backend.store.leases import LeaderElection
from backend.store.pushes import Pushes, WaitingPush
from backend.text import duration, local

events = logging.getLogger("hetzner-dyndns")

# Waiting in memory for the store; more than there are hosts.
_MOST_UNSTORED = 10_000
# Longer lists contain only the names: a long message doesn't fit into a push.
_MOST_CHARACTERS = 3000


@dataclass(frozen=True)
class HostPush:
    """A push about one host, and how it is written if others share its cause."""

    push: Push
    host: str
    plural: str
    line: str
    advice: str
    cause: str
    topic: str
    is_trouble: bool
    waits: float  # seconds

    def content(self) -> str:
        """Return what `merged` needs, as JSON."""
        shared = {"plural": self.plural, "line": self.line, "advice": self.advice}
        return json.dumps({**vars(self.push), "host": self.host, **shared})


def merged(contents: Sequence[str]) -> Push:
    """Return one push for all notifications of a cause."""
    found = [json.loads(content) for content in contents]
    first = found[0]
    fixed = {"priority": max(one["priority"] for one in found), "tags": tuple(first["tags"])}
    if len(found) == 1:
        return Push(first["title"], first["message"], **fixed)
    hosts = dict.fromkeys(one["host"] for one in found)
    title = first["title"] if len(hosts) == 1 else f"{len(hosts)} {first['plural']}"
    is_long = sum(len(one["line"]) for one in found) > _MOST_CHARACTERS
    lines_of: dict[str, dict[str, None]] = {}  # by advice
    for one in found:
        line = one["host"] if is_long else one["line"]
        lines_of.setdefault(one["advice"], {})[line] = None
    paragraphs = []
    for advice, lines in lines_of.items():
        shown = (", " if is_long else "\n").join(lines)
        paragraphs.append(f"{shown}\n{advice}".strip())
    return Push(title, "\n\n".join(paragraphs), **fixed)


class Grouping:
    """Collects pushes about hosts in the store, so that one cause is one push.

    Each process stores its pushes; the leader sends those of all processes.
    """

    def __init__(
        self,
        pushes: Pushes,
        election: LeaderElection,
        send: Callable[[Push], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pushes = pushes
        self._election = election
        self._send = send
        self._clock = clock
        self.wake: Callable[[], None] = lambda: None  # lets `tick` be called at once
        self._unstored: list[WaitingPush] = []
        self._lock = threading.Lock()

    def put(self, push: Push | HostPush) -> None:
        """Send a push, or let it wait for others with the same cause."""
        if isinstance(push, HostPush):
            now = self._clock()
            due = now + push.waits
            fields = (push.cause, push.host, push.topic, push.is_trouble, now, due, push.content())
            with self._lock:
                if len(self._unstored) < _MOST_UNSTORED:
                    self._unstored.append(WaitingPush(*fields))
                    self.wake()
                    return
            push = push.push
        self._send(push)

    def tick(self) -> None:
        """Store new pushes; as the leader, send those that are due. Call this every second."""
        now = self._clock()
        self._store(now)
        if self._election.keep(now):
            self._take(now)

    def stop(self) -> None:
        """Send all pushes that wait, even those of other processes: none of them may be left."""
        now = self._clock()
        try:
            self._store(now)
            self._take(now, everything=True)
            self._election.resign()
        except StoreUnavailable:
            with self._lock:
                unstored, self._unstored = self._unstored, []
            for one in unstored:
                self._send(merged([one.content]))

    def _store(self, now: float) -> None:
        with self._lock:
            new = list(self._unstored)
        if new:
            self._pushes.add(new, now)
            with self._lock:
                del self._unstored[: len(new)]

    def _take(self, now: float, *, everything: bool = False) -> None:
        for contents in self._pushes.take(now, everything=everything):
            self._send(merged(contents))


class Reporter:
    """Logs events, and pushes those whose policy asks for it."""

    def __init__(
        self,
        push: Callable[[Push | HostPush], None] = lambda _: None,
        *,
        on_change: bool = False,
        debugging: bool = False,
    ) -> None:
        self._push = push
        self._pushed = {PushPolicy.ALWAYS}
        if on_change or debugging:
            self._pushed.add(PushPolicy.CHANGING)

    def report(self, event: Event, *, quietly: bool = False) -> None:
        is_pushed = event.push in self._pushed and not quietly
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
        host_push = HostPush(
            push,
            host,
            event.plural,
            event.line.format(**words),
            event.advice.format(**shared),
            f"{type(event).__name__} {event.cause}".strip(),
            event.topic or type(event).__name__,
            event.level >= logging.WARNING,
            event.waits,
        )
        self._push(host_push)


# How a field of an event is written; `str` writes all others.
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "host": lambda host: str(host or "an unknown host"),
    "type": lambda kind: str(kind.value),
    "after": duration,
    "seen_at": lambda at: f"last seen {local(at)}" if at else "none since its registration",
    "left_out": lambda more: f" {more} earlier ones were not logged." if more else "",
}
