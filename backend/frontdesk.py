"""Builds the operator's side of a worker: what is shown, counted and watched over."""

from __future__ import annotations

from typing import List, Optional, Sequence

from backend.actions import Actions
from backend.health import PULSE_SECONDS, Health
from backend.hetzner import Hetzner
from backend.keys import KeyFile
from backend.loops import Loop
from backend.meters import Meters
from backend.mutes import Mutes
from backend.outbox import Outbox
from backend.overview import Overview
from backend.reporter import Reporter
from backend.settings import Settings
from backend.slots import Slots
from backend.store import Store
from backend.survey import TICK_SECONDS as SURVEY_SECONDS, Survey
from backend.turns import Turns
from backend.web.face import Face

_MUTES_SECONDS = 10.0


class FrontDesk:
    """What the operator's pages need, and the loops behind them."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        settings: Settings,
        store: Store,
        turns: Turns,
        reporter: Reporter,
        projects: Sequence[Hetzner],
        meters: Meters,
        slots: Optional[Slots],
    ) -> None:
        hosts = settings.access.hosts
        self.key_file = KeyFile(settings.access.key_file)
        self.mutes = Mutes(store, reporter)
        self.health = Health(store.ping, slots)
        self._survey = Survey(store, [project.api for project in projects])
        self.loops: List[Loop] = [
            Loop("survey", SURVEY_SECONDS, self._survey.tick),
            Loop("mutes", _MUTES_SECONDS, self.mutes.tick),
            Loop("pulse", PULSE_SECONDS, self.health.pulse),
        ]
        # Without a login for it, there is no such face.
        self.face = (
            None
            if not settings.access.operator_name
            else Face(
                overview=Overview(store, hosts, settings.watch.lost_after),
                actions=Actions(store, hosts, self.key_file, turns, reporter),
                history=store.history,
                signing_key=store.desk.signing_key,
                meters=meters,
                history_days=settings.store.history_days,
            )
        )

    def watch(self, loops: Sequence[Loop], outbox: Optional[Outbox]) -> None:
        """Take care of all threads of this worker."""
        self.health.watched = [loop.flaw for loop in loops]
        if outbox is not None:
            self.health.watched = [*self.health.watched, lambda _: outbox.flaw()]
