"""Builds the service out of its settings, and starts and stops its threads."""

from __future__ import annotations

import contextlib
import functools
import time
from typing import Callable, Iterator, Optional, Sequence

from flask import Flask

from backend.errors import StoreUnavailable
from backend.model import Hostname
from backend.publishing.updater import Updater
from backend.reporting.complaints import Complaints
from backend.reporting.ntfy import Ntfy
from backend.reporting.outbox import Outbox
from backend.reporting.reporter import Reporter
from backend.serving.access_side import AccessSide
from backend.serving.operator_side import OperatorSide, operator_face
from backend.serving.publishing_side import PublishingSide
from backend.settings import NtfySettings, Settings
from backend.store import Store
from backend.watching.sightings import FLUSH_SECONDS, Sightings
from backend.web import create_app
from backend.workers.health import PROBE_SECONDS, PULSE_SECONDS, Health
from backend.workers.loops import Loop
from backend.workers.meters import Meters
from backend.workers.slots import Slots

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
        yield Loop("sightings", FLUSH_SECONDS, self._sightings.flush)
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
        """Wait until nobody is editing the key file: this process has no earlier keys to go by."""
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
