from __future__ import annotations

import logging
import threading

import pytest

from backend.errors import StoreUnavailable
from backend.server.loops import Loop

# Long enough for a busy machine.
PATIENCE = 10.0


class Action:
    """A job that signals when it was run a few times."""

    def __init__(self, times: int, *failures: Exception) -> None:
        self.done_enough = threading.Event()
        self.done = 0
        self._times = times
        self._failures = list(failures)

    def __call__(self) -> None:
        self.done += 1
        if self.done >= self._times:
            self.done_enough.set()
        if self._failures:
            raise self._failures.pop(0)


def run(action: Action, interval: float = 0.001) -> None:
    loop = Loop("test", interval, action)
    loop.start()
    assert action.done_enough.wait(PATIENCE)
    loop.stop(PATIENCE)


def test_the_job_runs_again_and_again() -> None:
    run(Action(3))


def test_the_job_does_not_run_after_the_stop() -> None:
    action = Action(1)
    run(action)
    done = action.done
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]
    assert action.done == done


def test_a_stop_does_not_wait_for_the_interval() -> None:
    action = Action(1)
    loop = Loop("test", 3600, action)
    loop.start()
    loop.stop(PATIENCE)
    assert not [thread for thread in threading.enumerate() if thread.name == "test"]
    assert action.done == 0


def test_the_first_run_may_be_sooner() -> None:
    action = Action(1)
    loop = Loop("test", 3600, action, first=0.001)
    loop.start()
    assert action.done_enough.wait(PATIENCE)
    loop.stop(PATIENCE)
    assert action.done == 1


def test_the_loop_does_not_keep_a_process_alive() -> None:
    loop = Loop("test", 3600, Action(1))
    loop.start()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "test")
    assert thread.daemon
    loop.stop(PATIENCE)


def test_a_bug_is_logged_with_its_traceback_and_the_job_reruns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run(Action(3, ValueError("a bug")))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "test failed" in record.getMessage()
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_a_known_error_is_logged_in_debug_and_the_job_reruns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    run(Action(3, StoreUnavailable("away")))
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.DEBUG, None)
    assert record.getMessage() == "test: away"
