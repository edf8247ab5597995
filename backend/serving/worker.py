"""gunicorn's worker with threads, which gives a thread to whole requests only.

gunicorn reads a request on the thread that answers it. Two hundred connections that send a byte
now and then would hold every thread for as long as they like: measured in bench/slow_senders.py.
"""

from __future__ import annotations

import logging
import selectors
import socket
import time
import traceback
from typing import Any, Dict, List, Optional

from gunicorn.http import errors as http
from gunicorn.workers.gthread import TConn, ThreadWorker

from backend.serving.arrival import MOST, TooLong, heard, length_of

ARRIVAL_SECONDS = 10.0  # from a request's first byte to its last, or from the connection's opening
_STOPPING_SECONDS = 2.0
_MOST_WAITING = 400  # connections; beyond it, the one that waits longest goes
_PEEK = 8192
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# What can't be read at all is answered by its kind alone, never with what it was: it may be a
# request line with a key in it.
_ANSWERS = (
    (http.LimitRequestLine, 414, "URI Too Long"),
    (http.LimitRequestHeaders, 431, "Request Header Fields Too Large"),
    (http.ParseException, 400, "Bad Request"),
)

logger = logging.getLogger(__name__)


class _Measured(socket.socket):
    """A connection of which no more can be read than has arrived of one request."""

    held = b""  # what was read of a request that isn't whole
    allowed = 0

    def look(self) -> Optional[int]:
        """Return the length of the request that has arrived; `None` while some of it is missing.

        Raises:
            TooLong: it can't be an honest one.
            OSError: the connection is broken.

        """
        try:
            more = self._peek()
        except BlockingIOError:
            return None
        data = self.held + more
        length = length_of(data) if more else len(data)  # at the end, nothing more will come
        if length is None:
            self.held = data
            super().recv(len(more))
            urged = heard(data)
            if urged is not None:
                self.held = urged
                self.sendall(_CONTINUE)
        return length

    def _peek(self) -> bytes:
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        more = super().recv(_PEEK, flags)
        return more if len(more) < _PEEK else super().recv(MOST, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Read what has arrived of the request; nothing, as at the end, beyond it."""
        size = min(size, self.allowed)
        if not size:
            return b""
        if self.held:
            data, self.held = self.held[:size], self.held[size:]
        else:
            data = super().recv(size, flags)
        self.allowed -= len(data)
        return data


class _Connection(TConn):  # type: ignore[misc]
    def wait_for_data(self, _timeout: float) -> bool:
        """Wait for nothing: newer gunicorns would, on a thread."""
        return True


class _Body:
    """A body in chunks, whose flaws are the failures to read that everybody expects."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401
        self._body = body

    def read(self, size: int = -1) -> bytes:
        """Read; raise `OSError` when it is no body in chunks, and never with what it was."""
        try:
            return bytes(self._body.read(size))
        except (OSError, http.ParseException) as error:
            raise OSError(type(error).__name__) from None


class Worker(ThreadWorker):  # type: ignore[misc]
    """Lets connections wait in the main loop until they have brought a whole request."""

    wsgi: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self._waiting: Dict[_Connection, float] = {}  # and since when, the longest first

    def load_wsgi(self) -> None:
        """Load the application, and shield it from gunicorn's own kinds of errors."""
        super().load_wsgi()
        application = self.wsgi

        def shielded(environ: Dict[str, Any], start: Any) -> Any:  # noqa: ANN401
            if "HTTP_TRANSFER_ENCODING" in environ:
                environ["wsgi.input"] = _Body(environ["wsgi.input"])
            return application(environ, start)

        self.wsgi = shielded

    def accept(self, *arguments: socket.socket) -> None:
        """Take a connection."""
        listener = arguments[-1]  # older gunicorns put the server's address before it
        try:
            accepted, client = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        measured = _Measured(fileno=accepted.detach())
        self.enqueue_req(_Connection(self.cfg, measured, client, listener.getsockname()))

    def enqueue_req(self, conn: _Connection) -> None:
        """Give a connection to a thread once its request is whole."""
        try:
            length = conn.sock.look()
        except TooLong:
            self.handle_error(None, conn.sock, conn.client, http.LimitRequestHeaders("head"))
            self._dismiss(conn)
            return
        except OSError:
            length = 0  # broken: gunicorn finds it at its end
        if length is None:
            self._let_wait(conn)
            return
        self._waiting.pop(conn, None)
        conn.sock.allowed = length
        super().enqueue_req(conn)

    def _let_wait(self, conn: _Connection) -> None:
        self._waiting.setdefault(conn, time.monotonic())
        conn.sock.setblocking(False)
        self.poller.register(conn.sock, selectors.EVENT_READ, lambda _: self._look_again(conn))
        if len(self._waiting) > _MOST_WAITING:
            self._turn_away(next(iter(self._waiting)))

    def _look_again(self, conn: _Connection) -> None:
        self.poller.unregister(conn.sock)
        self.enqueue_req(conn)

    def notify(self) -> None:
        """Tell that the main loop turns, and turn away who took too long."""
        super().notify()
        patience = ARRIVAL_SECONDS if self.alive else _STOPPING_SECONDS
        now = time.monotonic()
        for conn in [conn for conn, since in self._waiting.items() if now - since > patience]:
            self._turn_away(conn)

    def _turn_away(self, conn: _Connection) -> None:
        self.poller.unregister(conn.sock)
        self._dismiss(conn)

    def _dismiss(self, conn: _Connection) -> None:
        self._waiting.pop(conn, None)
        self.nr_conns -= 1
        conn.close()

    def handle_error(
        self,
        _request: object,
        client: socket.socket,
        address: Any,  # noqa: ANN401
        error: Exception,
    ) -> None:
        """Answer what can't be read, and say nothing of what it was."""
        found = ((status, words) for kind, status, words in _ANSWERS if isinstance(error, kind))
        status, words = next(found, (500, "Internal Server Error"))
        kind = type(error).__name__
        logger.debug("A request of %s can't be read: %s", address and address[0], kind)
        if status == 500:  # noqa: PLR2004
            # Without the error's own words, which may quote the request.
            where = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            logger.error("A request failed in gunicorn (%s):\n%s", kind, where)
        _answer(client, status, words)


def _answer(client: socket.socket, status: int, words: str) -> None:
    lines: List[str] = [
        f"HTTP/1.1 {status} {words}",
        "Connection: close",
        "Cache-Control: no-store",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(words) + 1}",
        "",
        f"{words}\n",
    ]
    try:
        client.sendall("\r\n".join(lines).encode("ascii"))
    except OSError:
        return  # it has gone
