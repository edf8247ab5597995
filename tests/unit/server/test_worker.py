"""What the worker does where it waits for requests, with a fake connection."""

from __future__ import annotations

from typing import NoReturn

import pytest

from backend.server.worker import Worker

REQUEST, ANSWER = b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"


class Answer:
    closes = False

    def text(self, _date: str, *, closes: bool) -> bytes:
        assert not closes
        return ANSWER


class Connection:
    """A connection that was just opened; its peer takes this many bytes of an answer."""

    initialized = False
    client = ("192.0.2.1", 1234)

    def __init__(self, taken: int | None = None) -> None:
        self.sock = self
        self.is_closed = False
        self._taken = taken

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return REQUEST

    def send(self, text: bytes, _flags: int) -> int:
        assert text == ANSWER
        if self._taken is None:
            raise BlockingIOError
        return self._taken

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def worker() -> Worker:
    worker = Worker.__new__(Worker)
    worker.wsgi, worker.keepalived_conns = print, []
    worker.alive, worker.nr_conns, worker.max_keepalived = True, 1, 10
    return worker


@pytest.mark.parametrize("taken", [None, len(ANSWER) - 1])
def test_a_peer_that_reads_no_answer_is_disconnected(worker: Worker, taken: int | None) -> None:
    worker.set_up(lambda _: Answer())
    connection = Connection(taken)
    assert worker._answer(connection)  # noqa: SLF001
    assert connection.is_closed
    assert worker.nr_conns == 0


def test_a_bug_of_the_fast_path_is_left_to_a_thread(worker: Worker) -> None:
    def fail(_key: bytes) -> NoReturn:
        raise KeyError("a bug")

    worker.set_up(fail)
    connection = Connection()
    assert not worker._answer(connection)  # noqa: SLF001
    assert not connection.is_closed
