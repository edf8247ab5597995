"""gunicorn's threaded worker, which answers repeated requests without using its threads."""

from __future__ import annotations

import functools
import hashlib
import selectors
import socket
import threading
from typing import Any, Callable, Iterable

from gunicorn import util
from gunicorn.http.errors import ParseException
from gunicorn.workers.gthread import ThreadWorker

from backend.web.request import SENT_BYTES, SentBytes

Application = Callable[..., Iterable[bytes]]

_LONGEST = 4096  # bytes of a repeated request; usual ones have a few hundred


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers a request at once if the fast path knows its bytes, and otherwise as gunicorn does.

    The main thread waits for requests and reads their bytes without removing them from the
    socket. It answers only bytes that gunicorn and the application have read and answered before,
    so it parses nothing. All other requests are left in the socket for the threads.
    """

    wsgi: Application

    def set_up(self, repeat: Callable[[bytes], Any]) -> None:
        """Begin to answer repeated requests; called once, after the application is loaded.

        `repeat` is `FastPath.repeat`.
        """
        self._repeat = repeat
        self._waiting = self._keep if hasattr(self, "_keep") else self.keepalived_conns
        self._of_thread = threading.local()
        application = self.wsgi

        def call(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
            environ[SENT_BYTES] = self._of_thread.sent
            if "HTTP_TRANSFER_ENCODING" in environ:
                environ["wsgi.input"] = _Body(environ["wsgi.input"])
            return application(environ, start_response)

        self.wsgi = call

    def enqueue_req(self, conn: Any) -> None:  # noqa: ANN401
        """Handle a readable connection, or a new one, which may not be readable yet."""
        if conn.initialized or not self._answer(conn):
            super().enqueue_req(conn)

    def on_client_socket_readable(self, conn: Any, client: socket.socket) -> None:  # noqa: ANN401
        if not conn.initialized or not self._answer(conn):
            super().on_client_socket_readable(conn, client)

    def handle_request(self, req: Any, conn: Any) -> bool:  # noqa: ANN401
        """Handle a request in a thread, and tell the fast path its bytes if they are complete."""
        seen, conn.seen = getattr(conn, "seen", b""), b""
        headers = dict(req.headers)
        # The parser has read the first request in these bytes, which has to be the only one.
        _, end, body = seen.partition(b"\r\n\r\n")
        is_complete = end and len(body) == int(headers.get("CONTENT-LENGTH", 0))
        is_complete = is_complete and "TRANSFER-ENCODING" not in headers
        sent = SentBytes(_key(seen, conn.client), req.should_close()) if is_complete else None
        self._of_thread.sent = sent
        is_kept: bool = super().handle_request(req, conn)
        return is_kept

    def _answer(self, conn: Any) -> bool:  # noqa: ANN401
        """Answer the request of a connection, or go on waiting; false if a thread must answer."""
        # Older gunicorns may have read the beginning of the request together with the last one.
        if conn.initialized and conn.parser.unreader.buf.getvalue():
            return False
        try:
            seen = conn.sock.recv(_LONGEST, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait(conn)
            return True
        except OSError:
            seen = b""
        answer = None
        if seen:
            try:
                answer = self._repeat(_key(seen, conn.client))
            except Exception:  # noqa: BLE001 - it would end the worker; a thread meets and logs it
                answer = None
            if answer is None:
                conn.seen = seen
                return False
        if answer is not None and self._send(conn, len(seen), answer):
            self._wait(conn)
            return True
        if conn.initialized:
            self._waiting.remove(conn)
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()
        return True

    def _send(self, conn: Any, length: int, answer: Any) -> bool:  # noqa: ANN401
        """Take a request from the socket and send its answer; return whether to wait for more."""
        closes = answer.closes or not self.alive or len(self._waiting) >= self.max_keepalived
        text = answer.text(util.http_date(), closes=closes)
        try:
            conn.sock.recv(length)
            # A peer that doesn't read its answers is disconnected.
            is_sent: bool = conn.sock.send(text, socket.MSG_DONTWAIT) == len(text)
        except OSError:
            return False
        return is_sent and not closes

    def _wait(self, conn: Any) -> None:  # noqa: ANN401
        """Wait for the next request of a connection, or the first one."""
        if conn.initialized:
            self._waiting.remove(conn)
        else:
            conn.init()
            conn.sock.setblocking(False)
            readable = functools.partial(self.on_client_socket_readable, conn)
            self.poller.register(conn.sock, selectors.EVENT_READ, readable)
        conn.set_timeout()
        self._waiting.append(conn)


def _key(sent: bytes, peer: Any) -> bytes:  # noqa: ANN401
    """Return a digest of a request, which contains a login, and of its peer's address."""
    return hashlib.sha256(f"{peer[0]} ".encode() + sent).digest()


class _Body:
    """A chunked body. Newer gunicorns raise their own errors while it is read.

    WSGI frameworks expect an `OSError`.
    """

    def __init__(self, body: Any) -> None:  # noqa: ANN401
        self._body = body

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._body.read(size))
        except (OSError, ParseException) as error:
            raise OSError(type(error).__name__) from None
