"""Builds what the operator sees and does."""

from __future__ import annotations

from typing import Optional, Sequence

from backend.access.keys import KeyFile
from backend.hetzner.dns import Hetzner
from backend.operations.actions import Actions
from backend.operations.overview import Overview
from backend.publishing.turns import Turns
from backend.reporting.mutes import TICK_SECONDS as MUTES_SECONDS, Mutes
from backend.reporting.reporter import Reporter
from backend.settings import Settings
from backend.store import Store
from backend.watching.survey import TICK_SECONDS as SURVEY_SECONDS, Survey
from backend.watching.watcher import TICK_SECONDS as WATCH_SECONDS, Watcher
from backend.web.face import Face
from backend.workers.loops import Loop
from backend.workers.meters import Meters


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
