"""What is counted and timed, over all workers of one service, in the format of Prometheus.

The workers share memory that the first process maps before it forks. The memory belongs to no file:
a full disk doesn't affect it, no other user can access it, and the kernel frees it when the last
process ends.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import mmap
import threading
import time
from dataclasses import dataclass
from typing import (
    Callable,
    ContextManager,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
)

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from backend import errors
from backend.model import Change

_DOUBLE = 8
_NOTE = 256  # bytes of a note's text, a multiple of _DOUBLE


class Slots:
    """A slot for each worker: its figures, and a note for the others.

    Only the worker that holds a slot writes to it. Writing a double is atomic, so that a killed
    worker leaves no broken figure; its successor continues with the figures.
    """

    def __init__(self, count: int = 1, figures: int = 0) -> None:
        self._count = count
        self._size = (1 + figures) * _DOUBLE + _NOTE
        self._memory = memoryview(mmap.mmap(-1, count * self._size))
        self.number = 0

    def take(self, taken: Iterable[int]) -> int:
        """Choose the first free slot for the process that is forked next.

        If all are taken, two processes share the last one, and a few counts may be lost.
        """
        free = set(range(self._count)) - set(taken)
        self.number = min(free, default=self._count - 1)
        self.clear(self.number)
        return self.number

    @property
    def figures(self) -> memoryview[float]:
        """The figures of this process, as writable doubles."""
        return self._figures(self.number)

    def totals(self) -> List[float]:
        """Return the sum of each figure over all slots, also those of workers that have ended."""
        rows = (self._figures(number).tolist() for number in range(self._count))
        return [sum(column) for column in zip(*rows)]

    def note(self, at: float, text: str) -> None:
        """Replace the note of this worker; `at` is above zero."""
        self._text(self.number)[:] = text.encode()[:_NOTE].ljust(_NOTE, b"\0")
        self._time(self.number)[0] = at

    def notes(self) -> Dict[int, Tuple[float, str]]:
        """Return the time and text of each running worker's note.

        A text that is being written at the same time may be cut off.
        """
        found: Dict[int, Tuple[float, str]] = {}
        for number in range(self._count):
            at = self._time(number)[0]
            if at:
                text = bytes(self._text(number)).partition(b"\0")[0].decode(errors="ignore")
                found[number] = (at, text)
        return found

    def clear(self, number: int) -> None:
        """Remove the note of a worker that has ended."""
        self._time(number)[0] = 0.0

    def _part(self, number: int, start: int, end: int) -> memoryview:
        return self._memory[number * self._size + start : number * self._size + end]

    def _time(self, number: int) -> memoryview[float]:
        return self._part(number, 0, _DOUBLE).cast("d")

    def _figures(self, number: int) -> memoryview[float]:
        return self._part(number, _DOUBLE, self._size - _NOTE).cast("d")

    def _text(self, number: int) -> memoryview:
        return self._part(number, self._size - _NOTE, self._size)


PROTOCOLS = ("json", "dyndns2")
# What became of an update that failed; a class that isn't listed has its parent's.
FAILURES: Mapping[Type[errors.DyndnsError], str] = {
    errors.DyndnsError: "internal",
    errors.CallerError: "bad_request",
    errors.Unauthorized: "unauthorized",
    errors.HostNotAllowed: "not_allowed",
    errors.TooManyFailures: "too_many_failures",
    errors.OperatorError: "refused",
    errors.TransientError: "unavailable",
}
OUTCOMES = (*(change.value for change in Change), *FAILURES.values())
METHODS = ("GET", "POST", "PUT", "DELETE")  # of calls to Hetzner
Labels = Tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Series:
    """A counter, or with buckets a histogram, for every combination of its labels' values."""

    name: str
    help_text: str
    labels: Labels
    values: Sequence[Sequence[str]]  # of each label: all there are
    buckets: Tuple[float, ...] = ()

    def combinations(self) -> Iterator[Labels]:
        return itertools.product(*self.values)

    @property
    def width(self) -> int:
        """The number of figures of one combination: one, or each bucket, +Inf and the sum."""
        return len(self.buckets) + 2 if self.buckets else 1

    def family(self, totals: Mapping[Labels, Sequence[float]]) -> Metric:
        """Return the series in the form that prometheus_client writes."""
        if not self.buckets:
            counter = CounterMetricFamily(self.name, self.help_text, labels=self.labels)
            for values, (count,) in totals.items():
                counter.add_metric(values, count)
            return counter
        histogram = HistogramMetricFamily(self.name, self.help_text, labels=self.labels)
        bounds = [*map(str, self.buckets), "+Inf"]
        for values, (*counts, seconds) in totals.items():
            buckets = list(zip(bounds, itertools.accumulate(counts)))
            histogram.add_metric(values, buckets, seconds)
        return histogram


