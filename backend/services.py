"""Builds the service out of its settings, and starts and stops its threads."""

from __future__ import annotations

import contextlib
import time
from typing import Iterator, Optional

from flask import Flask

from backend import __version__
from backend.alarm import TELL_SECONDS, Alarm
from backend.credentials import Credentials
from backend.errors import StoreUnavailable
from backend.failures import FLUSH_SECONDS, FailedLogins
from backend.frontdesk import FrontDesk
from backend.gate import Gate
from backend.hetzner import Hetzner
from backend.keys import KeyFile
from backend.loops import Loop
from backend.measured import MeasuredApi
from backend.meters import Meters
from backend.ntfy import Ntfy
from backend.outbox import Complaints, Outbox
from backend.publisher import Publisher
from backend.reconciler import TICK_SECONDS as RECONCILE_SECONDS, Reconciler
from backend.rejections import Rejections
from backend.reporter import Listener, Reporter
from backend.settings import Settings
from backend.sightings import Sightings
from backend.slots import Slots
from backend.store import Store
from backend.turns import KEEP_SECONDS, Turns
from backend.updater import Updater
from backend.verifier import MANY_HOSTS, TICK_SECONDS as VERIFY_SECONDS, Verifier
from backend.watcher import TICK_SECONDS as WATCH_SECONDS, Watcher
from backend.web import create_app
from backend.zones import Zones

_AGENT = f"hetzner-dyndns/{__version__}"
_SIGHTINGS_SECONDS = 3.0
_DRAIN_SECONDS = 3.0
# Whoever wants fresher records than that has each of them read as it is asked for.
_SHORTEST_ROUND = 60
# Threads that always answer unchanged updates, however many others wait for Hetzner.
_FREE_THREADS = 2


class Services:
    """Everything one worker process runs; what all of them say once is shared by them."""

    def __init__(
        self,
        settings: Settings,
        complaints: Optional[Complaints] = None,
        slots: Optional[Slots] = None,
    ) -> None:
        meters = Meters(slots)
        self._outbox = _outbox(settings, complaints, meters)
        reporter = _reporter(settings, self._outbox)
        waiters = max(1, settings.server.threads - _FREE_THREADS)
        self._store = Store(settings.store.url, pool_size=settings.server.threads)
        self._sightings = Sightings(self._store.hosts)
        failures = _failures(settings, self._store)
        self._alarm = _alarm(settings, reporter, self._store)
        projects = list(_projects(settings, meters))
        zones = Zones(projects, settings.hetzner.zone_cache_ttl)
        turns = Turns(self._store.leases)
        cache_ttl = settings.records.request_cache_ttl
        publisher = _publisher(settings, self._store, turns, zones, reporter)
        self._verifier = Verifier(self._store, publisher, zones, projects, cache_ttl=cache_ttl)
        days = settings.store.history_days
        self._reconciler = Reconciler(
            self._store, publisher, zones, projects, reporter, history_days=days
        )
        self._updater = Updater(
            self._store, publisher, self._sightings, reporter, slots=waiters, meters=meters
        )
        self._desk = FrontDesk(settings, self._store, turns, reporter, projects, meters, slots)
        self._watcher = _watcher(settings, self._store, self._desk.mutes)
        self._loops = list(self._every_loop(settings, failures, turns))
        self._desk.watch(self._loops, self._outbox)
        self.app: Flask = create_app(
            _gate(
                settings, self._desk.key_file, Rejections(reporter), self._alarm, failures, meters
            ),
            self._updater,
            self._desk.health.flaws,
            settings.access.trusted_proxies,
            self._desk.face,
        )

    def _every_loop(
        self, settings: Settings, failures: FailedLogins, turns: Turns
    ) -> Iterator[Loop]:
        yield Loop("sightings", _SIGHTINGS_SECONDS, self._sightings.flush)
        yield Loop("failed logins", FLUSH_SECONDS, failures.flush)
        yield Loop("alarm", TELL_SECONDS, self._alarm.tell)
        yield Loop("turns", KEEP_SECONDS, turns.keep)
        yield Loop("reconciler", RECONCILE_SECONDS, self._reconciler.tick)
        watch_seconds = min(WATCH_SECONDS, settings.watch.interval)
        yield Loop("watcher", watch_seconds, self._watcher.tick)
        yield from self._desk.loops
        if _is_verified_by_zone(settings):
            yield Loop("verifier", VERIFY_SECONDS, self._verifier.tick)

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
            self._verifier.stop()
            self._watcher.stop()
            self._sightings.flush()
            self._alarm.tell()
        if self._outbox is not None:
            self._outbox.stop(_DRAIN_SECONDS)
        self._store.close()


def _projects(settings: Settings, meters: Meters) -> Iterator[Hetzner]:
    for token in settings.hetzner.tokens:
        api = MeasuredApi(token, settings.hetzner.api_url, _AGENT, meters)
        yield Hetzner(api, settings.records.ttl, settings.records.chosen_ttl)


def _publisher(
    settings: Settings, store: Store, turns: Turns, zones: Zones, reporter: Reporter
) -> Publisher:
    return Publisher(
        *(store, turns, zones, reporter),
        cache_ttl=settings.records.request_cache_ttl,
        is_checked_elsewhere=_is_verified_by_zone(settings),
    )


def _is_verified_by_zone(settings: Settings) -> bool:
    ttl = settings.records.request_cache_ttl
    return len(settings.access.hosts) >= MANY_HOSTS and ttl >= _SHORTEST_ROUND


def _watcher(settings: Settings, store: Store, listener: Listener) -> Watcher:
    watch = settings.watch
    return Watcher(
        store,
        settings.access.hosts,
        listener,
        lost_after=watch.lost_after,
        interval=watch.interval,
    )


def _failures(settings: Settings, store: Store) -> FailedLogins:
    access = settings.access
    return FailedLogins(access.failure_limit, access.failure_window, store.failed_logins)


def _alarm(settings: Settings, reporter: Reporter, store: Store) -> Alarm:
    def is_first_to_tell(what: str) -> bool:
        with contextlib.suppress(StoreUnavailable):
            return store.leases.is_first(what, time.time(), settings.access.failure_window)
        return False

    return Alarm(reporter, is_first_to_tell)


def _gate(  # noqa: PLR0913, PLR0917
    settings: Settings,
    key_file: KeyFile,
    rejections: Rejections,
    alarm: Alarm,
    failures: FailedLogins,
    meters: Meters,
) -> Gate:
    access = settings.access
    operator = Credentials(access.operator_name, access.operator_password)
    return Gate(
        access.hosts,
        key_file,
        failures,
        alarm,
        rejections,
        operator=operator if access.operator_name else None,
        allow_private=access.allow_private,
        interface_ids=access.interface_ids,
        meters=meters,
    )


def _reporter(settings: Settings, outbox: Optional[Outbox]) -> Reporter:
    return Reporter(
        outbox.put if outbox is not None else lambda _: None,
        on_change=settings.ntfy.on_change,
        debugging=settings.log.debug,
    )


def _outbox(
    settings: Settings, complaints: Optional[Complaints], meters: Meters
) -> Optional[Outbox]:
    ntfy = settings.ntfy
    if not ntfy.url:
        return None
    topic = Ntfy(
        ntfy.url,
        ntfy.topic,
        username=ntfy.username,
        password=ntfy.password,
        token=ntfy.token,
    )
    return Outbox(topic, complaints, count=meters.pushed)
