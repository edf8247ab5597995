from __future__ import annotations

import threading
from typing import Iterator

import pytest

from backend.errors import StoreBusy, StoreUnavailable
from backend.metrics import Slots
from backend.server.loops import Health, Loop
from tests.unit.fakes import Clock

PATIENCE = 10.0


def store_answers() -> None:
    """Do nothing: the store answers."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends what hangs in a test."""
    event = threading.Event()
    yield event
    event.set()


def health_of(*loops: Loop) -> Health:
    health = Health(store_answers, store_answers)
    health.watched = [loop.problem for loop in loops]
    return health


def test_a_service_that_was_not_started_has_no_problem() -> None:
    assert health_of(Loop("one", 1, store_answers)).problems() == []


CANT_READ = "the store can't be read (the log says why)"
CANT_WRITE = "the store can't be read and written (the log says why)"
LOCKED = "the store is locked by another program"


class FakeStore:
    """A store that fails as the test sets it."""

    reading: Exception | None = None
    writing: Exception | None = None
    probes = 0

    def ping(self) -> None:
        if self.reading:
            raise self.reading

    def probe(self) -> None:
        self.probes += 1
        if self.writing:
            raise self.writing


def test_a_store_that_cannot_be_read_is_a_problem() -> None:
    store = FakeStore()
    store.reading = StoreUnavailable("away")
    assert Health(store.ping, store.probe).problems() == [CANT_READ]


def test_a_store_that_cannot_be_written_is_a_problem() -> None:
    store = FakeStore()
    health = Health(store.ping, store.probe)
    store.writing = StoreUnavailable("read-only")
    health.probe()
    assert health.problems() == [CANT_WRITE]
    store.writing = None
    health.probe()
    assert health.problems() == []


def test_reading_the_health_does_not_probe_the_store() -> None:
    store = FakeStore()
    health = Health(store.ping, store.probe)
    for _ in range(100):
        health.problems()
    assert store.probes == 0


def test_a_store_locked_for_half_a_minute_is_a_problem(clock: Clock) -> None:
    store = FakeStore()
    health = Health(store.ping, store.probe, clock=clock)
    store.reading = store.writing = StoreBusy("locked")
    for _ in range(6):
        clock.advance(5)
        health.probe()
        assert health.problems() == []
    clock.advance(5)
    health.probe()
    assert health.problems() == [LOCKED]
    store.reading = store.writing = None
    health.probe()
    assert health.problems() == []


def test_a_loop_that_hangs_for_five_minutes_is_a_problem(
    clock: Clock, release: threading.Event
) -> None:
    hangs = threading.Event()

    def hang() -> None:
        hangs.set()
        release.wait(PATIENCE)

    loop = Loop("reconciler", 0.001, hang, clock)
    health = health_of(loop)
    loop.start()
    assert hangs.wait(PATIENCE)
    clock.advance(299)
    assert health.problems() == []
    clock.advance(2)
    assert health.problems() == ["reconciler hangs"]
    release.set()
    loop.stop(PATIENCE)
    assert health.problems() == []


def test_a_loop_between_two_runs_does_not_hang(clock: Clock) -> None:
    loop = Loop("watcher", 3600, store_answers, clock)
    loop.start()
    clock.advance(3000)
    assert health_of(loop).problems() == []
    loop.stop(PATIENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_has_died_is_a_problem() -> None:
    died = threading.Event()

    def die() -> None:
        died.set()
        raise SystemExit

    loop = Loop("watcher", 0.001, die)
    loop.start()
    assert died.wait(PATIENCE)
    loop._thread.join(PATIENCE)  # noqa: SLF001
    assert health_of(loop).problems() == ["watcher has died"]


def test_a_loop_that_was_stopped_is_no_problem() -> None:
    loop = Loop("watcher", 3600, store_answers)
    loop.start()
    loop.stop(PATIENCE)
    assert health_of(loop).problems() == []


class TestOtherWorkers:
    """Two workers in one process, which share a slot."""

    @pytest.fixture
    def slots(self) -> Slots:
        return Slots()

    def test_a_problem_of_one_is_a_problem_of_the_service(self, slots: Slots, clock: Clock) -> None:
        ill = Health(store_answers, store_answers, slots, clock)
        ill.watched = [lambda _: "reconciler hangs"]
        ill.pulse()
        assert Health(store_answers, store_answers, slots, clock).problems() == ["reconciler hangs"]

    def test_a_store_one_cannot_write_is_a_problem(self, slots: Slots, clock: Clock) -> None:
        store = FakeStore()
        store.writing = StoreUnavailable("full")
        ill = Health(store.ping, store.probe, slots, clock)
        ill.probe()
        ill.pulse()
        assert Health(store_answers, store_answers, slots, clock).problems() == [CANT_WRITE]

    def test_one_that_does_not_respond_is_a_problem(self, slots: Slots, clock: Clock) -> None:
        Health(store_answers, store_answers, slots, clock).pulse()
        clock.advance(59)
        assert Health(store_answers, store_answers, slots, clock).problems() == []
        clock.advance(2)
        assert Health(store_answers, store_answers, slots, clock).problems() == [
            "worker 0 doesn't respond"
        ]
