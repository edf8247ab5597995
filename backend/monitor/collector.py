"""Stores the zones and quotas at Hetzner, for the dashboard of every process."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Callable, Sequence

from backend.errors import OperatorError, TransientError
from backend.events import EventSink, TokenRefused, ZoneFailed
from backend.hetzner.dns import Hetzner, Zone
from backend.model import Deadline
from backend.store import Store
from backend.store.leases import new_owner
from backend.store.projects import Project, SeenZone

logger = logging.getLogger(__name__)

_LIST_SECONDS = 3600.0
_RETRY_SECONDS = 60.0
_JOB_SECONDS = 15.0


class Collector:
    """Runs in every process, because each has its own quotas. One process lists the zones."""

    def __init__(
        self,
        store: Store,
        projects: Sequence[Hetzner],
        events: EventSink,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._projects = projects
        self._events = events
        self._clock = clock
        self._monotonic = monotonic
        self._began = clock()
        # The times of the stored quotas, by project and limit.
        self._stored: dict[tuple[int, int], float] = {}

    def tick(self) -> None:
        """Store new quotas; list the zones after the start and once an hour."""
        self._store_quotas()
        now = self._clock()
        listed_at = self._store.projects.listed_at()
        is_due = listed_at < self._began or not 0 <= now - listed_at < _LIST_SECONDS
        # If the owner of the lease dies, another process lists the zones at once.
        leases, owner = self._store.leases, new_owner()
        if is_due and leases.acquire("collector", owner, now, _RETRY_SECONDS):
            if self._list_zones(now):
                # A start soon after this one, with another token, lists the zones at once.
                leases.release("collector", owner)
            self._store_quotas()

    def _store_quotas(self) -> None:
        offset = self._clock() - self._monotonic()
        found = [
            replace(quota, project=number, at=round(quota.at + offset, 3))
            for number, project in enumerate(self._projects, 1)
            for quota in project.api.quotas
        ]
        new = [one for one in found if one.at > self._stored.get((one.project, one.limit), 0) + 1]
        if new:
            self._store.projects.store_quotas(new)
            self._stored.update({(one.project, one.limit): one.at for one in new})

    def _list_zones(self, now: float) -> bool:
        """Store the zones of all projects; `False` if they can't be listed now."""
        listed: list[tuple[Project, Sequence[SeenZone]]] = []
        for number, project in enumerate(self._projects, 1):
            if project.api.is_low:
                return False  # the rest of the quota is for live requests
            try:
                zones = project.zones(Deadline(_JOB_SECONDS))
            except TransientError as error:
                logger.debug("The zones of project %d can't be listed now: %s", number, error)
                return False
            except OperatorError as error:
                listed.append((Project(number, str(error), now), []))
                self._note_refusal(number, error, now)
                continue
            for zone in zones:
                self._note_failure(zone, now)
            seen = [SeenZone(zone.name, number, zone.mode, zone.delegation) for zone in zones]
            listed.append((Project(number, "", now), seen))
        self._store.projects.store_zones(listed)
        return True

    def _note_refusal(self, number: int, error: OperatorError, now: float) -> None:
        is_at_start = self._store.projects.listed_at() < self._began
        with self._store.transaction():
            if self._store.leases.once("projects", f"{number} {error}", now) or is_at_start:
                self._events.report(TokenRefused(number, str(error)))

    def _note_failure(self, zone: Zone, now: float) -> None:
        if zone.has_failed:
            with self._store.transaction():
                if self._store.leases.once("zones", zone.name, now):
                    self._events.report(ZoneFailed(zone.name))
