"""How times, states and events are written on the pages."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, Mapping, Optional, Tuple

from markupsafe import Markup

from backend.operations.timeline import CHANGES, CONTACT, DEEDS, FAILURES
from backend.reporting.reporter import duration

# What can be chosen of a history, and which events that are.
KINDS: Mapping[str, Tuple[str, ...]] = {
    "changes": CHANGES,
    "failures": FAILURES,
    "contact": CONTACT,
    "operator": DEEDS,
}
KIND_NAMES = {
    "": "everything",
    "changes": "address changes",
    "failures": "failures",
    "contact": "lost and back",
    "operator": "what the operator did",
}
DONE = {
    "retry": "Its waiting updates are being tried again.",
    "nothing": "There was nothing to do.",
    "forget": "Its error is forgotten.",
    "mute": "It is muted: nothing is pushed when it is lost.",
    "unmute": "It is not muted any more.",
}


def ago(at: Optional[float], now: float) -> Markup:
    """Write how long ago something was; the exact time is shown on hover."""
    if at is None:
        return Markup("never")
    seconds = now - at
    words = "just now" if seconds < 5 else f"{_rough(seconds)} ago"  # noqa: PLR2004
    return _time(at, words)


def until(at: float, now: float) -> Markup:
    """Write when something will be."""
    return _time(at, "now" if at <= now else f"in {_rough(at - now)}")


def day(at: float) -> Markup:
    """Write a moment to the minute."""
    return _time(at, time.strftime("%Y-%m-%d %H:%M", time.gmtime(at)))


def _rough(seconds: float) -> str:
    """Say a duration in its largest unit: what changes every second would disturb."""
    if seconds < 60:  # noqa: PLR2004
        return f"{int(seconds)} s"
    unit = next(size for size in (86400, 3600, 60) if seconds >= size)
    return duration(seconds // unit * unit)


def clock(at: float) -> str:
    """Write the time of day."""
    return time.strftime("%H:%M:%S", time.gmtime(at))


def iso(at: float) -> str:
    """Write a moment for programs."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def _time(at: float, words: str) -> Markup:
    exact = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso(at), exact, words)


FILTERS: Dict[str, Callable[..., Any]] = {
    "ago": ago,
    "until": until,
    "day": day,
    "clock": clock,
    "iso": iso,
}
