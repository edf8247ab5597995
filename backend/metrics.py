"""Counters and durations of all workers of one service, in the format of Prometheus.

The workers share memory that the first process maps before it forks. The memory belongs to no file:
a full disk doesn't affect it, no other user can access it, and the kernel frees it when the last
process ends. docs/architecture.md compares this with prometheus_client's multiprocess mode.
"""

from __future__ import annotations

import bisect
import contextlib
import itertools
import mmap
import threading
import time
from dataclasses import dataclass
from typing import Iterable, Iterator, Mapping, NamedTuple, Sequence, Tuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from backend import errors
from backend.model import Change

_DOUBLE = 8
_NOTE = 256  # bytes of a note's text, a multiple of _DOUBLE

PROTOCOLS = ("json", "dyndns2", "page", "httpreq", "acme-dns")
MOST_CHANNELS = 9  # of NOTIFY_URLS; the others are counted together
CHANNELS = ("ntfy", *(f"channel {n}" for n in range(1, MOST_CHANNELS + 1)), "others")
METHODS = ("GET", "POST", "PUT", "DELETE")  # of calls to Hetzner
# The outcome of an update or call that failed. A class that isn't listed has the outcome of its
# parent.
FAILURES: Mapping[type[errors.DyndnsError], str] = {
    errors.DyndnsError: "internal",
    errors.CallerError: "bad_request",
    errors.Unauthorized: "unauthorized",
    errors.HostNotAllowed: "not_allowed",
    errors.TooManyFailures: "too_many_failures",
    errors.OperatorError: "refused",
    errors.TransientError: "unavailable",
}
OUTCOMES = (*(change.value for change in Change), *FAILURES.values())
Labels = Tuple[str, ...]


class _Slot:
    def __init__(self, memory: memoryview) -> None:
        self.noted_at = memory[:_DOUBLE].cast("d")
        self.figures = memory[_DOUBLE:-_NOTE].cast("d")
        self.note = memory[-_NOTE:]


class Slots:
    """A slot of shared memory for each worker: its counters, and a note for the other workers.

    Only the worker that holds a slot writes to it. Writing a double is atomic, so a killed worker
    leaves no half-written figure. The next worker in its slot continues with the figures.
    """

    def __init__(self, count: int = 1, figures: int = 0) -> None:
        size = (1 + figures) * _DOUBLE + _NOTE
        memory = memoryview(mmap.mmap(-1, count * size))
        self._slots = [_Slot(memory[at : at + size]) for at in range(0, count * size, size)]
        self.number = 0

    def take(self, taken: Iterable[int]) -> int:
        """Choose the first free slot for the process that is forked next.

        If all are taken, two processes share the last one, and a few counts may be lost.
        """
        free = set(range(len(self._slots))) - set(taken)
        self.number = min(free, default=len(self._slots) - 1)
        self.clear(self.number)
        return self.number

    @property
    def figures(self) -> memoryview[float]:
        """The figures of this process, as writable doubles."""
        return self._slots[self.number].figures

    def totals(self) -> list[float]:
        """Return the sum of each figure over all slots, including those of ended workers."""
        return [sum(column) for column in zip(*(slot.figures.tolist() for slot in self._slots))]

    def note(self, at: float, text: str) -> None:
        """Replace the note of this worker. `at` is above zero."""
        slot = self._slots[self.number]
        slot.note[:] = text.encode()[:_NOTE].ljust(_NOTE, b"\0")
        slot.noted_at[0] = at

    def notes(self) -> dict[int, tuple[float, str]]:
        """Return the time and text of each running worker's note.

        A text that is being written at the same time may be cut off.
        """
        return {
            number: (at, bytes(slot.note).partition(b"\0")[0].decode(errors="ignore"))
            for number, slot in enumerate(self._slots)
            if (at := slot.noted_at[0])
        }

    def clear(self, number: int) -> None:
        """Remove the note of a worker that has ended."""
        self._slots[number].noted_at[0] = 0.0


@dataclass(frozen=True, eq=False)
class _Series:
    """A counter, or a histogram if it has buckets, for every combination of its labels' values."""

    name: str
    help_text: str
    labels: Labels
    values: Sequence[Sequence[str]]  # all values of each label
    buckets: tuple[float, ...] = ()

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
            histogram.add_metric(values, list(zip(bounds, itertools.accumulate(counts))), seconds)
        return histogram


