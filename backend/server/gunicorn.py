"""Serving: settings, logs, key file, store and socket, then gunicorn with its workers.

gunicorn runs its stock parser, and its stock threaded worker with a fast path (`worker`). The hooks
below change the rest.
Settings and hooks: https://gunicorn.org/reference/settings/
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import logging
import os
import re
import resource
import signal
import socket
import sys
import time
import traceback
from http import HTTPStatus
from typing import Any, Callable, Iterator, Mapping, NoReturn, Sequence

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http import message
from gunicorn.http.errors import InvalidHeader, InvalidRequestLine, ParseException
from gunicorn.workers import base
from gunicorn.workers.workertmp import WorkerTmp

from backend import __version__
from backend.auth.registry import Registry, move_keys, open_keys
from backend.errors import KeyFileUnusable, SettingUnusable, not_registered
from backend.metrics import FIGURES, Slots
from backend.notify.channels import check_urls
from backend.rate import LineLimit
from backend.server import logs
from backend.server.worker import Worker
from backend.settings import CHALLENGE_SLOTS, FREE_THREADS, ServerSettings, Settings, read
from backend.store import Store, prepare_store
from backend.text import command, is_in_container
from backend.web.caller import client_address
from backend.web.request import MAX_BODY

logger = logging.getLogger(__name__)

Build = Callable[[Settings, Slots], Any]  # `service.build`, which is in a layer above

# gunicorn's own limit of connections for each worker, unless the process may open fewer files.
_MOST_CONNECTIONS = 1000
# Files a process may open: connections, and as many again for the store, Hetzner and logs.
_FILES = 4096
# Connections that wait for a worker while all are busy: gunicorn's own default.
_BACKLOG = 2048
_M_ARENA_MAX = -8  # of glibc's malloc.h
_EVERY_IPV4 = "0.0.0.0"  # noqa: S104 - the callers of a container are other machines
# Answers to requests that gunicorn can't read, by the names of its exceptions, since not every
# version has all of them. All others are 400.
_STATUSES: Mapping[str, HTTPStatus] = {
    "ExpectationFailed": HTTPStatus.EXPECTATION_FAILED,
    "LimitRequestHeaders": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "LimitRequestLine": HTTPStatus.REQUEST_URI_TOO_LONG,
    "UnsupportedTransferCoding": HTTPStatus.NOT_IMPLEMENTED,
}
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
_METHOD = re.compile(rb"[A-Z]+( |$)")  # perhaps the only part of the next request that is there


def run(environ: Mapping[str, str], build: Build) -> int:
    """Serve until a signal stops the process.

    Raises:
        OperatorError: the set-up is wrong.
        StoreUnavailable: the store doesn't answer.

    """
    settings = prepare(environ)
    sink = listen(settings.server)
    hosts = _register(settings)  # last, so that a start that fails changes nothing
    logger.info(
        "hetzner-dyndns %s starts on port %d. Registered hosts: %d.",
        *(__version__, settings.server.port, len(hosts)),
    )
    for line in _next_steps(settings, hosts):
        logger.info("%s", line)
    # During a reload, the old and the new workers run at the same time.
    slots = Slots(2 * settings.server.workers, FIGURES)
    _replace_private_parts()
    # Hold back the signals that end a worker until it has its handlers. Until then it has those of
    # the master, which would only note the signal: the worker would run on, and the master would
    # wait for it for the whole `graceful_timeout`.
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDINGS),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS),
    )
    # glibc would keep an arena of memory for each thread. With two for all threads, a worker takes
    # 20 MB less after it has produced pages with 10,000 hosts.
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
    # The workers share the memory of loaded objects until they write to it, and a garbage
    # collection writes to all objects. Freezing the objects saves each worker 10 of 80 MB.
    gc.freeze()
    try:
        _Server(settings, sink, slots, build).run()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise
    return 0


def prepare(environ: Mapping[str, str]) -> Settings:
    """Read the settings, and set up the log, the keys and the store."""
    # A core dump would contain every secret.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)  # the store and the log are private: they show where people are
    settings, warnings = read(environ)
    logs.set_up(settings.log, settings.secrets())
    for warning in warnings:
        logger.warning("%s", warning)
    check_urls(settings.ntfy.urls)
    prepare_store(settings.store.url)
    with contextlib.closing(Store(settings.store.url, pool_size=1)) as store:
        keys = open_keys(settings, store.registrations)
        # A rename may have been killed, whose host would get a new key.
        with contextlib.suppress(KeyFileUnusable):  # `complete` says what is wrong
            move_keys(keys, store.registrations)
        keys.complete(Registry(settings.access, store.hosts, store.registrations, keys))
    return settings


def _register(settings: Settings) -> Registry:
    """Store which hosts the settings list, and return all registered hosts."""
    with contextlib.closing(Store(settings.store.url, pool_size=1)) as store:
        for host in store.hosts.register(settings.access.hosts, time.time()):
            logger.info("%s is registered again: nothing is published until its next update.", host)
        keys = open_keys(settings, store.registrations)
        hosts = Registry(settings.access, store.hosts, store.registrations, keys)
    for host in settings.access.interface_ids:
        if host not in hosts:
            logger.warning("IPV6_INTERFACE_IDS: %s", not_registered(host))
    return hosts


def _next_steps(settings: Settings, hosts: Registry) -> Iterator[str]:
    """Say where the dashboard is, or how to switch it on, and what to do next."""
    name, port = settings.access.operator_name, settings.server.port
    if name and is_in_container():
        where = f"path / of your proxy, or of the port that you publish for port {port}"
        yield f"Dashboard: {where}, user name {name}."
    elif name:
        address = settings.server.address or "localhost"
        shown = f"[{address}]" if ":" in address else address
        yield f"Dashboard: http://{shown}:{port}/, user name {name}."
    else:
        yield (
            "The dashboard is off: set BASIC_AUTH_USERNAME and BASIC_AUTH_PASSWORD to switch it on."
        )
    if hosts:
        yield f"Next, see what to enter into a device: {command('setup', str(next(iter(hosts))))}"
    else:
        yield f"Next, add a host: {command('hosts', 'add', 'NAME')}"


def _leave(status: int) -> NoReturn:
    """End the process at once: Python's own clean-up takes a second on a small machine."""
    logging.shutdown()
    os._exit(status)


