"""Retries updates, polls the actions of accepted ones, and deletes old history."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Mapping, Sequence

from backend.errors import DyndnsError, HetznerBusy, HetznerUnreachable, OperatorError, ShareUsedUp
from backend.events import ActionsUnknown
from backend.hetzner.client import HetznerMalformed
from backend.hetzner.dns import ACTIONS_A_CALL, ActionState, Hetzner, Zone
from backend.hetzner.zones import Zones
from backend.model import Deadline, Hostname
from backend.notify.reporter import Reporter
from backend.store import Store
from backend.store.hosts import Record, State
from backend.store.leases import LeaderElection
from backend.store.records import Accepted, Failed
from backend.store.schema import SKEW_SECONDS
from backend.sync.publisher import LONGEST_REFUSED_PAUSE, Publisher, pause_after, report_notice

logger = logging.getLogger(__name__)

_LEASE = "reconciler"
_LEASE_SECONDS = 40.0
# For polling actions, and for each retry. Before both, the lease has half of its time left.
_JOB_SECONDS = 15.0
_LONGEST_TICK = 60.0
_JOBS_AT_ONCE = 8
_ACTIONS_A_TICK = 200
_LOOKED_THROUGH = 1000  # the due updates that one search reads to find a project with quota left
_PROBE_SECONDS = 5.0  # while Hetzner is unavailable, one host is tried in this time
# An action that takes longer isn't polled any more; the record is read and written again.
_LONGEST_ACTION = 120.0
_SWEEP_SECONDS = 3600.0
_SWEPT_AT_ONCE = 5000  # no writer has to wait long


class Reconciler:
    """Works in one process at a time: the leader."""

    def __init__(  # noqa: PLR0913
        self,
        store: Store,
        publisher: Publisher,
        zones: Zones,
        projects: Sequence[Hetzner],
        reporter: Reporter,
        *,
        history_days: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._zones = zones
        self._projects = projects
        self._reporter = reporter
        self._history_seconds = history_days * 86400.0
        self._clock = clock
        self._election = LeaderElection(store.leases, _LEASE, _LEASE_SECONDS)
        self._pool = ThreadPoolExecutor(_JOBS_AT_ONCE, thread_name_prefix="reconcile")
        self._has_begun = False
        self._is_stopping = False
        # What this tick has found out about actions, as `note_actions` stores it.
        self._polled: list[tuple[Record, float | None]] = []
        # When each project that is unavailable is tried next; `None`: no known zone has the host.
        self._probe_at: dict[Hetzner | None, float] = {}
        self._zones_seen: frozenset[Zone] = frozenset()
        self._swept_at = 0.0

    def tick(self) -> None:
        """Do all work that is due, if this process is the leader.

        While updates are due and Hetzner accepts some of them, this goes on without a pause.
        """
        deadline = Deadline(_LONGEST_TICK)
        has_more = True
        while has_more and not deadline.has_passed:
            now = self._clock()
            if not self._lead(now):
                return
            self._sweep(now)
            self._follow(now)
            now = self._clock()
            has_more = self._lead(now) and self._retry(now)

    def stop(self) -> None:
        """Let another process take over at once."""
        self._is_stopping = True
        self._election.resign()

    def _lead(self, now: float) -> bool:
        if self._is_stopping or not self._election.keep(now):
            self._has_begun = False
        elif not self._has_begun:
            # A new leader may have new tokens: a refused update may succeed now.
            self._store.records.retry_now(State.REFUSED, now)
            self._has_begun = True
        return self._has_begun

    def _retry(self, now: float) -> bool:
        """Retry some due updates; return whether Hetzner accepted any of them.

        Of each project that is unavailable, only the updates of a single host are retried.
        """
        by_host: dict[Hostname, list[Record]] = defaultdict(list)
        projects: list[Hetzner | None] = []  # of the hosts
        for record, project in self._due_retries(now):
            if record.host not in by_host:
                projects.append(project)
            by_host[record.host].append(record)
        results = list(self._pool.map(self._publish, by_host.values()))
        self._learn(list(zip(projects, results)), now)
        zones = self._zones.known
        if self._zones_seen and zones != self._zones_seen:
            self._store.records.retry_now(State.REFUSED, now)
        self._zones_seen = zones
        return None in results

    def _due_retries(self, now: float) -> list[tuple[Record, Hetzner | None]]:
        """Return due updates, each with its project.

        The reserve of a quota is left to requests. A project that is unavailable gets one update
        after each pause.
        """
        is_limited = self._probe_at or any(project.api.is_low for project in self._projects)
        limit = _LOOKED_THROUGH if is_limited else _JOBS_AT_ONCE
        # A pause that is too long began before the clock was set back.
        closed = {one for one, at in self._probe_at.items() if 0 < at - now <= _PROBE_SECONDS}
        chosen: list[tuple[Record, Hetzner | None]] = []
        for record in self._store.records.due_retries(now, limit):
            location = self._zones.recall(record.host)
            project = None if location is None else location.zone.project
            if project in closed or (project is not None and project.api.is_low):
                continue
            chosen.append((record, project))
            if project in self._probe_at:
                closed.add(project)
            if len(chosen) == _JOBS_AT_ONCE:
                break
        return chosen

    def _publish(self, records: Sequence[Record]) -> DyndnsError | None:
        kinds = [record.type for record in records]
        try:
            self._publisher.publish(records[0].host, kinds, Deadline(_JOB_SECONDS))
        except DyndnsError as error:
            return error
        return None

    def _learn(
        self, results: Sequence[tuple[Hetzner | None, DyndnsError | None]], now: float
    ) -> None:
        """Conclude from the results of several hosts which projects are unavailable."""
        is_away: dict[Hetzner | None, bool] = {}
        for project, result in results:
            if not isinstance(result, ShareUsedUp):  # else Hetzner wasn't asked
                has_failed = isinstance(result, (HetznerUnreachable, HetznerBusy))
                is_away[project] = is_away.get(project, True) and has_failed
        for project, is_still_away in is_away.items():
            if is_still_away:
                self._probe_at[project] = now + _PROBE_SECONDS
            elif self._probe_at.pop(project, None) is not None:
                self._store.records.retry_now(State.PENDING, now)

    def _follow(self, now: float) -> None:
        """Poll the actions, many with one call."""
        deadline = Deadline(_JOB_SECONDS)
        by_project: dict[Hetzner, list[Record]] = defaultdict(list)
        for record in self._store.records.due_polls(now, _ACTIONS_A_TICK):
            try:
                location = self._zones.find(record.host, deadline)
            except DyndnsError as error:
                self._cannot_tell(record, error, now)
            else:
                by_project[location.zone.project].append(record)
        for hetzner, records in by_project.items():
            for start in range(0, len(records), ACTIONS_A_CALL):
                some = records[start : start + ACTIONS_A_CALL]
                self._follow_some(hetzner, some, now, deadline)
        polled, self._polled = self._polled, []
        if polled:
            with self._store.transaction(durable=False):
                for record, notice in self._store.records.note_actions(polled):
                    if notice is not None:
                        report_notice(self._reporter, Accepted(record), notice, now)

    def _follow_some(
        self, hetzner: Hetzner, records: Sequence[Record], now: float, deadline: Deadline
    ) -> None:
        ids = [record.action for record in records if record.action is not None]
        states: Mapping[int, ActionState] = {}
        why = "GET /actions doesn't list its action."
        patience = 0.0  # the age of an action from which on its record decides
        try:
            if hetzner.api.is_low:
                patience = math.inf
            else:
                states = hetzner.actions(ids, deadline)
        except OperatorError as error:
            why = str(error)
        except DyndnsError as error:
            why = str(error)
            # A malformed answer may stay so, while an API that is unavailable recovers.
            patience = _LONGEST_ACTION if isinstance(error, HetznerMalformed) else math.inf
        for record in records:
            action = states.get(record.action or 0)
            if action is not None:
                self._judge(record, action, now)
            elif _age(record, now) >= patience:
                self._compare(record, why, now, deadline)
            else:
                self._wait(record, now)

    def _judge(self, record: Record, action: ActionState, now: float) -> None:
        if action.status == "success":
            self._polled.append((record, None))
        elif action.status == "error":
            what = "Hetzner could not publish the record"
            failure = HetznerBusy(f"{what}: {action.error}.")
            if action.error in ("", "action_failed"):
                hint = "if this lasts, check the zone at console.hetzner.com."
                failure = HetznerBusy(f"{what}, and gives no reason", hint=hint)
            self._reopen(record, failure, now)
        elif _age(record, now) > _LONGEST_ACTION:
            self._give_up(record, now)
        else:
            self._wait(record, now)

    def _compare(self, record: Record, why: str, now: float, deadline: Deadline) -> None:
        """Read the RRSet to decide, because Hetzner doesn't report how the action has ended."""
        try:
            rrset = self._publisher.read(record.host, deadline)[1].get(record.type)
        except DyndnsError as error:
            self._cannot_tell(record, error, now)
            return
        with self._store.transaction():
            if self._store.leases.once("hetzner", "actions", now):
                self._reporter.report(ActionsUnknown(why))
        address = record.desired.address
        if rrset is None if address is None else rrset is not None and rrset.holds(address):
            self._polled.append((record, None))
        else:
            self._give_up(record, now)

    def _cannot_tell(self, record: Record, error: DyndnsError, now: float) -> None:
        """Wait while the problem may clear; then let an attempt report it to the operator."""
        if isinstance(error, OperatorError) and _age(record, now) > _LONGEST_ACTION:
            self._give_up(record, now)
        else:
            self._wait(record, now)

    def _give_up(self, record: Record, now: float) -> None:
        self._reopen(
            record, HetznerBusy("Hetzner doesn't confirm that it has published the record."), now
        )

    def _reopen(self, record: Record, error: DyndnsError, now: float) -> None:
        """Make a record pending again that Hetzner has accepted, but not published."""
        # The cause may be permanent, and requests must not repeat the write either.
        until = now + pause_after(record.attempts, longest=LONGEST_REFUSED_PAUSE)
        failed = Failed(record, State.PENDING, error, until, verify_after=until)
        with self._store.transaction():
            notice = self._store.records.note(failed, now)
            if notice is not None:
                report_notice(self._reporter, failed, notice, now)

    def _wait(self, record: Record, now: float) -> None:
        """Poll again when the action is twice as old, so that a slow action costs few calls."""
        self._polled.append((record, now + min(60.0, max(2.0, _age(record, now)))))

    def _sweep(self, now: float) -> None:
        if 0 <= now - self._swept_at < _SWEEP_SECONDS:
            return
        self._store.leases.prune(now)
        pruned = self._store.history.prune(now - self._history_seconds, _SWEPT_AT_ONCE)
        if pruned < _SWEPT_AT_ONCE:
            self._swept_at = now
        logger.debug("Deleted %d old entries of the history.", pruned)


def _age(record: Record, now: float) -> float:
    """Return the age of an action. If it is from before the clock was set back, it is too old."""
    age = now - (record.accepted_at or now)
    return max(0.0, age) if age >= -SKEW_SECONDS else 2 * _LONGEST_ACTION
