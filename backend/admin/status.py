"""The condition of each host: since when, why and what to do; the dashboard's snapshot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable, Collection, Container, Iterator, Mapping, Sequence

from backend.errors import not_registered
from backend.hetzner.zones import is_undelegated
from backend.model import Address, Hostname, RecordType, digest, shown
from backend.rate import Quota
from backend.store import Store
from backend.store.conditions import ALL, CONDITIONS, Condition, Group, HostLine, Judged, Selection
from backend.store.hosts import HostActivity, Record, State, WrongLogins
from backend.store.leases import whereabouts
from backend.store.projects import Project, SeenZone
from backend.text import duration

RETURNS = "If the device sends the address again, the service tries again."
_LOW = 0.1
_QUOTAS_STORED = 10.0  # seconds after which the store has an answer of Hetzner
_READ_AT_ONCE = 500  # hosts
# Leases, each with the job of the process that owns it.
_WORK: Mapping[str, str] = {
    "reconciler": "retries pending updates",
    "watcher": "checks for silent hosts",
    "verifier": "verifies published records",
}


@dataclass(frozen=True)
class HostStatus:
    """One host as the operator sees it. Times are UTC seconds."""

    host: Hostname
    condition: Condition
    needs_operator: bool  # it stays as it is until the operator does something
    since: float | None  # None: there is no problem
    published: Mapping[RecordType, Address]
    desired: Mapping[RecordType, Address | None]  # only what isn't published yet
    seen_at: float | None
    changed_at: float | None
    error: str
    hint: str  # empty: the operator has nothing to do
    retry_at: float | None
    muted_until: float | None
    lost_after: float  # seconds of silence after which it counts as lost
    note: str
    losses: Sequence[str]  # what is lost if its failed update is dropped; empty: nothing
    is_leaving: bool  # it was removed or renamed, and has no page any more

    @property
    def has_failed(self) -> bool:
        """Whether the host has an update to retry."""
        has_failed = self.condition in (Condition.REFUSED, Condition.WAITING)
        return has_failed and not self.is_leaving


def status_of(found: Judged, lost_after: float, now: float) -> HostStatus:
    """Return the status of a host. `lost_after` applies to a host without its own timeout."""
    activity, records, condition, needs_operator = found
    relevant = [record for record in records if CONDITIONS.get(record.state) is condition]
    since, error, hint = _explain(condition, activity, relevant)
    return HostStatus(
        host=activity.host,
        condition=condition,
        needs_operator=needs_operator,
        since=since,
        published={one.type: one.published for one in records if one.published is not None},
        desired={
            one.type: one.desired.address
            for one in records
            if not one.is_accepted and one.desired.address != one.published
        },
        seen_at=activity.seen_at,
        changed_at=max((one.changed_at for one in records if one.changed_at), default=None),
        error=error,
        hint=hint,
        retry_at=min((one.retry_at for one in relevant if not one.is_accepted), default=None),
        muted_until=activity.muted_until if (activity.muted_until or 0.0) > now else None,
        lost_after=activity.lost_after or lost_after,
        note=activity.note,
        losses=_losses(records),
        is_leaving=activity.leaving is not None,
    )


def _losses(records: Collection[Record]) -> list[str]:
    """Return what is lost if the failed updates of a host are dropped.

    Nothing can be dropped while the host only waits for Hetzner: its update is published without
    the operator.
    """
    if all(one.state is not State.REFUSED for one in records):
        return []
    found = []
    for one in records:
        if one.error:
            address, held = one.desired.address, one.published
            what = "The removal" if address is None else f"The address {address}"
            rest = f"the record keeps {held}" if held else "the record is no longer managed"
            found.append(f"{one.type.value}: {what} will not be published; {rest}.")
    return found


def _explain(
    condition: Condition, activity: HostActivity, relevant: Sequence[Record]
) -> tuple[float | None, str, str]:
    """Return when the problem began, the error, and a hint if the operator has to act."""
    if condition is Condition.SILENT:
        hint = "Check that the host, its internet connection and its update client are running."
        return activity.seen_at, "The host has stopped sending updates.", hint
    if condition is Condition.NEVER:
        hint = "Set up its device: the page of the host shows the settings."
        return activity.registered_at, "The host has never sent an update.", hint
    if condition is Condition.PUBLISHING:
        since = min((record.accepted_at or record.desired_at for record in relevant), default=None)
    else:
        since = min((record.desired_at for record in relevant), default=None)
    error, hint = next(((one.error, one.hint) for one in relevant if one.error), ("", ""))
    if activity.leaving is not None and not error:
        error = "The host was removed or renamed, and its records are being deleted."
    if condition is Condition.WAITING and not error:
        error = "Hetzner has not accepted the update yet."
    return since, error, hint


@dataclass(frozen=True)
class BackgroundJob:
    """A background job that one process runs for all, and the owner of its lease."""

    work: str
    owner: str  # empty: no process runs the job now


@dataclass(frozen=True)
class Snapshot:
    """The state of the service at one moment. Times are UTC seconds."""

    now: float
    groups: Sequence[Group]  # the hosts, by their condition
    projects: Sequence[Project]
    zones: Sequence[SeenZone]
    quotas: Sequence[Quota]
    leases: Sequence[BackgroundJob]
    waiting: int  # updates that Hetzner hasn't accepted
    oldest_update_at: float | None
    away_since: float | None = None  # Hetzner has answered nothing since then; None: it answers

    @property
    def number(self) -> int:
        """How many hosts there are."""
        return sum(group.number for group in self.groups)

    @property
    def numbers(self) -> Mapping[Condition, int]:
        """How many hosts are in each condition."""
        found = dict.fromkeys(Condition, 0)
        for group in self.groups:
            found[group.condition] += group.number
        return found

    @property
    def is_new(self) -> bool:
        """Whether no host has ever sent an update."""
        return not any(group.known for group in self.groups)

    @property
    def has_few_calls(self) -> bool:
        """Whether any quota is low."""
        return any(self.is_low(quota) for quota in self.quotas)

    @property
    def in_need(self) -> int:
        """How many hosts need the operator."""
        return sum(group.number for group in self.groups if group.needs_operator)

    @property
    def undelegated(self) -> Sequence[SeenZone]:
        """The zones that aren't delegated to Hetzner."""
        return [zone for zone in self.zones if is_undelegated(zone.delegation)]

    @property
    def problems(self) -> Sequence[str]:
        """What is wrong besides hosts, in sentences without a full stop."""
        found = []
        if self.away_since is not None:
            found.append(f"Hetzner has not answered for {duration(self.now - self.away_since)}")
        found += [
            f"Hetzner refuses token {one.project}: {one.error.rstrip('.')}"
            for one in self.projects
            if one.error
        ]
        found += [f"Zone {zone.name} isn't delegated to Hetzner" for zone in self.undelegated]
        found += [f"No process {job.work}" for job in self.leases if not job.owner]
        if self.has_few_calls and self.away_since is None:
            found.append("Few calls to Hetzner are left")
        return found

    @property
    def sentence(self) -> str:
        """The state of everything in one line."""
        number = self.number
        waiting = self.numbers[Condition.WAITING]
        if not number:
            about = "No host is registered yet"
        elif self.in_need:
            about = _some(self.in_need, number, "need") + " you"
        elif waiting:
            about = _some(waiting, number, "wait") + " for Hetzner"
        elif self.numbers[Condition.SILENT] or self.numbers[Condition.NEVER]:
            about = "No host needs you"
        elif number == 1:
            about = "The host is fine"
        else:
            about = f"All {number} hosts are fine"
        if self.problems:
            return f"{about} · {self.problems[0]}"
        if waiting and not self.in_need:
            return about
        answers = "Hetzner answers" if self.quotas else "Hetzner has not been asked yet"
        return f"{about} · {answers}"

    @property
    def level(self) -> str:
        """The worst state, as the favicon shows it: ``bad``, ``waiting`` or ``ok``."""
        needing = {group.condition for group in self.groups if group.needs_operator}
        if self.problems or needing - {Condition.NEVER}:
            return "bad"
        is_waiting = needing or self.numbers[Condition.WAITING] or not self.groups
        return "waiting" if is_waiting else "ok"

    def left(self, quota: Quota) -> int:
        """How many calls of a quota are left."""
        return int(quota.left(self.now))

    def is_low(self, quota: Quota) -> bool:
        """Whether a quota is so low that background jobs pause."""
        return self.left(quota) < quota.limit * _LOW