def listen(server: ServerSettings) -> socket.socket:
    """Bind the address; by default all addresses, IPv4 and IPv6 on one socket.

    gunicorn can bind the address, too, but tries a port in use five times and then fails with a
    traceback.

    Raises:
        SettingUnusable: the address can't be bound.

    """
    address = server.address or ("::" if socket.has_dualstack_ipv6() else _EVERY_IPV4)
    try:
        return socket.create_server(
            (address, server.port),
            family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            backlog=_BACKLOG,
            dualstack_ipv6=address == "::",
        )
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        # Python appends the address in parentheses.
        reason = (getattr(error, "strerror", None) or "not an address").partition(" (")[0]
        problem = f"LISTEN_ADDRESS: can't listen on {address} ({reason})"
        hint = "name an address of this machine, or leave it empty for all of them."
        if number == errno.EADDRINUSE:
            program = "another program (`ss -ltnp` shows which)"
            problem = f"LISTEN_PORT: port {server.port} is taken by {program}"
            hint = "stop that program, or choose another LISTEN_PORT."
        elif number in (errno.EACCES, errno.EPERM):
            problem = f"LISTEN_PORT: this user may not use port {server.port}"
            hint = "choose a port from 1024 up, as in LISTEN_PORT=8080."
        raise SettingUnusable(problem, hint=hint) from None


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn. Each worker builds its own service, because threads don't survive a fork."""

    def __init__(self, settings: Settings, sink: socket.socket, slots: Slots, build: Build) -> None:
        self._settings = settings
        self._sink = sink
        self._slots = slots
        self._build = build
        self._service: Any = None
        self._unreadable = LineLimit()
        super().__init__()

    def load_config(self) -> None:
        hooks = {
            "worker_class": Worker,
            "pre_fork": self.before_fork,
            "post_worker_init": self.set_up_worker,
            "child_exit": lambda _, worker: self._slots.clear(worker.slot),
            "worker_exit": self.stop,
            "on_exit": lambda _: logger.info("hetzner-dyndns has stopped."),
        }
        for name, value in {**options(self._settings, self._sink), **hooks}.items():
            if name in self.cfg.settings:  # older versions lack some options
                self.cfg.set(name, value)

    def load(self) -> Any:  # noqa: ANN401
        self._service = self._build(self._settings, self._slots)
        self._service.keys.load()
        self._service.start()
        return self._service.app

    def before_fork(self, server: Any, worker: Any) -> None:  # noqa: ANN401
        worker.slot = self._slots.take(other.slot for other in server.WORKERS.values())

    def set_up_worker(self, worker: Any) -> None:  # noqa: ANN401
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDINGS)
        # A thread that renders a page lets the main thread answer updates sooner: Python's own
        # interval is 5 ms, and an answer needs several intervals.
        sys.setswitchinterval(0.0001)
        worker.set_up(self._service.app.wsgi_app.repeat)
        worker.handle_error = self.refuse

    def stop(self, _server: object, worker: Any) -> None:  # noqa: ANN401
        if self._service is not None:
            self._service.stop()
            if not worker.alive:  # after a signal; otherwise keep gunicorn's exit code
                _leave(0)

    def refuse(
        self, request: object, client: socket.socket, address: Sequence[Any], error: Exception
    ) -> None:
        """Answer a request that gunicorn can't read with only a status; log some of these requests.

        This replaces gunicorn's answer and log line, which quote the request and may quote a key.
        """
        kind = type(error).__name__
        if not isinstance(error, ParseException):
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            # Without the error's message, which may quote the request.
            where = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            logger.error("A request failed in gunicorn (%s):\n%s", kind, where)
        else:
            status = _STATUSES.get(kind, HTTPStatus.BAD_REQUEST)
            left_out = self._unreadable.take()
            if left_out is not None:
                # The headers are known if gunicorn could read them, but refused another part.
                headers = dict(getattr(request or getattr(error, "req", None), "headers", ()))
                peer = str(address[0]) if address else ""
                trusted = self._settings.access.trusted_proxies
                environ = {f"HTTP_{name.replace('-', '_')}": headers[name] for name in headers}
                source = client_address({**environ, "REMOTE_ADDR": peer}, trusted) or "unknown"
                more = f" {left_out} earlier ones were not logged." if left_out else ""
                logger.warning("A request from %s can't be read (%s).%s", source, kind, more)
        util.write_error(client, status.value, status.phrase, "")


