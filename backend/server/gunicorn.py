"""How gunicorn serves the application: its stock threaded worker, its stock parser, and hooks.

Settings and hooks: https://gunicorn.org/reference/settings/
"""

from __future__ import annotations

import logging
import os
import re
import resource
import socket
import traceback
from http import HTTPStatus
from typing import Any, Callable, Dict, Iterable, Mapping

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http import message
from gunicorn.http.errors import InvalidRequestLine, ParseException
from gunicorn.workers import base
from gunicorn.workers.workertmp import WorkerTmp

from backend.rate import LineLimit
from backend.settings import FREE_THREADS, ServerSettings
from backend.web.request import MAX_BODY

logger = logging.getLogger(__name__)

Environ = Dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]

# gunicorn's own limit of connections a worker, unless the process may not open that many files.
_MOST_CONNECTIONS = 1000
# Files a process may open: connections, and as many again for the store, Hetzner and logs.
_FILES = 4096

# Answers to requests that gunicorn can't read, by the names of its exceptions, since not every
# version has all of them. All others are 400.
_STATUSES: Mapping[str, HTTPStatus] = {
    "ExpectationFailed": HTTPStatus.EXPECTATION_FAILED,
    "LimitRequestHeaders": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "LimitRequestLine": HTTPStatus.REQUEST_URI_TOO_LONG,
    "UnsupportedTransferCoding": HTTPStatus.NOT_IMPLEMENTED,
}
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def options(server: ServerSettings, sink: socket.socket) -> Dict[str, Any]:
    """Return gunicorn's settings; a version may not know all of them."""
    threads = server.threads + FREE_THREADS
    return {
        "bind": f"fd://{sink.fileno()}",
        "workers": server.workers,
        "worker_class": "gthread",
        "threads": threads,
        # With fewer files than connections, `accept` fails and ends the worker.
        "worker_connections": max(threads + 1, min(_MOST_CONNECTIONS, _allow_files() // 2)),
        "http_parser": "python",  # even if gunicorn_h1c is installed
        # Twenty host names and a login fit into a line; browsers send some dozen headers.
        "limit_request_line": 8190,
        "limit_request_fields": 64,
        "limit_request_field_size": 8190,
        # By default, gunicorn takes SCRIPT_NAME and PATH_INFO from headers of callers on this
        # machine. A proxy there passes these headers on, which bypasses its rules for paths.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        # Newer gunicorns wait up to 2 s for each peer whose connection they close, and close up to
        # 60 of them between two heartbeats. The master ends a worker whose heartbeat is late.
        "timeout": 300,
        "graceful_timeout": 10,
        "keepalive": 5,
        "logger_class": _Log,
        "proc_name": "hetzner-dyndns",
        "control_socket_disable": True,  # unused, and needs a writable home
        "pre_request": _check_request,
        "post_worker_init": _answer_without_quoting,
    }


def _allow_files() -> int:
    """Raise the limit of open files as far as the user may; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    desired = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < desired:
        resource.setrlimit(resource.RLIMIT_NOFILE, (desired, hard))
    return max(soft, desired)


class _Log(Logger):  # type: ignore[misc]
    """Sends gunicorn's own lines to the log of the service."""

    def setup(self, cfg: object) -> None:
        del cfg
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = True  # gunicorn has just switched it off
        # Leave out what gunicorn says about itself at the start.
        self.error_log.setLevel(logging.WARNING)


def _check_request(_worker: object, request: Any) -> None:  # noqa: ANN401
    """Refuse control characters, and close the connection after a body that may be left unread.

    The application reads a body of up to `MAX_BODY` bytes to its end, whatever the answer. gunicorn
    must not read the rest of a larger body, or of a broken chunked one, as the next request.
    """
    if _CONTROL.search(request.uri):  # older gunicorns accept them
        raise InvalidRequestLine("")
    for name, value in request.headers:
        if name == "TRANSFER-ENCODING" or (name == "CONTENT-LENGTH" and int(value) > MAX_BODY):
            request.force_close()


def _answer_without_quoting(worker: Any) -> None:  # noqa: ANN401
    # The stock answer and its log line quote the request, which may contain a key.
    worker.handle_error = Unreadable().refuse


class Unreadable:
    """Answers requests that gunicorn can't read, and logs some of them."""

    def __init__(self) -> None:
        self._lines = LineLimit()

    def refuse(
        self,
        _request: object,
        client: socket.socket,
        address: Any,  # noqa: ANN401
        error: Exception,
    ) -> None:
        """Answer with the status alone; the arguments are those of gunicorn's `handle_error`."""
        if isinstance(error, ParseException):
            status = _STATUSES.get(type(error).__name__, HTTPStatus.BAD_REQUEST)
            self._log(str(address[0]) if address else "unknown", type(error).__name__)
        else:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            # Without the error's message, which may quote the request.
            where = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            logger.error("A request failed in gunicorn (%s):\n%s", type(error).__name__, where)
        util.write_error(client, status.value, status.phrase, "")

    def _log(self, source: str, kind: str) -> None:
        left_out = self._lines.take()
        if left_out is not None:
            more = f" {left_out} more since the last such line." if left_out else ""
            logger.info("A request from %s can't be read (%s).%s", source, kind, more)


def accept_raw_bytes() -> None:
    """Accept request targets with bytes above 127, as all gunicorns before 26 do.

    Routers send ``hostname=müller.example.com`` unencoded. Spaces and control characters are still
    refused. This replaces a private constant, so requirements.txt has an upper bound for gunicorn.
    """
    if hasattr(message, "RFC9112_TARGET_INVALID"):
        message.RFC9112_TARGET_INVALID = _CONTROL


class _Heartbeat(WorkerTmp):  # type: ignore[misc]
    """Shows that a worker is alive, by the time of a file in anonymous memory."""

    def __init__(self, cfg: object) -> None:
        del cfg
        self._tmp = os.fdopen(os.memfd_create("heartbeat"), "w+b", 0)


def keep_heartbeats_in_memory() -> None:
    """Make gunicorn start workers despite a full or read-only disk, where the system allows it.

    gunicorn creates a temporary file for each worker, and ends if that fails. This replaces a
    private class, as above.
    """
    if hasattr(os, "memfd_create"):
        base.WorkerTmp = _Heartbeat


def with_readable_bodies(application: Application) -> Application:
    """Make the reading of a broken body raise `OSError`, as WSGI frameworks expect."""

    def call(environ: Environ, start_response: Any) -> Iterable[bytes]:  # noqa: ANN401
        if "HTTP_TRANSFER_ENCODING" in environ:
            environ["wsgi.input"] = _Body(environ["wsgi.input"])
        return application(environ, start_response)

    return call


class _Body:
    """A chunked body. Reading it raises errors of gunicorn's own in newer versions."""

    def __init__(self, body: Any) -> None:  # noqa: ANN401
        self._body = body

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._body.read(size))
        except (OSError, ParseException) as error:
            raise OSError(type(error).__name__) from None
