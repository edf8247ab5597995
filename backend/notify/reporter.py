"""Reports events: a log line, and perhaps a push."""

from __future__ import annotations

import logging
from typing import Any, Callable, Mapping, Optional

from backend.events import Event, PushPolicy
from backend.notify.ntfy import Push
from backend.text import duration, moment

logger = logging.getLogger("hetzner-dyndns")


class Reporter:
    """Logs events, and pushes those whose policy asks for it."""

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
        """Report an event; `quietly` sends no push. Never raises, and never blocks."""
        is_pushed = event.push in self._pushed and not quietly and getattr(event, "is_news", True)
        if not logger.isEnabledFor(event.level) and not is_pushed:
            return  # an unchanged update ends here
        words = {name: _FORMATS.get(name, str)(value) for name, value in vars(event).items()}
        message = event.message.format(**words)
        logger.log(event.level, "%s", message)
        if is_pushed:
            self._push(Push(event.title.format(**words), message, event.priority, event.tags))


def _last_seen(at: Optional[float]) -> str:
    return "none since its registration" if at is None else f"last seen {moment(at)}"


# How a field of an event is written; `str` writes all others.
_FORMATS: Mapping[str, Callable[[Any], str]] = {
    "host": lambda host: str(host or "an unknown host"),
    "type": lambda kind: str(kind.value),
    "after": duration,
    "seen_at": _last_seen,
    "unsaid": lambda more: f" {more} more since the last such line." if more else "",
}
