from __future__ import annotations

import threading
from typing import Iterator

import pytest

from backend.errors import StoreUnavailable
from backend.workers.health import Health
from backend.workers.loops import Loop
from backend.workers.slots import Slots
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
    health = Health(store_answers)
    health.watched = [loop.flaw for loop in loops]
    return health


def test_all_is_well_before_anything_is_started() -> None:
    assert health_of(Loop("one", 1, store_answers)).flaws() == []


def test_a_store_that_does_not_answer_is_a_flaw() -> None:
    def away() -> None:
        raise StoreUnavailable("away")

    assert Health(away).flaws() == ["the store doesn't answer"]


def test_a_loop_that_hangs_is_a_flaw_after_five_minutes(
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
    assert health.flaws() == []
    clock.advance(2)
    assert health.flaws() == ["reconciler hangs"]
    release.set()
    loop.stop(PATIENCE)
    assert health.flaws() == []


def test_a_loop_that_waits_for_its_hour_does_not_hang(clock: Clock) -> None:
    loop = Loop("watcher", 3600, store_answers, clock)
    loop.start()
    clock.advance(3000)
    assert health_of(loop).flaws() == []
    loop.stop(PATIENCE)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_that_has_died_is_a_flaw() -> None:
    died = threading.Event()

    def die() -> None:
        died.set()
        raise SystemExit

    loop = Loop("watcher", 0.001, die)
    loop.start()
    assert died.wait(PATIENCE)
    loop._thread.join(PATIENCE)  # noqa: SLF001
    assert health_of(loop).flaws() == ["watcher has died"]


def test_a_loop_that_was_stopped_is_none() -> None:
    loop = Loop("watcher", 3600, store_answers)
    loop.start()
    loop.stop(PATIENCE)
    assert health_of(loop).flaws() == []


class TestOtherWorkers:
    """Two workers in one process, which share a slot."""

    @pytest.fixture
    def slots(self) -> Slots:
        return Slots()

    def test_one_that_is_ill_makes_the_service_ill(self, slots: Slots, clock: Clock) -> None:
        ill = Health(store_answers, slots, clock)
        ill.watched = [lambda _: "reconciler hangs"]
        ill.pulse()
        assert Health(store_answers, slots, clock).flaws() == ["reconciler hangs"]

    def test_one_that_gives_no_sign_of_life_makes_it_ill(self, slots: Slots, clock: Clock) -> None:
        Health(store_answers, slots, clock).pulse()
        clock.advance(59)
        assert Health(store_answers, slots, clock).flaws() == []
        clock.advance(2)
        assert Health(store_answers, slots, clock).flaws() == ["worker 0 gives no sign of life"]