def _some(number: int, of: int, verb: str) -> str:
    """Return a subject with its verb: ``1 of 3 hosts needs``."""
    subject = "The host" if of == 1 else f"{number} of {of} hosts"
    return f"{subject} {verb}s" if number == 1 else f"{subject} {verb}"


class Overview:
    """Reads the state of the hosts and of the service. Safe to share between threads.

    Every method raises `StoreUnavailable`.
    """

    def __init__(
        self,
        store: Store,
        hosts: Container[Hostname],
        lost_after: float,
        failure_window: float = 900.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lost_after = lost_after
        self.failure_window = failure_window
        self._store = store
        self._hosts = hosts
        self._clock = clock

    def read(self) -> Snapshot:
        """Return the number of hosts by condition, the state of Hetzner and of background jobs."""
        now = self._clock()
        quotas = self._store.projects.quotas()
        answered_at = max((quota.at for quota in quotas), default=0.0)
        backlog = self._store.conditions.backlog(answered_at, now - _QUOTAS_STORED, now)
        leases = self._store.leases.find(_WORK)
        owners = {one.name: whereabouts(one.owner) for one in leases if one.until >= now}
        return Snapshot(
            now=now,
            groups=self._store.conditions.groups(now, self._lost_after),
            projects=self._store.projects.all(),
            zones=self._store.projects.zones(),
            quotas=quotas,
            # A job without a lease has just been started, or isn't needed.
            leases=[BackgroundJob(_WORK[one.name], owners.get(one.name, "")) for one in leases],
            waiting=backlog.number,
            oldest_update_at=backlog.oldest_at,
            away_since=backlog.failing_since,
        )

    def groups(self, text: str) -> Sequence[Group]:
        """Count the hosts whose name or address contains a text, by condition."""
        return self._store.conditions.groups(self._clock(), self._lost_after, text)

    def lines(self, selection: Selection = ALL) -> Sequence[HostLine]:
        """Return a line for each host: first those that need the operator, each by severity."""
        return self._store.conditions.lines(self._clock(), self._lost_after, selection)

    def hosts(self, selection: Selection = ALL) -> Iterator[HostStatus]:
        """Yield the status of hosts in the order of `lines`, reading some of them at a time."""
        names = [line.host for line in self.lines(selection)]
        for start in range(0, len(names), _READ_AT_ONCE):
            yield from self._find(names[start : start + _READ_AT_ONCE], self._clock())

    def host(self, name: Hostname) -> tuple[HostStatus, float]:
        """Return the status of one host, and the time.

        Raises:
            HostNotAllowed: the host isn't registered.

        """
        now = self._clock()
        found = self._find([name.text], now) if name in self._hosts else []
        if not found:
            raise not_registered(name)
        return found[0], now

    def _find(self, names: Sequence[str], now: float) -> Sequence[HostStatus]:
        found = self._store.conditions.find(names, now, self._lost_after)
        return [status_of(one, self._lost_after, now) for one in found]

    def wrong_logins(self, host: Hostname) -> Sequence[WrongLogins]:
        """Return the failed logins for a host in the current window, the most frequent first."""
        labels = {host.first_label, shown(host).split(".", 1)[0]}
        since = self._clock() - self.failure_window
        return self._store.failed_logins.of([digest(label).hex()[:32] for label in labels], since)


def origin(*, is_fixed: bool) -> str:
    """Return where a host was registered."""
    return "REGISTERED_FQDNS" if is_fixed else "added"


def describe(one: HostStatus, *, is_fixed: bool) -> Mapping[str, object]:
    """Return a host as JSON shows it. Times are UTC seconds."""
    return {
        "host": one.host.text,
        "origin": origin(is_fixed=is_fixed),
        "state": one.condition.value,
        "since": one.since,
        "published": {kind.value: str(address) for kind, address in one.published.items()},
        "seen_at": one.seen_at,
        "changed_at": one.changed_at,
        "error": one.error,
        "hint": one.hint,
        "muted_until": one.muted_until,
        "note": one.note,
    }
