"""Builds the parts of the service, and starts and stops its background jobs."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Callable, Iterator, Optional, Sequence

from flask import Flask

from backend import __version__
from backend.admin.actions import Actions
from backend.admin.status import Overview
from backend.auth.authorizer import Gate
from backend.auth.keys import Credentials, KeyFile
from backend.auth.throttle import FLUSH_SECONDS, TELL_SECONDS, Alarm, FailedLogins, Rejections
from backend.errors import StoreUnavailable
from backend.hetzner.client import MeasuredApi
from backend.hetzner.dns import Hetzner
from backend.hetzner.zones import Zones
from backend.metrics import Meters, Slots
from backend.model import Hostname
from backend.monitor.collector import TICK_SECONDS as SURVEY_SECONDS, Survey
from backend.monitor.watcher import (
    ACTIVITY_FLUSH_SECONDS,
    MUTES_TICK_SECONDS as MUTES_SECONDS,
    TICK_SECONDS as WATCH_SECONDS,
    Mutes,
    Sightings,
    Watcher,
)
from backend.notify.ntfy import Ntfy
from backend.notify.outbox import Complaints, Outbox
from backend.notify.reporter import Reporter
from backend.server.loops import PROBE_SECONDS, PULSE_SECONDS, Health, Loop
from backend.settings import AccessSettings, NtfySettings, Settings
from backend.store import Store
from backend.sync.locks import KEEP_SECONDS, Turns
from backend.sync.publisher import Publisher
from backend.sync.reconciler import TICK_SECONDS as RECONCILE_SECONDS, Reconciler
from backend.sync.updater import Updater
from backend.sync.verifier import MANY_HOSTS, TICK_SECONDS as VERIFY_SECONDS, Verifier
from backend.web.app import create_app
from backend.web.session import Face


class AccessSide:
    """The gate, and the loops behind it."""

    def __init__(
        self, settings: AccessSettings, store: Store, reporter: Reporter, meters: Meters
    ) -> None:
        self._settings = settings
        self._store = store
        self.key_file = KeyFile(settings.key_file)
        self._alarm = Alarm(reporter, self._is_first_to_tell)
        failures = FailedLogins(
            settings.failure_limit, settings.failure_window, store.failed_logins
        )
        self.gate = self._gate(failures, Rejections(reporter), meters)
        self.loops = (
            Loop("failed logins", FLUSH_SECONDS, failures.flush),
            Loop("alarm", TELL_SECONDS, self._alarm.tell),
        )

    def stop(self) -> None:
        """Tell what is still to be told; raise `StoreUnavailable`."""
        self._alarm.tell()

    def _gate(self, failures: FailedLogins, rejections: Rejections, meters: Meters) -> Gate:
        access = self._settings
        operator = Credentials(access.operator_name, access.operator_password)
        return Gate(
            access.hosts,
            self.key_file,
            failures,
            self._alarm,
            rejections,
            operator=operator if access.operator_name else None,
            allow_private=access.allow_private,
            interface_ids=access.interface_ids,
            meters=meters,
        )

    def _is_first_to_tell(self, what: str) -> bool:
        with contextlib.suppress(StoreUnavailable):
            window = self._settings.failure_window
            return self._store.leases.is_first(what, time.time(), window)
        return False


_AGENT = f"hetzner-dyndns/{__version__}"
# Whoever wants fresher records than that has each of them read as it is asked for.
_SHORTEST_ROUND = 60


class PublishingSide:
    """The publisher, and the loops that finish what it could not."""

    def __init__(
        self, settings: Settings, store: Store, reporter: Reporter, meters: Meters
    ) -> None:
        cache_ttl = settings.records.request_cache_ttl
        by_zone = len(settings.access.hosts) >= MANY_HOSTS and cache_ttl >= _SHORTEST_ROUND
        self.projects = tuple(_projects(settings, meters))
        self.turns = Turns(store.leases)
        zones = Zones(self.projects, settings.hetzner.zone_cache_ttl)
        self.publisher = Publisher(
            store,
            self.turns,
            zones,
            reporter,
            cache_ttl=cache_ttl,
            is_checked_elsewhere=by_zone,
        )
        self._reconciler = Reconciler(
            store,
            self.publisher,
            zones,
            self.projects,
            reporter,
            history_days=settings.store.history_days,
        )
        self._verifier = Verifier(store, self.publisher, zones, self.projects, cache_ttl=cache_ttl)
        self.loops = [
            Loop("turns", KEEP_SECONDS, self.turns.keep),
            Loop("reconciler", RECONCILE_SECONDS, self._reconciler.tick),
        ]
        if by_zone:
            self.loops.append(Loop("verifier", VERIFY_SECONDS, self._verifier.tick))

    def stop(self) -> None:
        """Let another process go on; raise `StoreUnavailable`."""
        self._reconciler.stop()
        self._verifier.stop()


def _projects(settings: Settings, meters: Meters) -> Iterator[Hetzner]:
    for token in settings.hetzner.tokens:
        api = MeasuredApi(token, settings.hetzner.api_url, _AGENT, meters)
        yield Hetzner(api, settings.records.ttl, settings.records.chosen_ttl)


class OperatorSide:
    """The loops that find out what the operator has to know."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reporter: Reporter,
        projects: Sequence[Hetzner],
    ) -> None:
        watch = settings.watch
        survey = Survey(store, [project.api for project in projects])
        mutes = Mutes(store, reporter)
        self._watcher = Watcher(
            store,
            settings.access.hosts,
            mutes,
            lost_after=watch.lost_after,
            interval=watch.interval,
        )
        self.loops = (
            Loop("survey", SURVEY_SECONDS, survey.tick),
            Loop("mutes", MUTES_SECONDS, mutes.tick),
            Loop("watcher", min(WATCH_SECONDS, watch.interval), self._watcher.tick),
        )

    def stop(self) -> None:
        """Let another process watch; raise `StoreUnavailable`."""
        self._watcher.stop()


