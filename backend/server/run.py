"""Serves: settings, logs, key file, store, socket, then gunicorn with its workers."""

from __future__ import annotations

import argparse
import errno
import gc
import logging
import os
import resource
import socket
import time
from typing import Any, List, Mapping, NoReturn, Optional

from gunicorn.app.base import BaseApplication

from backend import __version__
from backend.auth.keys import KeyFile
from backend.errors import SettingUnusable
from backend.metrics import FIGURES, Slots
from backend.notify.outbox import Complaints
from backend.server import logs
from backend.server.gunicorn import (
    Application,
    accept_raw_bytes,
    keep_heartbeats_in_memory,
    options,
    with_readable_bodies,
)
from backend.service import Service, build
from backend.settings import ServerSettings, Settings, read
from backend.store import Store, prepare_store

logger = logging.getLogger(__name__)

# Connections that wait for a worker while all are busy: gunicorn's own default.
_BACKLOG = 2048


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, with a service of its own in each worker: threads don't survive a fork."""

    def __init__(self, settings: Settings, sink: socket.socket, slots: Slots) -> None:
        self._settings = settings
        self._slots = slots
        self._sink = sink
        self._service: Optional[Service] = None
        self._complaints = Complaints()
        super().__init__()

    def load_config(self) -> None:
        for name, value in options(self._settings.server, self._sink).items():
            if name in self.cfg.settings:  # not every gunicorn knows every option
                self.cfg.set(name, value)
        self.cfg.set("pre_fork", self._before_fork)
        self.cfg.set("child_exit", self._after_death)
        self.cfg.set("worker_exit", self._stop)
        self.cfg.set("on_exit", self._end)

    def load(self) -> Application:
        self._service = build(self._settings, self._complaints, self._slots)
        self._service.key_file.await_editor()
        self._service.start()
        return with_readable_bodies(self._service.app)

    def _before_fork(self, server: Any, worker: Any) -> None:  # noqa: ANN401
        worker.slot = self._slots.take(other.slot for other in server.WORKERS.values())

    def _after_death(self, _server: object, worker: Any) -> None:  # noqa: ANN401
        self._slots.clear(worker.slot)

    def _end(self, _server: object) -> None:
        logger.info("hetzner-dyndns has stopped.")

    def _stop(self, _server: object, worker: Any) -> None:  # noqa: ANN401
        if self._service is not None:
            self._service.stop()
            if not worker.alive:  # it was told to stop, and has; else its exit code counts
                _leave(0)


def _listen(server: ServerSettings) -> socket.socket:
    """Bind the address; by default every one, IPv4 and IPv6 by one socket.

    gunicorn would do it, too, but answers a taken port with five tries and a traceback.

    Raises:
        SettingUnusable: it can't be bound.

    """
    # A container's callers come from other machines; LISTEN_ADDRESS narrows it.
    every = "0.0.0.0"  # noqa: S104
    address = server.address or ("::" if _has_ipv6() else every)
    sink = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sink.bind((address, server.port))
        # Of two programs that have bound a port, the second one to listen is told.
        sink.listen(_BACKLOG)
    except (OSError, UnicodeError) as error:
        sink.close()
        raise _unbindable(error, address, server.port) from None
    return sink


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _unbindable(error: Exception, address: str, port: int) -> SettingUnusable:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return SettingUnusable(
            f"LISTEN_PORT: port {port} is taken by another program (`ss -ltnp` shows which)",
            hint="stop that one, or choose another LISTEN_PORT.",
        )
    if number in (errno.EACCES, errno.EPERM):
        return SettingUnusable(
            f"LISTEN_PORT: this user may not use port {port}",
            hint="choose one from 1024 up, as in LISTEN_PORT=8080.",
        )
    reason = getattr(error, "strerror", None) or "not an address"
    return SettingUnusable(
        f"LISTEN_ADDRESS: can't listen on {address} ({reason})",
        hint="name an address of this machine, or leave it empty for all of them.",
    )


def _secrets(settings: Settings) -> List[str]:
    return [
        *settings.hetzner.tokens,
        settings.access.operator_password,
        settings.ntfy.password,
        settings.ntfy.token,
        settings.store.url,
        *logs.secrets_in(settings.store.url),
        *logs.secrets_in(settings.ntfy.url),
        *logs.secrets_in(settings.hetzner.api_url),
    ]


def _prepare(environ: Mapping[str, str]) -> Settings:
    """Do everything that can fail for a wrong set-up, before anything serves."""
    settings, warnings = read(environ)
    log = settings.log
    logs.set_up(
        debug=log.debug,
        file=log.file,
        max_bytes=log.max_bytes,
        backup_count=log.backup_count,
        secrets=_secrets(settings),
    )
    for warning in warnings:
        logger.warning("%s", warning)
    KeyFile(settings.access.key_file).complete(settings.access.hosts)
    prepare_store(settings.store.url)
    return settings


def _register(settings: Settings) -> None:
    store = Store(settings.store.url, pool_size=1)
    for host in store.hosts.register(settings.access.hosts, time.time()):
        logger.info("%s is registered again: nothing is published until its next update.", host)
    store.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take none: everything is a setting."""


def run(_arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Serve until told to stop.

    Raises:
        OperatorError: the set-up is wrong.
        StoreUnavailable: the store doesn't answer.

    """
    # A core dump would hold every secret.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)  # store and log tell where people are: whatever is made here is this user's
    settings = _prepare(environ)
    sink = _listen(settings.server)
    _register(settings)  # a start that fails changes nothing
    logger.info(
        "hetzner-dyndns %s starts on port %d. Registered hosts: %d.",
        __version__,
        settings.server.port,
        len(settings.access.hosts),
    )
    # During a reload, the old and the new workers run at the same time.
    slots = Slots(2 * settings.server.workers, FIGURES)
    accept_raw_bytes()
    keep_heartbeats_in_memory()
    # The workers share the memory of what is loaded by now until they write to it, as each search
    # for garbage does: this saves 10 of 80 MB.
    gc.freeze()
    try:
        _Server(settings, sink, slots).run()
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise
    return 0


def _leave(status: int) -> NoReturn:
    """End the process at once: Python's own tidying takes it a second on a small machine."""
    logging.shutdown()
    os._exit(status)
