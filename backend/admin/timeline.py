"""A host's history as a picture: which address when, and what went wrong."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

from backend.model import Address, RecordType
from backend.store.schema import Entry
from backend.text import duration, moment

CHANGES = ("created", "replaced", "deleted")
FAILURES = ("postponed", "refused")
CONTACT = ("lost", "back")
DEEDS = ("rotated", "muted", "unmuted", "dropped")

_DAY = 86400.0
_TICKS = 7
_LAST_TICK = 92  # percent: there has to be room for its label
_NARROWEST = 0.4  # percent: two or three pixels
_STEPS = (4, 24, 5 * 24, 15 * 24)  # hours


@dataclass(frozen=True)
class Bar:
    """A stretch of time in which something held; `start` and `width` in percent."""

    start: float
    width: float
    kind: str  # even, odd (addresses by turns), lost
    label: str
    title: str


@dataclass(frozen=True)
class Mark:
    """Something that happened at one moment."""

    at: float  # percent
    kind: str  # the event
    title: str


@dataclass(frozen=True)
class Lane:
    """One row of the picture."""

    name: str
    bars: Sequence[Bar]
    marks: Sequence[Mark]


@dataclass(frozen=True)
class Timeline:
    """The picture."""

    lanes: Sequence[Lane]
    ticks: Sequence[Tuple[float, str]]
    summary: str


class _Window:
    """The stretch of time that is drawn."""

    def __init__(self, now: float, days: float) -> None:
        self.start = now - days * _DAY
        self.end = now

    def percent(self, at: float) -> float:
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def bar(self, begin: float, end: float, kind: str, label: str) -> Optional[Bar]:
        if end <= self.start or begin >= self.end:
            return None
        start, stop = self.percent(begin), self.percent(end)
        since = "before" if begin == 0.0 else moment(begin)
        title = f"{label}: {since} to {moment(end)}"
        return Bar(start, round(max(0.2, stop - start), 3), kind, label, title)

    def holds(self, at: float) -> bool:
        return self.start <= at <= self.end


def draw(
    entries: Sequence[Entry],
    published: Mapping[RecordType, Address],
    silent_since: Optional[float],
    now: float,
    days: float,
) -> Timeline:
    """Draw the last days of one host. `entries` are its newest first, as the store gives them."""
    window = _Window(now, days)
    told = [entry for entry in reversed(entries) if entry.at <= now]
    lanes = [
        _addresses(kind, [one for one in told if one.type == kind.value], published, window)
        for kind in RecordType
        if kind in published or any(one.type == kind.value for one in told)
    ]
    lanes.append(_contact([one for one in told if not one.type], silent_since, window))
    return Timeline(lanes, _ticks(window, days), _summary(told, window, days))


def _addresses(
    kind: RecordType,
    entries: Sequence[Entry],
    published: Mapping[RecordType, Address],
    window: _Window,
) -> Lane:
    changes = [one for one in entries if one.event in CHANGES]
    held = published.get(kind)
    first = changes[0].old if changes else None if held is None else str(held)
    spans: List[Tuple[float, Optional[str]]] = [(0.0, first)]
    spans += [(one.at, one.new) for one in changes]
    ends = [begin for begin, _ in spans[1:]] + [window.end]
    bars = [
        window.bar(begin, end, ("even", "odd")[number % 2], address)
        for number, ((begin, address), end) in enumerate(zip(spans, ends))
        if address
    ]
    failures = [one for one in entries if one.event not in CHANGES]
    return Lane(kind.value, _seen([bar for bar in bars if bar]), _marks(failures, window))


def _seen(bars: Sequence[Bar]) -> List[Bar]:
    """Leave out bars that nobody could tell from the one before; the table has all of them."""
    seen: List[Bar] = []
    for bar in bars:
        if bar.width >= _NARROWEST or not seen or bar.start >= seen[-1].start + _NARROWEST:
            seen.append(bar)
    return seen


def _contact(entries: Sequence[Entry], silent_since: Optional[float], window: _Window) -> Lane:
    bars: List[Optional[Bar]] = []
    lost: Optional[float] = None
    for one in entries:
        if one.event == "lost":
            lost = one.at
        elif one.event == "back" and lost is not None:
            bars.append(window.bar(lost, one.at, "lost", "lost"))
            lost = None
    begin = lost if lost is not None else silent_since
    if silent_since is not None and begin is not None:
        bars.append(window.bar(begin, window.end, "lost", "lost"))
    deeds = [one for one in entries if one.event not in CONTACT]
    return Lane("contact", [bar for bar in bars if bar], _marks(deeds, window))


def _marks(entries: Sequence[Entry], window: _Window) -> List[Mark]:
    found = {}
    for one in entries:
        if window.holds(one.at):
            title = f"{one.event}, {moment(one.at)}" + (f": {one.why}" if one.why else "")
            at = window.percent(one.at)
            found[one.event, at // _NARROWEST] = Mark(at, one.event, title)
    return list(found.values())


def _ticks(window: _Window, days: float) -> List[Tuple[float, str]]:
    """Mark round moments (UTC): few enough for a phone."""
    step = next((hours * 3600 for hours in _STEPS if days * 24 / hours <= _TICKS), _DAY * days)
    form = "%H:%M" if step < _DAY else "%d %b"
    first = window.start - window.start % step + step
    moments = [first + step * number for number in range(_TICKS)]
    return [
        (window.percent(at), time.strftime(form, time.gmtime(at)))
        for at in moments
        if window.percent(at) < _LAST_TICK
    ]


def _summary(entries: Sequence[Entry], window: _Window, days: float) -> str:
    numbers: Dict[str, int] = {"changes": 0, "failures": 0, "losses": 0}
    for one in entries:
        if window.holds(one.at):
            numbers["changes"] += one.event in CHANGES
            numbers["failures"] += one.event in FAILURES
            numbers["losses"] += one.event == "lost"
    told = ", ".join(f"{number} {name}" for name, number in numbers.items())
    return f"The last {duration(days * _DAY)}: {told}. The table below says the same in words."
