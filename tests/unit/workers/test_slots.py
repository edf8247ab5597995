"""Processes that share a folder: real ones, for locks and deaths are the system's."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Callable, Iterator, List

import pytest

from backend.workers.slots import Slots


class Workers:
    """Children of the test, each with a slot, that end when they are told to."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._pids: List[int] = []

    def start(self, work: Callable[[int], None] = lambda _: None) -> int:
        """Fork one, let it take its slot and work, and return the slot."""
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            number = self._slots.mine()
            work(number)
            os.write(writer, str(number).encode())
            signal.pause()
            os._exit(0)
        self._pids.append(pid)
        os.close(writer)
        with os.fdopen(reader) as told:
            return int(told.read(1))

    def kill(self, place: int) -> None:
        pid = self._pids.pop(place)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def stop(self) -> None:
        while self._pids:
            self.kill(0)


@pytest.fixture
def slots(tmp_path: Path) -> Iterator[Slots]:
    slots = Slots(tmp_path)
    yield slots
    slots.close()


@pytest.fixture
def workers(slots: Slots) -> Iterator[Workers]:
    workers = Workers(slots)
    yield workers
    workers.stop()


def test_processes_alive_have_different_slots(workers: Workers) -> None:
    assert [workers.start() for _ in range(3)] == [0, 1, 2]


def test_the_slot_of_a_killed_process_is_taken_again(workers: Workers) -> None:
    for _ in range(3):
        workers.start()
    workers.kill(1)
    assert [workers.start() for _ in range(2)] == [1, 3]


def test_notes_are_read_of_the_living_alone(slots: Slots, workers: Workers) -> None:
    for text in ("first", "second"):
        workers.start(lambda _, text=text: slots.note(text))  # type: ignore[misc]
    assert slots.notes() == {0: "first", 1: "second"}
    workers.kill(0)
    assert slots.notes() == {1: "second"}


def test_a_successor_does_not_inherit_the_note(slots: Slots, workers: Workers) -> None:
    workers.start(lambda _: slots.note("old"))
    workers.kill(0)
    workers.start()
    assert slots.notes() == {}


def test_a_note_that_a_successor_takes_away_while_it_is_looked_for_is_none(
    slots: Slots, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_too_late(note: Path, encoding: str) -> str:
        note.unlink()
        return note.open(encoding=encoding).read()

    slots.note("old")
    monkeypatch.setattr(Path, "read_text", read_too_late)
    assert slots.notes() == {}


def test_a_process_keeps_its_slot(slots: Slots) -> None:
    assert slots.mine() == slots.mine() == 0


def test_the_folder_of_a_killed_service_is_swept_away_and_no_other() -> None:
    alive, killed = Slots.open(), Slots.open()
    killed._owned.close()  # type: ignore[union-attr]  # noqa: SLF001
    Slots.open().remove()
    assert alive.folder.exists()
    assert not killed.folder.exists()
    alive.remove()


def test_the_folder_is_removed_with_all_in_it() -> None:
    slots = Slots.open()
    slots.note("x")
    slots.remove()
    assert not slots.folder.exists()
