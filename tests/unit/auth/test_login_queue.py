from __future__ import annotations

import threading

import pytest

from backend.auth.throttle import MOST, MOST_A_SOURCE, LoginQueue
from backend.errors import TooManyFailures


class Sleepers:
    """A stopped clock, and threads that sleep until `wake`."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[float] = []
        self._asleep = threading.Semaphore(0)
        self._woken = threading.Event()
        self.queue = LoginQueue(lambda: self.now, self._sleep)
        self._threads: list[threading.Thread] = []

    def _sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._asleep.release()
        assert self._woken.wait(30)

    def add(self, source: str) -> None:
        """Start a thread that waits."""
        thread = threading.Thread(target=self.queue.wait, args=(source,))
        self._threads.append(thread)
        thread.start()
        assert self._asleep.acquire(timeout=30)

    def wake(self) -> None:
        self._woken.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()


def test_a_single_login_waits_one_second_each_time() -> None:
    asked: list[float] = []
    queue = LoginQueue(lambda: 1000.0, asked.append)
    for _ in range(3):
        queue.wait("198.51.100.1/32")
    assert asked == [1.0, 1.0, 1.0]


def test_logins_of_one_source_proceed_one_per_second() -> None:
    sleepers = Sleepers()
    for _ in range(MOST_A_SOURCE):
        sleepers.add("198.51.100.1/32")
    assert sleepers.asked == [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(TooManyFailures) as caught:
        sleepers.queue.wait("198.51.100.1/32")
    assert 1 <= caught.value.retry_after <= 10
    sleepers.add("198.51.100.2/32")
    assert sleepers.asked[-1] == 1.0, "another source has its own queue"
    sleepers.wake()
    sleepers.queue.wait("198.51.100.1/32")
    assert sleepers.asked[-1] == 1.0


def test_few_logins_of_all_sources_wait() -> None:
    sleepers = Sleepers()
    for number in range(MOST):
        sleepers.add(f"198.51.100.{number}/32")
    with pytest.raises(TooManyFailures):
        sleepers.queue.wait("198.51.100.99/32")
    sleepers.wake()
    sleepers.queue.wait("198.51.100.99/32")