_UPDATES = _Series("dyndns_updates", "Updates", ("protocol", "outcome"), (PROTOCOLS, OUTCOMES))
_SECONDS = _Series(
    "dyndns_update_seconds",
    "Duration of updates",
    ("protocol",),
    (PROTOCOLS,),
    (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 10.0),
)
_CALLS = _Series(
    "dyndns_hetzner_call_seconds",
    "Duration of calls to Hetzner",
    ("method", "outcome"),
    (METHODS, ("ok", *FAILURES.values())),
    (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0),
)
_PUSHES = _Series("dyndns_pushes", "Pushes", ("channel", "result"), (CHANNELS, ("sent", "dropped")))
_FAILED_LOGINS = _Series("dyndns_failed_logins", "Wrong keys and passwords", (), ())
_ALL = (_UPDATES, _SECONDS, _CALLS, _PUSHES, _FAILED_LOGINS)


# The place of each combination's figures in a slot. All label values are known in advance.
_PLACES: dict[tuple[_Series, Labels], slice] = {}
FIGURES = 0
for _series in _ALL:
    for _values in _series.combinations():
        _PLACES[_series, _values] = slice(FIGURES, FIGURES + _series.width)
        FIGURES += _series.width


class Gauge(NamedTuple):
    """A metric that is computed when it is read."""

    name: str
    help_text: str
    samples: Iterable[tuple[Sequence[object], float]]  # the values of the labels; the figure
    labels: Sequence[str] = ()

    def family(self) -> Metric:
        family = GaugeMetricFamily(self.name, self.help_text, labels=self.labels)
        for values, figure in self.samples:
            family.add_metric([str(one) for one in values], float(figure))
        return family


@dataclass
class Measured:
    """An update that is being timed. The caller sets the outcome."""

    outcome: str = "internal"


class Meters:
    """Counters and durations. Safe to share between threads, and by `slots` between processes.

    Pushes are reported for each of the `channels`, even before the first push.
    """

    def __init__(self, slots: Slots | None = None, channels: Iterable[str] = ()) -> None:
        self._channels = {_channel(name) for name in channels}
        self._slots = slots or Slots(figures=FIGURES)
        self._figures = self._slots.figures
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def update(self, protocol: str) -> Iterator[Measured]:
        """Time an update, and count its outcome."""
        measured, start = Measured(), time.perf_counter()
        try:
            yield measured
        except errors.DyndnsError as error:
            measured.outcome = _failure(error)
            raise
        finally:
            self.updated(protocol, measured.outcome, time.perf_counter() - start)

    def updated(self, protocol: str, outcome: str, seconds: float) -> None:
        self._count(_UPDATES, protocol, outcome)
        self._count(_SECONDS, protocol, seconds=seconds)

    def called(self, method: str, error: errors.DyndnsError | None, seconds: float) -> None:
        outcome = "ok" if error is None else _failure(error)
        self._count(_CALLS, method, outcome, seconds=seconds)

    def turned_away(self, protocol: str, error: errors.DyndnsError) -> None:
        """Count an update that was rejected before it began."""
        self._count(_UPDATES, protocol, _failure(error))

    def pushed(self, channel: str, result: str) -> None:
        """Count a push: ``sent`` or ``dropped``."""
        self._count(_PUSHES, _channel(channel), result)

    def failed_login(self) -> None:
        self._count(_FAILED_LOGINS)

    def exposition(self, gauges: Iterable[Gauge]) -> bytes:
        """Return the text for Prometheus: the figures of all workers, and the gauges."""
        figures, families = self._slots.totals(), []
        for series in _ALL:
            totals = {values: figures[_PLACES[series, values]] for values in series.combinations()}
            if series is _CALLS:  # most of these never happen; all other series begin with zero
                totals = {values: found for values, found in totals.items() if any(found)}
            if series is _PUSHES:
                known = self._channels
                totals = {values: found for values, found in totals.items() if values[0] in known}
            families.append(series.family(totals))
        registry = CollectorRegistry()
        registry.register(_Given([*families, *(one.family() for one in gauges)]))
        return generate_latest(registry)

    def _count(self, series: _Series, *values: str, seconds: float | None = None) -> None:
        """Count one event; a histogram needs its duration."""
        place = _PLACES[series, values]
        with self._lock:
            if seconds is None:
                self._figures[place.start] += 1.0
            else:
                bucket = bisect.bisect_left(series.buckets, seconds)
                self._figures[place.start + bucket] += 1.0
                self._figures[place.stop - 1] += seconds


class _Given(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _channel(name: str) -> str:
    return name if name in CHANNELS else CHANNELS[-1]


def _failure(error: errors.DyndnsError) -> str:
    return next(FAILURES[family] for family in type(error).__mro__ if family in FAILURES)
