from __future__ import annotations

import threading

import pytest

from backend.errors import HetznerBusy, HostBusy
from backend.model import Deadline
from backend.sync import updater as module
from backend.sync.updater import HostSlots
from tests.unit.fakes import host

HOST, OTHER = host(), host("other.example.com")


class Waiting:
    """A request on its own thread that waits for the slot of a host."""

    def __init__(self, slots: HostSlots, seconds: float = 30, name: str = HOST.text) -> None:
        self._slots = slots
        self._host = host(name)
        self.errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run, args=(seconds,))
        self._thread.start()
        while self._thread.is_alive() and self._host not in slots._waiting:  # noqa: SLF001
            threading.Event().wait(0.001)

    def _run(self, seconds: float) -> None:
        try:
            self._slots.acquire(self._host, Deadline(seconds))
        except HostBusy as error:
            self.errors.append(error)

    def join(self) -> list[Exception]:
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.errors


def test_a_host_has_one_slot_and_one_waiting_request() -> None:
    slots = HostSlots(4)
    slots.acquire(HOST, Deadline(5))
    second = Waiting(slots)
    with pytest.raises(HostBusy, match=r"host\.example\.com"):
        slots.acquire(HOST, Deadline(5))
    slots.acquire(OTHER, Deadline(5))
    slots.release(HOST)
    assert second.join() == []
    slots.release(HOST)
    slots.acquire(HOST, Deadline(5))


def test_a_request_does_not_wait_for_other_hosts() -> None:
    slots = HostSlots(1)
    slots.acquire(HOST, Deadline(5))
    with pytest.raises(HetznerBusy, match="queue"):
        slots.acquire(OTHER, Deadline(5))
    slots.release(HOST)
    slots.acquire(OTHER, Deadline(5))


def test_a_wait_ends_with_the_deadline_without_occupying_a_slot() -> None:
    slots = HostSlots(2)
    slots.acquire(HOST, Deadline(5))
    assert len(Waiting(slots, 0.01).join()) == 1
    slots.release(HOST)
    for _ in range(3):
        slots.acquire(HOST, Deadline(5))
        slots.release(HOST)


def test_the_number_of_waiting_requests_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_WAITING", 2)
    names = [f"host{number}.example.com" for number in range(3)]
    slots = HostSlots(4)
    for name in names:
        slots.acquire(host(name), Deadline(5))
    waiting = [Waiting(slots, name=name) for name in names]
    assert [len(one.errors) for one in waiting] == [0, 0, 1]
    for name in names:
        slots.release(host(name))
    assert [len(one.join()) for one in waiting] == [0, 0, 1]
