"""What is counted and timed, for Prometheus: right over all workers of one service."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import Callable, ContextManager, Iterable, Iterator, Mapping, Optional, Type

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from backend import errors
from backend.model import Change
from backend.workers.slots import Slots

FACES = ("json", "dyndns2")
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
_UPDATE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 8.0, 10.0)
_CALL_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0)


@dataclass
class Measured:
    """What is being timed; whoever does it says what became of it."""

    outcome: str = "internal"


class Meters:
    """Counts and times. Safe to share between threads, and by `slots` between processes."""

    def __init__(self, slots: Optional[Slots] = None) -> None:
        self._slots = slots
        self._registry = CollectorRegistry()
        self._updates = Counter(
            "dyndns_updates", "Updates", ("face", "outcome"), registry=self._registry
        )
        self._seconds = Histogram(
            "dyndns_update_seconds",
            "How long updates took",
            ("face",),
            buckets=_UPDATE_BUCKETS,
            registry=self._registry,
        )
        self._calls = Histogram(
            "dyndns_hetzner_call_seconds",
            "How long calls to Hetzner took",
            ("method", "outcome"),
            buckets=_CALL_BUCKETS,
            registry=self._registry,
        )
        self._pushes = Counter(
            "dyndns_pushes", "Pushes to ntfy", ("result",), registry=self._registry
        )
        self._failed_logins = Counter(
            "dyndns_failed_logins", "Wrong keys and passwords", registry=self._registry
        )
        self._begin()

    def _begin(self) -> None:
        """Let every series begin with zero: the first event is an increase, too."""
        self._seconds_by = {face: self._seconds.labels(face) for face in FACES}
        self._updates_as = {
            (face, outcome): self._updates.labels(face, outcome)
            for face in FACES
            for outcome in OUTCOMES
        }
        for result in ("sent", "dropped"):
            self._pushes.labels(result)

    def update(self, face: str) -> ContextManager[Measured]:
        """Time an update, and count what became of it."""
        return _timed(lambda outcome, seconds: self.updated(face, outcome, seconds))

    def updated(self, face: str, outcome: str, seconds: float) -> None:
        """Count an update and how long it took."""
        self._updates_as[face, outcome].inc()
        self._seconds_by[face].observe(seconds)

    def call(self, method: str) -> ContextManager[Measured]:
        """Time a call to Hetzner; likewise."""
        return _timed(lambda outcome, seconds: self._calls.labels(method, outcome).observe(seconds))

    def turned_away(self, face: str, error: errors.DyndnsError) -> None:
        """Count an update that never began."""
        self._updates.labels(face, failure(error)).inc()

    def pushed(self, result: str) -> None:
        """Count a push: ``sent`` or ``dropped``."""
        self._pushes.labels(result).inc()

    def failed_login(self) -> None:
        """Count a wrong key or password."""
        self._failed_logins.inc()

    def exposition(self, more: Iterable[Metric]) -> bytes:
        """Return what Prometheus reads: what all workers counted, and some figures more."""
        told = CollectorRegistry()
        if self._slots is None:
            told.register(self._registry)
        else:
            MultiProcessCollector(told, path=str(self._slots.folder))  # type: ignore[no-untyped-call]
        told.register(_Given(more))
        return generate_latest(told)


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


def share(slots: Slots) -> None:
    """Keep what is counted from now on where all processes read it.

    The library takes the folder from the environment alone, and by default a file for each process
    there ever was. With a file for each slot, a worker goes on where one that died has ended.
    """
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(slots.folder)
    values.ValueClass = values.MultiProcessValue(slots.mine)  # type: ignore[no-untyped-call]
