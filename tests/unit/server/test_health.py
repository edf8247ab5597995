from __future__ import annotations

import threading
from typing import Iterator, Optional

import pytest

from backend.errors import StoreBusy, StoreUnavailable
from backend.metrics import Slots
from backend.server.loops import Health, Loop
from tests.unit.fakes import Clock

PATIENCE = 10.0


def store_answers() -> None:
    """Do nothing: it does."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Lets what hangs go on."""
    event = threading.Event()
    yield event
    event.set()


def health_of(*loops: Loop) -> Health:
    health = Health(store_answers, store_answers)
    health.watched = [loop.problem for loop in loops]
    return health


def test_all_is_well_before_anything_is_started() -> None:
    assert health_of(Loop("one", 1, store_answers)).problems() == []


CANT_READ = "the store can't be read (the log says why)"
CANT_WRITE = "the store can't be read and written (the log says why)"
LOCKED = "the store is locked by another program"


class FakeStore:
    """A store that fails as it is told to."""

    reading: Optional[Exception] = None
    writing: Optional[Exception] = None
    probes = 0

    def ping(self) -> None:
        if self.reading:
            raise self.reading

    def probe(self) -> None:
        self.probes += 1
        if self.writing:
            raise self.writing


def test_a_store_that_cannot_be_read_is_a_problem_at_once() -> None:
    store = FakeStore()
    store.reading = StoreUnavailable("away")
    assert Health(store.ping, store.probe).problems() == [CANT_READ]


def test_a_store_that_cannot_be_written_is_a_problem_until_it_can() -> None:
    store = FakeStore()
    health = Health(store.ping, store.probe)
    store.writing = StoreUnavailable("read-only")
    health.probe()
    assert health.problems() == [CANT_WRITE]
    store.writing = None
    health.probe()
    assert health.problems() == []


def test_asking_how_the_service_is_writes_nothing() -> None:
    store = FakeStore()
    health = Health(store.ping, store.probe)
    for _ in range(100):
        health.problems()
    assert store.probes == 0


def test_a_store_that_is_locked_is_a_problem_after_half_a_minute(clock: Clock) -> None:
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


def test_a_loop_that_hangs_is_a_problem_after_five_minutes(
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


def test_a_loop_that_waits_for_its_hour_does_not_hang(clock: Clock) -> None:
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


def test_a_loop_that_was_stopped_is_none() -> None:
    loop = Loop("watcher", 3600, store_answers)
    loop.start()
    loop.stop(PATIENCE)
    assert health_of(loop).problems() == []


class TestOtherWorkers:
    """Two workers in one process, which share a slot."""

    @pytest.fixture
    def slots(self) -> Slots:
        return Slots()

    def test_one_that_is_ill_makes_the_service_ill(self, slots: Slots, clock: Clock) -> None:
        ill = Health(store_answers, store_answers, slots, clock)
        ill.watched = [lambda _: "reconciler hangs"]
        ill.pulse()
        assert Health(store_answers, store_answers, slots, clock).problems() == ["reconciler hangs"]

    def test_one_that_cannot_write_the_store_makes_it_ill(self, slots: Slots, clock: Clock) -> None:
        store = FakeStore()
        store.writing = StoreUnavailable("full")
        ill = Health(store.ping, store.probe, slots, clock)
        ill.probe()
        ill.pulse()
        assert Health(store_answers, store_answers, slots, clock).problems() == [CANT_WRITE]

    def test_one_that_gives_no_sign_of_life_makes_it_ill(self, slots: Slots, clock: Clock) -> None:
        Health(store_answers, store_answers, slots, clock).pulse()
        clock.advance(59)
        assert Health(store_answers, store_answers, slots, clock).problems() == []
        clock.advance(2)
        assert Health(store_answers, store_answers, slots, clock).problems() == [
            "worker 0 gives no sign of life"
        ]
