"""Keeps pushes of a muted host being lost or back from the operator, until the mute is over."""

from __future__ import annotations

import contextlib
import time
from typing import Callable

from backend.errors import StoreUnavailable
from backend.events import CameBack, Event, FellSilent
from backend.model import Hostname
from backend.reporting.reporter import Reporter
from backend.store import Store

TICK_SECONDS = 10.0


class Mutes:
    """Stands between the watcher and the reporter. The log and the history hear everything."""

    def __init__(
        self, store: Store, reporter: Reporter, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._reporter = reporter
        self._clock = clock

    def report(self, event: Event) -> None:
        """Tell of an event, quietly if it is about a muted host."""
        quietly = isinstance(event, (FellSilent, CameBack)) and self._is_muted(event.host)
        self._reporter.report(event, quietly=quietly)

    def tick(self) -> None:
        """End the mutes whose time has come, and tell of the hosts that are lost by then."""
        now = self._clock()
        over = {host for host, until in self._store.operations.mutes().items() if until <= now}
        if not over:
            return
        for sighting in self._store.hosts.registered(now):
            if sighting.host in over and self._store.operations.lift(sighting.host, now):
                over.discard(sighting.host)
                if sighting.silent_since is not None:
                    quiet = now - sighting.silent_since
                    self._reporter.report(FellSilent(sighting.host, sighting.seen_at, quiet))
        for host in over:  # not registered any more
            self._store.operations.lift(host, now)

    def _is_muted(self, host: Hostname) -> bool:
        with contextlib.suppress(StoreUnavailable):  # then rather a push too many
            return self._store.operations.mutes().get(host, 0.0) > self._clock()
        return False
