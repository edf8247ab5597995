"""A host's history as a picture: its addresses over time, and failures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Iterator, Mapping, NamedTuple, Sequence

from backend.model import Address, RecordType
from backend.store.history import Sample
from backend.text import counted, moment

CHANGES = ("created", "replaced", "deleted")
# The page of a host shows these warnings for a day after they are reported.
WARNINGS = ("rejected", "partial", "several", "contested")
FAILURES = ("postponed", "refused", *WARNINGS, "challenge_failed")
CHALLENGES = ("challenge", "challenge_failed")
CONTACT = ("lost", "back")
OPERATOR_ACTIONS = ("rotated", "muted", "unmuted", "dropped")

_DAY = 86400.0
_TICKS = 7
_LAST_TICK = 86  # percent: leaves room for its label
_NARROWEST = 0.6  # percent: the width of a bar that is still visible
PERIODS = 250  # of the samples; each is two or three pixels wide
# Pixels of the picture on a phone and on a desktop, and of a character of a label.
_PHONE, _DESKTOP, _CHARACTER, _PADDING = 340.0, 900.0, 7.2, 14.0
_STEPS = (4, 24, 5 * 24, 15 * 24)  # hours


@dataclass(frozen=True)
class Bar:
    """A period in which something was true; `start` and `width` in percent."""

    start: float
    width: float
    kind: str  # even, odd (addresses alternate), lost
    label: str
    title: str

    @property
    def fits(self) -> str:
        """Where the whole label fits: on a ``phone`` and wider, on a ``desktop``, or nowhere."""
        needed = len(self.label) * _CHARACTER + _PADDING
        sizes = {"phone": _PHONE, "desktop": _DESKTOP}
        found = (name for name, size in sizes.items() if self.width / 100 * size >= needed)
        return next(found, "")


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


class Tick(NamedTuple):
    """A time on the axis."""

    percent: float
    at: float  # UTC seconds
    label: str
    has_hours: bool


@dataclass(frozen=True)
class Timeline:
    """The picture."""

    lanes: Sequence[Lane]
    ticks: Sequence[Tick]

    @property
    def kinds(self) -> Iterator[str]:
        """What the legend explains: the kinds of the bars and marks."""
        for lane in self.lanes:
            yield from (bar.kind for bar in lane.bars)
            yield from (mark.kind for mark in lane.marks)


class Period(NamedTuple):
    """The period that is drawn. Times are UTC seconds."""

    start: float
    end: float

    def percent(self, at: float) -> float:
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    def bar(self, begin: float, end: float, kind: str, label: str) -> list[Bar]:
        """Return a bar for the part of a period that is in the window, if any."""
        if end <= self.start or begin >= self.end:
            return []
        start, stop = min(self.percent(begin), 100 - _NARROWEST), self.percent(end)
        since = "before" if begin == 0.0 else moment(begin)
        title = f"{label}: {since} to {moment(end)}"
        return [Bar(start, round(max(_NARROWEST, stop - start), 3), kind, label, title)]

    def marks(self, samples: Iterable[Sample]) -> list[Mark]:
        """Return a mark for each sample in the window."""
        found = []
        for one, number in samples:
            if self.start <= one.at <= self.end:
                often = f", {number} times, the last one" if number > 1 else ""
                desired = f", desired {one.new}" if one.event in FAILURES and one.new else ""
                why = f": {one.why}" if one.why else ""
                title = f"{one.event}{often} {moment(one.at)}{desired}{why}"
                found.append(Mark(self.percent(one.at), one.event, title))
        return found

    def ticks(self) -> list[Tick]:
        """Return round times (UTC) and their labels; the number of labels fits a phone."""
        hours = (self.end - self.start) / 3600
        step = next((one * 3600 for one in _STEPS if hours / one <= _TICKS), hours * 3600)
        first = self.start - self.start % step + step
        has_hours = step < _DAY
        form = "%H:%M" if has_hours else "%d %b"
        times = [first + step * number for number in range(_TICKS)]
        ticks = [Tick(self.percent(at), at, moment(at, form), has_hours) for at in times]
        return [tick for tick in ticks if tick.percent < _LAST_TICK]


def window(now: float, days: float) -> Period:
    """Return the period of the last days.

    It ends at a round time, so that the picture of a quiet host stays the same for a while.
    """
    step = days * _DAY / PERIODS / 4
    end = now - now % step + step
    return Period(end - days * _DAY, end)


def draw(
    samples: Sequence[Sample],
    published: Mapping[RecordType, Address],
    silent_since: float | None,
    lost_after: float,
    period: Period,
) -> Timeline:
    """Draw a period of one host.

    `samples` is its history, the oldest first; `lost_after` are the seconds of silence after which
    the history says that a host is lost.
    """
    past = [one for one in samples if one.entry.at <= period.end]
    lanes = []
    for kind in RecordType:
        mine = [one for one in past if one.entry.type == kind.value]
        if mine or kind in published:
            lanes.append(_address_lane(kind, mine, published.get(kind), period))
    texts = [one for one in past if one.entry.type == "TXT"]
    if texts:
        lanes.append(Lane("TXT", [], period.marks(texts)))
    about_host = [one for one in past if not one.entry.type]
    lanes.append(_contact_lane(about_host, silent_since, lost_after, period))
    return Timeline(lanes, period.ticks())


def _address_lane(
    kind: RecordType, samples: Sequence[Sample], held: Address | None, period: Period
) -> Lane:
    changes = [one.entry for one in samples if one.entry.event in CHANGES]
    first = changes[0].old if changes else None if held is None else str(held)
    periods: list[tuple[float, str | None]] = [(0.0, first)]
    periods += [(one.at, one.new) for one in changes]
    ends = [begin for begin, _ in periods[1:]] + [period.end]
    bars: list[Bar] = []
    for number, ((begin, address), end) in enumerate(zip(periods, ends)):
        if address:
            bars += period.bar(begin, end, ("even", "odd")[number % 2], address)
    others = [one for one in samples if one.entry.event not in CHANGES]
    return Lane(kind.value, bars, period.marks(others))


def _contact_lane(
    samples: Sequence[Sample], silent_since: float | None, lost_after: float, period: Period
) -> Lane:
    bars: list[Bar] = []
    silent_from: float | None = None
    for one, _ in samples:
        if one.event == "lost":
            silent_from = one.at - lost_after
        elif one.event == "back" and silent_from is not None:
            bars += period.bar(silent_from, one.at, "lost", "silent")
            silent_from = None
    if silent_since is not None:
        bars += period.bar(silent_since, period.end, "lost", "silent")
    elif silent_from is not None:
        bars += period.bar(silent_from, period.end, "lost", "silent")
    others = [one for one in samples if one.entry.event not in CONTACT]
    return Lane("contact", bars, period.marks(others))


def summary(numbers: Mapping[str, int], days: float) -> str:
    """Write what happened in the last days; `numbers` has the number of each event."""

    def total(events: Iterable[str]) -> int:
        return sum(numbers.get(event, 0) for event in events)

    changes = counted(total(CHANGES), "address change")
    failures = counted(total(FAILURES), "failure")
    losses = counted(numbers.get("lost", 0), "loss", "losses")
    last = "day" if days == 1 else f"{days:g} days"
    return f"The last {last}: {changes}, {failures}, {losses} of contact."
