"""Builds what makes Hetzner hold what hosts want."""

from __future__ import annotations

from typing import Iterator

from backend import __version__
from backend.hetzner.dns import Hetzner
from backend.hetzner.measured import MeasuredApi
from backend.hetzner.zones import Zones
from backend.publishing.publisher import Publisher
from backend.publishing.reconciler import TICK_SECONDS as RECONCILE_SECONDS, Reconciler
from backend.publishing.turns import KEEP_SECONDS, Turns
from backend.publishing.verifier import MANY_HOSTS, TICK_SECONDS as VERIFY_SECONDS, Verifier
from backend.reporting.reporter import Reporter
from backend.settings import Settings
from backend.store import Store
from backend.workers.loops import Loop
from backend.workers.meters import Meters

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
