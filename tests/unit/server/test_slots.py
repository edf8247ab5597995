"""Real processes that share memory."""

from __future__ import annotations

import os
import signal
from typing import Callable, Iterator

import pytest

from backend.metrics import Slots

FIGURES = 3


class Workers:
    """Child processes of the test, each with a slot."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._pids: dict[int, int] = {}

    def start(self, work: Callable[[], None] = lambda: None) -> int:
        """Fork a worker, let it work, and return its slot."""
        number = self._slots.take(self._pids)
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            work()
            os.write(writer, b"done")
            signal.pause()
            os._exit(0)
        self._pids[number] = pid
        os.close(writer)
        with os.fdopen(reader) as output:
            assert output.read(4) == "done"
        return number

    def kill(self, number: int) -> None:
        pid = self._pids.pop(number)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self._slots.clear(number)

    def stop(self) -> None:
        for number in list(self._pids):
            self.kill(number)


@pytest.fixture
def slots() -> Slots:
    return Slots(4, FIGURES)


@pytest.fixture
def workers(slots: Slots) -> Iterator[Workers]:
    workers = Workers(slots)
    yield workers
    workers.stop()


def test_running_processes_have_different_slots(workers: Workers) -> None:
    assert [workers.start() for _ in range(3)] == [0, 1, 2]


def test_the_slot_of_a_killed_process_is_reused(workers: Workers) -> None:
    for _ in range(3):
        workers.start()
    workers.kill(1)
    assert [workers.start() for _ in range(2)] == [1, 3]


def test_more_processes_than_slots_share_the_last_one(slots: Slots) -> None:
    assert slots.take(range(4)) == 3


def test_totals_include_the_figures_of_killed_processes(slots: Slots, workers: Workers) -> None:
    def count() -> None:
        slots.figures[slots.number] += 1.5
        slots.figures[2] += 1

    for _ in range(2):
        workers.start(count)
    workers.kill(0)
    assert slots.totals() == [1.5, 1.5, 2]
    workers.start(count)
    assert slots.totals() == [3, 1.5, 3]


def test_a_figure_beyond_the_slot_is_an_error(slots: Slots) -> None:
    with pytest.raises(IndexError):
        slots.figures[FIGURES] = 1


def test_only_running_processes_have_notes(slots: Slots, workers: Workers) -> None:
    for at, text in ((1.5, "first"), (2.5, "")):
        workers.start(lambda at=at, text=text: slots.note(at, text))  # type: ignore[misc]
    assert slots.notes() == {0: (1.5, "first"), 1: (2.5, "")}
    workers.kill(0)
    assert slots.notes() == {1: (2.5, "")}


def test_a_new_process_does_not_inherit_the_note_of_its_slot(
    slots: Slots, workers: Workers
) -> None:
    workers.start(lambda: slots.note(1, "old"))
    pid = workers._pids.pop(0)  # noqa: SLF001
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    workers.start()
    assert slots.notes() == {}


def test_a_shorter_note_replaces_a_longer_one(slots: Slots) -> None:
    slots.note(1, "long and long")
    slots.note(2, "short")
    assert slots.notes() == {0: (2, "short")}


@pytest.mark.parametrize("text", ["x" * 1000, "ü" * 500, "x" + "ü" * 500])
def test_a_long_note_is_cut_off_within_its_slot(slots: Slots, text: str) -> None:
    slots.take([0])
    slots.note(1, text)
    ((number, (_, found)),) = slots.notes().items()
    assert number == 1
    assert found
    assert text.startswith(found)
    assert slots.totals() == [0] * FIGURES