def operator_face(  # noqa: PLR0913, PLR0917
    settings: Settings,
    store: Store,
    key_file: KeyFile,
    turns: Turns,
    reporter: Reporter,
    meters: Meters,
) -> Optional[Face]:
    """Return what the operator's pages show and do; `None` without a login for them."""
    hosts = settings.access.hosts
    if not settings.access.operator_name:
        return None
    return Face(
        overview=Overview(store, hosts, settings.watch.lost_after),
        actions=Actions(store, hosts, key_file, turns, reporter),
        history=store.history,
        signing_key=store.operations.signing_key,
        meters=meters,
        history_days=settings.store.history_days,
    )


_DRAIN_SECONDS = 3.0
_KEEP_SECONDS = 5.0
# Threads that answer unchanged updates while others wait for Hetzner: more than requests come in
# while one is under way, for those that find no place are on them, too.
FREE_THREADS = 16


class Services:
    """Everything one worker process runs; what all of them say once is shared by them."""

    def __init__(
        self,
        settings: Settings,
        complaints: Optional[Complaints] = None,
        slots: Optional[Slots] = None,
    ) -> None:
        meters = Meters(slots)
        self._outbox = _outbox(settings.ntfy, complaints, meters)
        reporter = _reporter(settings, self._outbox)
        self._store = Store(settings.store.url, pool_size=settings.server.threads)
        self._sightings = Sightings(self._store.hosts)
        self._access = AccessSide(settings.access, self._store, reporter, meters)
        self._publishing = PublishingSide(settings, self._store, reporter, meters)
        self._operator = OperatorSide(settings, self._store, reporter, self._publishing.projects)
        self._updater = Updater(
            self._store,
            self._publishing.publisher,
            self._sightings,
            reporter,
            slots=settings.server.threads,
            meters=meters,
        )
        self._health = _health(self._store, slots)
        self._loops = tuple(self._every_loop(settings.access.hosts))
        self._health.watched = tuple(self._everything_watched())
        face = operator_face(
            settings,
            self._store,
            self._access.key_file,
            self._publishing.turns,
            reporter,
            meters,
        )
        self.app: Flask = create_app(
            self._access.gate,
            self._updater,
            self._health.flaws,
            settings.access.trusted_proxies,
            face,
        )

    def _every_loop(self, registered: Sequence[Hostname]) -> Iterator[Loop]:
        yield Loop("sightings", ACTIVITY_FLUSH_SECONDS, self._sightings.flush)
        yield from self._access.loops
        yield from self._publishing.loops
        yield from self._operator.loops
        hosts = self._store.hosts
        yield Loop("registrations", _KEEP_SECONDS, lambda: hosts.keep(registered, time.time()))
        yield Loop("store probe", PROBE_SECONDS, self._health.probe)
        yield Loop("pulse", PULSE_SECONDS, self._health.pulse)

    def _everything_watched(self) -> Iterator[Callable[[float], str]]:
        yield from (loop.flaw for loop in self._loops)
        outbox = self._outbox
        if outbox is not None:
            yield lambda _: outbox.flaw()

    def await_editor(self) -> None:
        """Wait until no edit of the key file is running: this process knows no earlier keys."""
        self._access.key_file.await_editor()

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
            self._publishing.stop()
            self._operator.stop()
            self._sightings.flush()
            self._access.stop()
        if self._outbox is not None:
            self._outbox.stop(_DRAIN_SECONDS)
        self._store.close()


def _health(store: Store, slots: Optional[Slots]) -> Health:
    return Health(store.ping, functools.partial(store.operations.probe, mark=True), slots)


def _reporter(settings: Settings, outbox: Optional[Outbox]) -> Reporter:
    return Reporter(
        outbox.put if outbox is not None else lambda _: None,
        on_change=settings.ntfy.on_change,
        debugging=settings.log.debug,
    )


def _outbox(
    ntfy: NtfySettings, complaints: Optional[Complaints], meters: Meters
) -> Optional[Outbox]:
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
