"""Strangers that send slowly, much or nonsense: nobody else waits for them."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import Iterator, List

import pytest

from tests.e2e.processes import Backend, Hetzner, until

HEAD = b"POST /update HTTP/1.1\r\nHost: backend\r\n"
SLOW = (
    b"",  # says nothing at first
    b"GET /nic/upd",  # never ends its request line
    HEAD + b"X-Slow: y\r\n",  # never ends its headers
    HEAD + b"Content-Length: 100\r\n\r\n{",  # never ends its body
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n10\r\nabc",  # never ends its chunks
    HEAD + b"Content-Length: 99999\r\n\r\n{",  # never ends the body that was refused
    b"GET /ip HTTP/1.1\r\nHost: x\r\n\r\nGET /",  # never ends its second request
)


class Dribblers:
    """Connections that send a byte each now and then, for as long as they are let."""

    def __init__(self, port: int, number: int, *beginnings: bytes) -> None:
        self._stopping = threading.Event()
        self._open: List[socket.socket] = []
        for beginning in itertools.islice(itertools.cycle(beginnings), number):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            connection.sendall(beginning)
            connection.setblocking(False)
            self._open.append(connection)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping.wait(0.3):
            for connection in self._open[1:]:  # the first one stays silent
                with contextlib.suppress(OSError):
                    connection.send(b"x")

    def ended(self) -> int:
        """How many of them have been turned away."""
        return sum(_has_ended(connection) for connection in self._open)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for connection in self._open:
            connection.close()


def _has_ended(connection: socket.socket) -> bool:
    try:
        while connection.recv(4096):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


@pytest.fixture
def dribblers(backend: Backend) -> Iterator[Dribblers]:
    dribblers = Dribblers(backend.port, 200, *SLOW)
    yield dribblers
    dribblers.stop()


def test_two_hundred_slow_senders_hold_nobody_up_and_are_turned_away(
    backend: Backend, dribblers: Dribblers, host: str
) -> None:
    before = dribblers.ended()
    for number in range(20):  # more than there are threads: none of them is held
        assert backend.updates(host, f"198.51.100.{number + 1}")["status"] in ("created", "updated")
    assert before == 0, "they were all there"
    until(lambda: dribblers.ended() == 200, "the slow ones to be turned away")


def test_of_ever_more_slow_senders_those_go_that_wait_longest(
    backend: Backend, hetzner: Hetzner, host: str
) -> None:
    dribblers = Dribblers(backend.port, 950, b"GET /")
    try:
        assert backend.updates(host, "198.51.100.1")["status"] == "created"
    finally:
        dribblers.stop()
    hetzner.expect(host, "198.51.100.1")


def answer_to(backend: Backend, request: bytes) -> bytes:
    """Everything that comes back."""
    received = b""
    with socket.create_connection(("127.0.0.1", backend.port), timeout=20) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(request)
        with contextlib.suppress(ConnectionResetError):
            while True:
                part = connection.recv(65536)
                if not part:
                    break
                received += part
    return received


GET = b"GET /ip HTTP/1.1\r\nHost: x\r\n"
TOO_MUCH = {
    "a request line": (b"GET /" + b"x" * 8200 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"414"),
    "a header": (GET + b"X: " + b"y" * 8200 + b"\r\n\r\n", b"431"),
    "too many headers": (GET + b"X: y\r\n" * 100 + b"\r\n", b"431"),
    "a head that has no end": (GET + b"X: y\r\n" * 6000, b"431"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_more_than_any_honest_request_has_is_refused(backend: Backend, what: str) -> None:
    request, status = TOO_MUCH[what]
    head, _, body = answer_to(backend, request).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert b"Connection: close" in head
    assert b"<" not in body


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /nic/update?hostname=h.example.com&pass=my-canary HTP/1.1\r\n\r\n",
        GET + b"Authorization Basic my-canary\r\n\r\n",
        b"my-canary / HTTP/1.1 and more\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nmy-canary\r\n\r\n",
        HEAD + b"Content-Length: my-canary\r\n\r\n",
        HEAD + b"Transfer-Encoding: my-canary\r\n\r\n",
    ],
)
def test_a_request_that_cannot_be_read_is_not_quoted_anywhere(
    backend: Backend, request_: bytes
) -> None:
    answer = answer_to(backend, request_)
    assert answer.split(b" ")[1] in (b"400", b"501")
    assert b"my-canary" not in answer
    assert "my-canary" not in backend.output


def test_nonsense_makes_no_log_lines(backend: Backend) -> None:
    before = backend.output
    for _ in range(30):
        assert answer_to(backend, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert backend.output == before
