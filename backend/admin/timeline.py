"""A host's history as a picture: its addresses over time, and failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence

from backend.model import Address, RecordType
from backend.store.schema import Entry
from backend.text import counted, moment, rough

CHANGES = ("created", "replaced", "deleted")
FAILURES = ("postponed", "refused", "rejected", "partial", "several")
CONTACT = ("lost", "back")
OPERATOR_ACTIONS = ("rotated", "muted", "unmuted", "dropped")

_DAY = 86400.0
_TICKS = 7
_LAST_TICK = 92  # percent: leaves room for its label
_NARROWEST = 0.4  # percent: two or three pixels
_STEPS = (4, 24, 5 * 24, 15 * 24)  # hours


@dataclass(frozen=True)
class Bar:
    """A period in which something was true; `start` and `width` in percent."""

    start: float
    width: float
    kind: str  # even, odd (addresses alternate), lost
    label: str
    title: str


@dataclass(frozen=True)
class Mark:
    """An event at one moment."""

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
    ticks: Sequence[tuple[float, str]]
    summary: str


@dataclass(frozen=True)
class _Window:
    """The period that is drawn."""

    start: float
    end: float

    def percent(self, at: float) -> float:
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def bar(self, begin: float, end: float, kind: str, label: str) -> list[Bar]:
        """Return a bar for the part of a period that is in the window, if any."""
        if end <= self.start or begin >= self.end:
            return []
        start, stop = self.percent(begin), self.percent(end)
        since = "before" if begin == 0.0 else moment(begin)
        title = f"{label}: {since} to {moment(end)}"
        return [Bar(start, round(max(0.2, stop - start), 3), kind, label, title)]

    def marks(self, entries: Iterable[Entry]) -> list[Mark]:
        """Return a mark for each entry in the window; of overlapping marks, only the last one."""
        found = {}
        for one in self.inside(entries):
            title = f"{one.event}, {moment(one.at)}" + (f": {one.why}" if one.why else "")
            at = self.percent(one.at)
            found[one.event, at // _NARROWEST] = Mark(at, one.event, title)
        return list(found.values())

    def inside(self, entries: Iterable[Entry]) -> list[Entry]:
        return [one for one in entries if self.start <= one.at <= self.end]


def draw(
    entries: Sequence[Entry],
    published: Mapping[RecordType, Address],
    silent_since: float | None,
    now: float,
    days: float,
) -> Timeline:
    """Draw the last days of one host. `entries` is its history, newest first."""
    window = _Window(now - days * _DAY, now)
    past = [entry for entry in reversed(entries) if entry.at <= now]
    lanes = []
    for kind in RecordType:
        changes = [one for one in past if one.type == kind.value]
        if changes or kind in published:
            lanes.append(_address_lane(kind, changes, published.get(kind), window))
    lanes.append(_contact_lane([one for one in past if not one.type], silent_since, window))
    return Timeline(lanes, _ticks(window, days), _summary(window.inside(past), days))


def _address_lane(
    kind: RecordType, entries: Sequence[Entry], held: Address | None, window: _Window
) -> Lane:
    changes = [one for one in entries if one.event in CHANGES]
    first = changes[0].old if changes else None if held is None else str(held)
    periods: list[tuple[float, str | None]] = [(0.0, first)]
    periods += [(one.at, one.new) for one in changes]
    ends = [begin for begin, _ in periods[1:]] + [window.end]
    bars: list[Bar] = []
    for number, ((begin, address), end) in enumerate(zip(periods, ends)):
        for bar in window.bar(begin, end, ("even", "odd")[number % 2], address) if address else []:
            # Leave out a bar that is too narrow to be seen beside the previous bar; the table has
            # it.
            if bar.width >= _NARROWEST or not bars or bar.start >= bars[-1].start + _NARROWEST:
                bars.append(bar)
    return Lane(kind.value, bars, window.marks(one for one in entries if one.event not in CHANGES))


def _contact_lane(entries: Sequence[Entry], silent_since: float | None, window: _Window) -> Lane:
    bars: list[Bar] = []
    lost: float | None = None
    for one in entries:
        if one.event == "lost":
            lost = one.at
        elif one.event == "back" and lost is not None:
            bars += window.bar(lost, one.at, "lost", "lost")
            lost = None
    if silent_since is not None:
        bars += window.bar(silent_since if lost is None else lost, window.end, "lost", "lost")
    return Lane("contact", bars, window.marks(one for one in entries if one.event not in CONTACT))


def _ticks(window: _Window, days: float) -> list[tuple[float, str]]:
    """Return round times (UTC) and their labels; the number of labels fits a phone."""
    step = next((hours * 3600 for hours in _STEPS if days * 24 / hours <= _TICKS), _DAY * days)
    first = window.start - window.start % step + step
    times = [first + step * number for number in range(_TICKS)]
    form = "%H:%M" if step < _DAY else "%d %b"
    ticks = [(window.percent(at), moment(at, form)) for at in times]
    return [tick for tick in ticks if tick[0] < _LAST_TICK]


def _summary(entries: Sequence[Entry], days: float) -> str:
    events = [one.event for one in entries]
    changes = counted(sum(event in CHANGES for event in events), "address change")
    failures = counted(sum(event in FAILURES for event in events), "failure")
    losses = counted(events.count("lost"), "loss", "losses")
    period = rough(days * _DAY)
    return f"The last {period}: {changes}, {failures}, {losses} of contact. Details: see the table."
