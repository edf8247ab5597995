"""Builds the service out of its settings, and starts and stops its threads."""

from __future__ import annotations

import contextlib
import time
from typing import Iterator, Optional

from flask import Flask

from backend import __version__
from backend.errors import StoreUnavailable
from backend.failures import FailedLogins
from backend.frontdesk import FrontDesk
from backend.gate import Credentials, Gate
from backend.hetzner import Hetzner
from backend.keys import KeyFile
from backend.loops import Loop
from backend.measured import MeasuredApi
from backend.meters import Meters
from backend.ntfy import Ntfy, Outbox
from backend.publisher import Publisher
from backend.reconciler import TICK_SECONDS, Reconciler
from backend.reporter import Listener, Reporter
from backend.settings import Settings
from backend.sightings import Sightings
from backend.slots import Slots
from backend.store import Store
from backend.turns import KEEP_SECONDS, Turns
from backend.updater import Updater
from backend.watcher import Watcher
from backend.web import create_app
from backend.zones import Zones

_AGENT = f"hetzner-dyndns/{__version__}"
_FLUSH_SECONDS = 3.0
_DRAIN_SECONDS = 3.0
# Threads that always answer unchanged updates, however many others wait for Hetzner.
_FREE_THREADS = 2


class Services:
    """Everything one worker process runs."""

    def __init__(self, settings: Settings, slots: Optional[Slots] = None) -> None:
        meters = Meters(slots)
        self._outbox = _outbox(settings, meters)
        reporter = _reporter(settings, self._outbox)
        waiters = max(1, settings.server.threads - _FREE_THREADS)
        self._store = Store(settings.store.url, pool_size=settings.server.threads)
        self._sightings = Sightings(self._store.hosts)
        projects = list(_projects(settings, meters))
        zones = Zones(projects, settings.hetzner.zone_cache_ttl)
        turns = Turns(self._store.leases)
        ttl = settings.records.request_cache_ttl
        publisher = Publisher(self._store, turns, zones, reporter, cache_ttl=ttl)
        self._reconciler = Reconciler(
            self._store,
            publisher,
            zones,
            projects,
            reporter,
            history_days=settings.store.history_days,
        )
        self._updater = Updater(
            self._store, publisher, self._sightings, reporter, slots=waiters, meters=meters
        )
        desk = FrontDesk(settings, self._store, turns, reporter, projects, meters, slots)
        self._watcher = _watcher(settings, self._store, desk.mutes)
        self._loops = [
            Loop("sightings", _FLUSH_SECONDS, self._sightings.flush),
            Loop("turns", KEEP_SECONDS, turns.keep),
            Loop("reconciler", TICK_SECONDS, self._reconciler.tick),
            Loop("watcher", settings.watch.interval, self._watcher.tick),
            *desk.loops,
        ]
        desk.watch(self._loops, self._outbox)
        self.app: Flask = create_app(
            _gate(settings, desk.key_file, reporter, self._store, meters),
            self._updater,
            desk.health.flaws,
            settings.access.trusted_proxies,
            desk.face,
        )

    def start(self) -> None:
        """Start the background threads."""
        if self._outbox is not None:
            self._outbox.start()
        for loop in self._loops:
            loop.start()

    def stop(self) -> None:
        """Stop the background threads, and write what is only in memory."""
        for loop in self._loops:
            loop.stop(seconds=1)
        self._updater.stop()
        with contextlib.suppress(StoreUnavailable):
            self._reconciler.stop()
            self._watcher.stop()
            self._sightings.flush()
        if self._outbox is not None:
            self._outbox.stop(_DRAIN_SECONDS)
        self._store.close()


def _projects(settings: Settings, meters: Meters) -> Iterator[Hetzner]:
    for token in settings.hetzner.tokens:
        api = MeasuredApi(token, settings.hetzner.api_url, _AGENT, meters)
        yield Hetzner(api, settings.records.ttl, settings.records.chosen_ttl)


def _watcher(settings: Settings, store: Store, listener: Listener) -> Watcher:
    watch = settings.watch
    return Watcher(
        store,
        settings.access.hosts,
        listener,
        lost_after=watch.lost_after,
        interval=watch.interval,
    )


def _gate(
    settings: Settings, key_file: KeyFile, reporter: Reporter, store: Store, meters: Meters
) -> Gate:
    access = settings.access
    operator = Credentials(access.operator_name, access.operator_password)

    def is_first_to_tell(what: str) -> bool:
        with contextlib.suppress(StoreUnavailable):
            return store.leases.is_first(what, time.time(), access.failure_window)
        return False

    return Gate(
        access.hosts,
        key_file,
        FailedLogins(access.failure_limit, access.failure_window),
        reporter,
        is_first_to_tell=is_first_to_tell,
        operator=operator if access.operator_name else None,
        allow_private=access.allow_private,
        meters=meters,
    )


def _reporter(settings: Settings, outbox: Optional[Outbox]) -> Reporter:
    return Reporter(
        outbox.put if outbox is not None else lambda _: None,
        on_change=settings.ntfy.on_change,
        debugging=settings.log.debug,
    )


def _outbox(settings: Settings, meters: Meters) -> Optional[Outbox]:
    ntfy = settings.ntfy
    if not ntfy.url:
        return None
    return Outbox(
        Ntfy(
            ntfy.url,
            ntfy.topic,
            username=ntfy.username,
            password=ntfy.password,
            token=ntfy.token,
        ),
        count=meters.pushed,
    )
