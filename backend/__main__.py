"""Starts the service: settings, logs, key file, store, then gunicorn with its workers."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from typing import Any, Dict, List, Mapping, Optional

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from backend import __version__, logs
from backend.errors import OperatorError, StoreUnavailable
from backend.keys import KeyFile
from backend.services import Services
from backend.settings import Settings, read
from backend.store import Store, prepare_store

logger = logging.getLogger(__name__)


class _Log(Logger):  # type: ignore[misc]
    """gunicorn's own lines go where all others go."""

    def setup(self, cfg: object) -> None:
        del cfg
        self.error_log = logging.getLogger("gunicorn.error")
        self.error_log.propagate = True  # gunicorn has just switched it off
        # Its start-up chatter is about itself.
        self.error_log.setLevel(logging.WARNING)


class _Server(BaseApplication):  # type: ignore[misc]
    """gunicorn, with a service of its own in each worker: threads don't survive a fork."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._services: Optional[Services] = None
        super().__init__()

    def load_config(self) -> None:
        for name, value in _options(self._settings).items():
            if name in self.cfg.settings:  # not every gunicorn knows every option
                self.cfg.set(name, value)
        self.cfg.set("worker_exit", self._stop)

    def load(self) -> Flask:
        self._services = Services(self._settings)
        self._services.start()
        return self._services.app

    def _stop(self, _server: object, _worker: object) -> None:
        if self._services is not None:
            self._services.stop()


def _options(settings: Settings) -> Dict[str, Any]:
    return {
        "bind": _listener(settings.server.address, settings.server.port),
        "workers": settings.server.workers,
        "worker_class": "gthread",
        "threads": settings.server.threads,
        "timeout": 30,
        "graceful_timeout": 10,
        "keepalive": 5,
        "logger_class": _Log,
        "proc_name": "hetzner-dyndns",
        "control_socket_disable": True,  # nobody needs it, and it wants a writable home
        # The heartbeat files of the workers; memory where the root file system is read-only.
        "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,  # noqa: S108
    }


def _listener(address: str, port: int) -> str:
    """Return what to bind to; by default every address, IPv4 and IPv6 by one socket."""
    if not address:
        address = "::" if _has_ipv6() else "0.0.0.0"  # noqa: S104
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _secrets(settings: Settings) -> List[str]:
    return [
        *settings.hetzner.tokens,
        settings.access.operator_password,
        settings.ntfy.password,
        settings.ntfy.token,
        settings.store.url,
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
        logger.warning(warning)
    KeyFile(settings.access.key_file).complete(settings.access.hosts)
    prepare_store(settings.store.url)
    store = Store(settings.store.url, pool_size=1)
    store.hosts.register(settings.access.hosts, time.time())
    store.close()
    return settings


def main() -> None:
    """Serve until told to stop; exit 1 with one line when the set-up is wrong."""
    try:
        settings = _prepare(os.environ)
    except (OperatorError, StoreUnavailable) as error:
        sys.exit(f"hetzner-dyndns can't start. {error}")
    logger.info(
        "hetzner-dyndns %s serves %d hosts on port %d.",
        __version__,
        len(settings.access.hosts),
        settings.server.port,
    )
    _Server(settings).run()


if __name__ == "__main__":
    main()