_UPDATES = _Series("dyndns_updates", "Updates", ("protocol", "outcome"), (PROTOCOLS, OUTCOMES))
_SECONDS = _Series(
    "dyndns_update_seconds",
    "How long updates took",
    ("protocol",),
    (PROTOCOLS,),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 10.0),
)
_CALLS = _Series(
    "dyndns_hetzner_call_seconds",
    "How long calls to Hetzner took",
    ("method", "outcome"),
    (METHODS, ("ok", *FAILURES.values())),
    (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
_PUSHES = _Series("dyndns_pushes", "Pushes to ntfy", ("result",), (("sent", "dropped"),))
_FAILED_LOGINS = _Series("dyndns_failed_logins", "Wrong keys and passwords", (), ())
_ALL = (_UPDATES, _SECONDS, _CALLS, _PUSHES, _FAILED_LOGINS)


def _places() -> Dict[Tuple[_Series, Labels], slice]:
    places, start = {}, 0
    for series in _ALL:
        for values in series.combinations():
            places[series, values] = slice(start, start + series.width)
            start += series.width
    return places


# The place of each combination's figures in a slot, which is fixed, as all label values are known.
_PLACES = _places()
FIGURES = sum(place.stop - place.start for place in _PLACES.values())


@dataclass
class Measured:
    """What is being timed; whoever does it says what became of it."""

    outcome: str = "internal"


class Meters:
    """Counts and times. Safe to share between threads, and by `slots` between processes."""

    def __init__(self, slots: Optional[Slots] = None) -> None:
        self._slots = slots or Slots(figures=FIGURES)
        self._figures = self._slots.figures
        self._lock = threading.Lock()

    def update(self, protocol: str) -> ContextManager[Measured]:
        """Time an update, and count what became of it."""
        return _timed(lambda outcome, seconds: self.updated(protocol, outcome, seconds))

    def updated(self, protocol: str, outcome: str, seconds: float) -> None:
        """Count an update and how long it took."""
        self._count(_UPDATES, protocol, outcome)
        self._observe(seconds, _SECONDS, protocol)

    def called(self, method: str, error: Optional[errors.DyndnsError], seconds: float) -> None:
        """Count a call to Hetzner and how long it took."""
        self._observe(seconds, _CALLS, method, "ok" if error is None else failure(error))

    def turned_away(self, protocol: str, error: errors.DyndnsError) -> None:
        """Count an update that never began."""
        self._count(_UPDATES, protocol, failure(error))

    def pushed(self, result: str) -> None:
        """Count a push: ``sent`` or ``dropped``."""
        self._count(_PUSHES, result)

    def failed_login(self) -> None:
        """Count a wrong key or password."""
        self._count(_FAILED_LOGINS)

    def exposition(self, more: Iterable[Metric]) -> bytes:
        """Return what Prometheus reads: what all workers counted, and some figures more."""
        told = CollectorRegistry()
        told.register(_Given(itertools.chain(self._families(), more)))
        return generate_latest(told)

    def _count(self, series: _Series, *values: str) -> None:
        place = _PLACES[series, values]
        with self._lock:
            self._figures[place.start] += 1.0

    def _observe(self, seconds: float, series: _Series, *values: str) -> None:
        place = _PLACES[series, values]
        bucket = bisect.bisect_left(series.buckets, seconds)
        with self._lock:
            self._figures[place.start + bucket] += 1.0
            self._figures[place.stop - 1] += seconds

    def _families(self) -> Iterator[Metric]:
        figures = self._slots.totals()
        for series in _ALL:
            totals = {values: figures[_PLACES[series, values]] for values in series.combinations()}
            if series is _CALLS:  # most of these never happen; all others begin with zero
                totals = {values: found for values, found in totals.items() if any(found)}
            yield series.family(totals)


class _Given(Collector):
    """Hands on figures that somebody else has gathered."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


@contextlib.contextmanager
def _timed(note: Callable[[str, float], None]) -> Iterator[Measured]:
    measured, start = Measured(), time.perf_counter()
    try:
        yield measured
    except errors.DyndnsError as error:
        measured.outcome = failure(error)
        raise
    finally:
        note(measured.outcome, time.perf_counter() - start)


def failure(error: errors.DyndnsError) -> str:
    """Return what became of an update or call that failed so: one of a few words."""
    return next(FAILURES[family] for family in type(error).__mro__ if family in FAILURES)