def options(settings: Settings, sink: socket.socket) -> dict[str, Any]:
    """Return gunicorn's settings; older versions don't know all of them."""
    server = settings.server
    threads = server.threads + FREE_THREADS
    if settings.access.acme_dns:
        threads += 2 * CHALLENGE_SLOTS
    return {
        "bind": f"fd://{sink.fileno()}",
        "workers": server.workers,
        "worker_class": "gthread",
        "threads": threads,
        # With fewer files than connections, `accept` fails and ends the worker.
        "worker_connections": max(threads + 1, min(_MOST_CONNECTIONS, _allow_files() // 2)),
        "http_parser": "python",  # even if gunicorn_h1c is installed
        # A line may contain twenty host names and a login; browsers send fewer headers than this.
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
    }


def _allow_files() -> int:
    """Raise the limit of open files to the user's maximum; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    desired = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < desired:
        resource.setrlimit(resource.RLIMIT_NOFILE, (desired, hard))
    return max(soft, desired)


class _Log(Logger):  # type: ignore[misc]
    """Sends gunicorn's own lines to the log of the service."""

    def setup(self, _cfg: object) -> None:
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = True  # gunicorn has just set it to False
        # Leave out the lines of gunicorn about its own start.
        self.error_log.setLevel(logging.WARNING)


def _check_request(_worker: object, request: Any) -> None:  # noqa: ANN401
    """Refuse requests that older gunicorns accept; close the connection after an unread body.

    The application reads a body of up to `MAX_BODY` bytes to its end, whatever the answer. gunicorn
    must not read the rest of a larger body, or of a broken chunked one, as the next request.
    """
    # gunicorn would drop what follows a "#", which may be the address.
    if _CONTROL.search(request.uri) or "#" in request.uri:
        raise InvalidRequestLine("")
    if sum(name == "HOST" for name, _ in request.headers) > 1:  # RFC 9112 §3.2
        raise InvalidHeader("HOST")
    headers = dict(request.headers)
    length, is_chunked = int(headers.get("CONTENT-LENGTH", 0)), "TRANSFER-ENCODING" in headers
    # A client that sends a body without its length, or a wrong one, may have sent an address in it.
    behind = request.unreader.buf.getvalue()[length:].lstrip(b"\r\n")
    if behind and not is_chunked and not _METHOD.match(behind):
        raise InvalidRequestLine("")
    if is_chunked or length > MAX_BODY:
        request.force_close()


class _Heartbeat(WorkerTmp):  # type: ignore[misc]
    """The heartbeat of a worker: the time of a file in anonymous memory."""

    def __init__(self, _cfg: object) -> None:
        self._tmp = os.fdopen(os.memfd_create("heartbeat"), "w+b", 0)


def _replace_private_parts() -> None:
    """Replace parts of gunicorn that have no setting; therefore its versions are limited."""
    # Routers send ``hostname=müller.example.com`` unencoded. gunicorns before 27 accept bytes
    # above 127 in a request target. Spaces and control characters are still refused.
    if hasattr(message, "RFC9112_TARGET_INVALID"):
        message.RFC9112_TARGET_INVALID = _CONTROL
    # gunicorns before 27 would wait for a CRLF after a head that ends its lines with LF alone.
    name = "read_into" if hasattr(message.Request, "read_into") else "get_data"
    read_more = getattr(message.Request, name)

    def read_checked(self: Any, unreader: Any, buffer: Any, stop: bool = False) -> None:  # noqa: ANN401
        read_more(self, unreader, buffer, stop)
        received = bytes(buffer if isinstance(buffer, bytearray) else buffer.getvalue())
        if _BARE_LINE_FEED.search(received.partition(b"\r\n\r\n")[0]):
            raise InvalidRequestLine("")

    setattr(message.Request, name, read_checked)
    # gunicorn creates a temporary file for each worker, and ends if the disk is full or read-only.
    if hasattr(os, "memfd_create"):
        base.WorkerTmp = _Heartbeat
