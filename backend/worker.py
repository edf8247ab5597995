"""A worker of gunicorn's that answers what is no HTTP request in plain words, not in HTML."""

from __future__ import annotations

import contextlib
import http
import logging
import socket
from typing import Any

from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.gthread import ThreadWorker

logger = logging.getLogger(__name__)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers as the faces do: a word of dyndns2, no detail."""

    def handle_error(self, req: object, client: socket.socket, addr: Any, exc: Exception) -> None:  # noqa: ANN401
        """Answer a request that no face has seen; `req` is what could be read of it."""
        del req
        status = _status(exc)
        caller = addr[0] if addr else "a socket"
        if status is http.HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("A request from %s failed", caller, exc_info=exc)
        else:
            # Not what was sent: it may hold a key.
            logger.info("What %s sent is no HTTP request: %s", caller, type(exc).__name__)
        with contextlib.suppress(OSError):  # it is gone already
            client.sendall(_answer(status))


def _status(exc: Exception) -> http.HTTPStatus:
    if isinstance(exc, LimitRequestLine):
        return http.HTTPStatus.REQUEST_URI_TOO_LONG
    if isinstance(exc, LimitRequestHeaders):
        return http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    if isinstance(exc, (ParseException, OSError)):  # a TLS handshake, for one
        return http.HTTPStatus.BAD_REQUEST
    return http.HTTPStatus.INTERNAL_SERVER_ERROR


def _answer(status: http.HTTPStatus) -> bytes:
    body = "911\n" if status is http.HTTPStatus.INTERNAL_SERVER_ERROR else "badagent\n"
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", body]).encode("ascii")
