"""Callers that keep connections open without completing their requests."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from typing import Callable, NamedTuple, Sequence

from tests.e2e.framings import head

_LARGE = b"Content-Length: 16000"
_PAUSE_SECONDS = 0.5


class Manner(NamedTuple):
    """The first bytes that a caller sends, and the bytes it repeats slowly after that."""

    beginning: bytes
    more: bytes = b""
    reads: bool = True


IDLE = Manner(b"")
HALF_OPEN = Manner(b"GET /nic/upd")
SLOW_HEAD = Manner(b"GET /nic/update HTTP/1.1\r\nHost: dyndns\r\nX-Slow: ", b"x")
SLOW_BODY = Manner(head(b"POST /update", _LARGE), b"{")
SLOW_UNREAD_BODY = Manner(head(b"POST /healthz", _LARGE), b"{")
SLOW_CHUNKS = Manner(head(b"POST /update", b"Transfer-Encoding: chunked"), b"1\r\n{\r\n")
# The most that a proxy may buffer, followed by slow data.
SLOW_END = Manner(head(b"POST /update", b"Content-Length: 17000") + b"{" * 16384, b"{")
SLOW_LAST_CHUNK = Manner(
    head(b"POST /update", b"Transfer-Encoding: chunked") + b"4000\r\n" + b"{" * 16384 + b"\r\n",
    b"1\r\n{\r\n",
)
NEVER_READS = Manner(head(b"GET /openapi.json") * 50, reads=False)
MANNERS = (
    IDLE,
    HALF_OPEN,
    SLOW_HEAD,
    SLOW_BODY,
    SLOW_UNREAD_BODY,
    SLOW_CHUNKS,
    SLOW_END,
    SLOW_LAST_CHUNK,
    NEVER_READS,
)


class SlowCallers:
    """A constant number of connections: refused callers connect again."""

    def __init__(
        self, port: int, number: int, manners: Sequence[Manner] = MANNERS, sources: int = 1
    ) -> None:
        self._port = port
        self._manners = [manner for manner, _ in zip(itertools.cycle(manners), range(number))]
        self._sources = [f"127.0.1.{1 + place % sources}" for place in range(number)]
        self._open: list[socket.socket] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.refused = 0

    def start(self) -> None:
        for place in range(len(self._manners)):
            self._open.append(self._connect(place))
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        for connection in self._open:
            connection.close()

    def _connect(self, place: int) -> socket.socket:
        manner = self._manners[place]
        connection = socket.socket()
        if not manner.reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.bind((self._sources[place], 0))
        connection.settimeout(20)
        with contextlib.suppress(OSError):  # the next round connects again
            connection.connect(("127.0.0.1", self._port))
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.send(manner.beginning)
        return connection

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_SECONDS):
            for place, manner in enumerate(self._manners):
                connection = self._open[place]
                if not _continue(connection, manner):
                    connection.close()
                    self.refused += 1
                    self._open[place] = self._connect(place)


def _continue(connection: socket.socket, manner: Manner) -> bool:
    steps: list[tuple[bool, Callable[[], object]]] = [
        (bool(manner.more), lambda: connection.send(manner.more)),
        (manner.reads, lambda: _read(connection)),
    ]
    for applies, step in steps:
        try:
            if applies:
                step()
        except BlockingIOError:
            pass
        except OSError:
            return False
    return True


def _read(connection: socket.socket) -> None:
    while True:
        if not connection.recv(65536):
            raise ConnectionResetError
