"""How each host is, since when, why, and what to do; the snapshot that the dashboard shows."""

from __future__ import annotations

import enum
import time
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, Iterator, List, Mapping, Optional, Sequence, Tuple

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from backend import __version__
from backend.model import Address, Hostname, RecordType
from backend.store import HostActivity, Record, State, Store
from backend.store.leases import Lease, whereabouts
from backend.store.projects import Project, SeenQuota, SeenZone


class Condition(enum.Enum):
    """How a host fares, the worst first."""

    REFUSED = "refused"
    SILENT = "silent"
    WAITING = "waiting for Hetzner"
    NEVER = "never seen"
    PUBLISHING = "publishing"
    OK = "ok"

    @property
    def severity(self) -> int:
        """The place in a list that begins with the worst."""
        return _ORDER[self]

    @property
    def slug(self) -> str:
        """Its short name: a class of the style sheet, a value in an address and of a metric."""
        return self.name.lower()


_ORDER = {condition: place for place, condition in enumerate(Condition)}


@dataclass(frozen=True)
class HostStatus:
    """One host as the operator sees it. Times are UTC seconds."""

    host: Hostname
    condition: Condition
    since: Optional[float]  # None: nothing is wrong
    published: Mapping[RecordType, Address]
    desired: Mapping[RecordType, Optional[Address]]  # only what isn't published yet
    seen_at: Optional[float]
    changed_at: Optional[float]
    error: str
    hint: str
    retry_at: Optional[float]
    muted_until: Optional[float]

    @property
    def has_failed(self) -> bool:
        """Whether there is an error to forget, or a wish to try again."""
        return self.condition in (Condition.REFUSED, Condition.WAITING)


def judge(
    activities: Iterable[HostActivity],
    records: Iterable[Record],
    mutes: Mapping[Hostname, float],
    lost_after: float,
    now: float,
) -> List[HostStatus]:
    """Return how every registered host fares, the worst first."""
    by_host: Dict[Hostname, List[Record]] = {}
    for record in records:
        by_host.setdefault(record.host, []).append(record)
    judged = [
        _judge_one(one, by_host.get(one.host, []), mutes.get(one.host), lost_after, now)
        for one in activities
    ]
    return sorted(judged, key=lambda one: (one.condition.severity, one.host))


def _judge_one(
    activity: HostActivity,
    records: Sequence[Record],
    muted_until: Optional[float],
    lost_after: float,
    now: float,
) -> HostStatus:
    condition = _condition(activity, records, lost_after)
    relevant = [record for record in records if _STATES.get(record.state) is condition]
    error, hint = _told(condition, relevant)
    return HostStatus(
        host=activity.host,
        condition=condition,
        since=_since(condition, activity, relevant),
        published={one.type: one.published for one in records if one.published is not None},
        desired={one.type: one.desired.address for one in records if _is_open(one)},
        seen_at=activity.seen_at,
        changed_at=max((one.changed_at for one in records if one.changed_at), default=None),
        error=error,
        hint=hint,
        retry_at=min((one.retry_at for one in relevant if not one.is_accepted), default=None),
        muted_until=muted_until if muted_until is not None and muted_until > now else None,
    )


_STATES = {
    State.REFUSED: Condition.REFUSED,
    State.PENDING: Condition.WAITING,
    State.PUBLISHING: Condition.PUBLISHING,
}


def _is_open(record: Record) -> bool:
    return not record.is_accepted and record.desired.address != record.published


def _condition(activity: HostActivity, records: Sequence[Record], lost_after: float) -> Condition:
    found = {_STATES[record.state] for record in records if record.state in _STATES}
    if activity.seen_at is None:
        if not records:  # otherwise it was heard just now, which is written every few seconds
            found.add(Condition.NEVER)
    elif activity.silent_since is not None or activity.silent_for > lost_after:
        found.add(Condition.SILENT)
    return min(found, key=lambda one: one.severity, default=Condition.OK)


def _since(
    condition: Condition, activity: HostActivity, relevant: Sequence[Record]
) -> Optional[float]:
    if condition is Condition.SILENT:
        return activity.seen_at
    if condition is Condition.NEVER:
        return activity.registered_at
    if condition is Condition.PUBLISHING:
        return min(record.accepted_at or record.desired_at for record in relevant)
    return min((record.desired_at for record in relevant), default=None)


def _told(condition: Condition, relevant: Sequence[Record]) -> Tuple[str, str]:
    """Return what was seen, and what to do about it."""
    error, hint = next(((one.error, one.hint) for one in relevant if one.error), ("", ""))
    if condition is Condition.SILENT:
        todo = "Look whether it, its line and its update client are running."
        return "Nothing is heard of it any more.", todo
    if condition is Condition.NEVER:
        todo = "Set it up: its page shows what to paste into which device."
        return "It has never sent an update.", todo
    if condition is Condition.WAITING and not error:
        return "Hetzner hasn't accepted its wish yet.", "Nothing to do: Hetzner is being asked."
    if condition is Condition.WAITING and not hint:
        return error, "Nothing to do: it is tried again by itself until it is through."
    return error, hint


# What each delegation state of Hetzner's asks of the operator.
# https://docs.hetzner.cloud/cloud.spec.json, a zone's authoritative_nameservers
_REGISTRAR = "at your registrar, set the name servers that Hetzner assigns to the zone"
DELEGATION_HINTS: Mapping[str, str] = {
    "valid": "",
    "partially-valid": f"{_REGISTRAR}, and no others",
    "invalid": f"nobody finds this zone: {_REGISTRAR}",
    "lame": f"nobody finds this zone: {_REGISTRAR}",
    "unregistered": "nobody finds this zone: register the domain",
    "unknown": "Hetzner can't tell: look again later",
    "": "Hetzner doesn't say",
}
# For these the DNS may work all the same.
_HARMLESS = ("valid", "partially-valid", "unknown", "")
_LOW = 0.1
_LEASES: Mapping[str, str] = {
    "reconciler": "retries wishes",
    "watcher": "watches for silence",
    "verifier": "looks whether Hetzner holds what it accepted",
}
_OPTIONAL = ("verifier",)  # only with many hosts


def delegation_hint(delegation: str) -> str:
    """Return what a zone's delegation state asks of the operator; empty: nothing."""
    return DELEGATION_HINTS.get(delegation, "Hetzner says something new: see its console")


def is_lost(delegation: str) -> bool:
    """Whether nobody finds a zone in this delegation state."""
    return delegation in DELEGATION_HINTS and delegation not in _HARMLESS


@dataclass(frozen=True)
class HeldLease:
    """A thing that one process of all does, and which one that is."""

    does: str
    owner: str  # empty: nobody at the moment


@dataclass(frozen=True)
class Snapshot:
    """How all is at one moment. Times are UTC seconds."""

    now: float
    hosts: Sequence[HostStatus]
    projects: Sequence[Project]
    zones: Sequence[SeenZone]
    quotas: Sequence[SeenQuota]
    leases: Sequence[HeldLease]
    waiting: int  # wishes Hetzner hasn't accepted
    oldest_update_at: Optional[float]

    @property
    def numbers(self) -> Mapping[Condition, int]:
        """How many hosts are in each condition."""
        found = Counter(one.condition for one in self.hosts)
        return {condition: found.get(condition, 0) for condition in Condition}

    def is_low(self, quota: SeenQuota) -> bool:
        """Whether so little is left of a quota that background work pauses."""
        return quota.left(self.now) < quota.calls * _LOW


class Overview:
    """Reads the snapshot. Safe to share between threads."""

    def __init__(
        self,
        store: Store,
        hosts: Iterable[Hostname],
        lost_after: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._hosts = frozenset(hosts)
        self._lost_after = lost_after
        self._clock = clock

    def read(self) -> Snapshot:
        """Read it; raise `StoreUnavailable` when that can't be done."""
        now = self._clock()
        records = [one for one in self._store.operations.records() if one.host in self._hosts]
        waiting, oldest = _waiting(records)
        return Snapshot(
            now=now,
            hosts=self._judged(records, now),
            projects=self._store.projects.all(),
            zones=self._store.projects.zones(),
            quotas=self._store.projects.quotas(),
            leases=self._leases(now),
            waiting=waiting,
            oldest_update_at=oldest,
        )

    def host(self, name: Hostname) -> Tuple[Optional[HostStatus], float]:
        """Read how one host fares, and the time; `None` when it isn't registered."""
        now = self._clock()
        if name not in self._hosts:
            return None, now
        known = [one for one in self._store.hosts.registered(now) if one.host == name]
        records = self._store.records.of(name).values()
        judged = judge(known, records, self._store.operations.mutes(), self._lost_after, now)
        return next(iter(judged), None), now

    def _judged(self, records: Sequence[Record], now: float) -> List[HostStatus]:
        known = [one for one in self._store.hosts.registered(now) if one.host in self._hosts]
        return judge(known, records, self._store.operations.mutes(), self._lost_after, now)

    def _leases(self, now: float) -> List[HeldLease]:
        held = {one.name: one for one in self._store.leases.find(_LEASES)}
        return [
            HeldLease(does, _owner(held.get(name), now))
            for name, does in _LEASES.items()
            if name in held or name not in _OPTIONAL
        ]


def _owner(lease: Optional[Lease], now: float) -> str:
    return "" if lease is None or lease.until < now else whereabouts(lease.owner)


def _waiting(records: Sequence[Record]) -> Tuple[int, Optional[float]]:
    desired = [one.desired_at for one in records if one.state in (State.PENDING, State.REFUSED)]
    return len(desired), min(desired, default=None)


def gauges(snapshot: Optional[Snapshot]) -> Iterator[Metric]:
    """Return every figure; without a snapshot only that the store is away."""
    yield _gauge("dyndns_build_info", "The program", ("version",), [((__version__,), 1)])
    up = [((), 1.0 if snapshot is not None else 0.0)]
    yield _gauge("dyndns_store_up", "Whether the store answers", (), up)
    if snapshot is not None:
        yield from _updates(snapshot)
        yield from _hosts(snapshot)
        yield from _hetzner(snapshot)


def _updates(snapshot: Snapshot) -> Iterator[Metric]:
    waiting = [((), float(snapshot.waiting))]
    yield _gauge("dyndns_updates_waiting", "Updates that Hetzner hasn't accepted", (), waiting)
    oldest = snapshot.oldest_update_at
    age = 0.0 if oldest is None else max(0.0, snapshot.now - oldest)
    help_text = "How long the oldest of them has been waiting; 0 without any"
    yield _gauge("dyndns_oldest_update_age_seconds", help_text, (), [((), age)])


def _hosts(snapshot: Snapshot) -> Iterator[Metric]:
    hosts = snapshot.hosts
    states = [
        ((one.host.text, state.slug), float(one.condition is state))
        for one in hosts
        for state in Condition
    ]
    yield _gauge("dyndns_host_state", "1 for the state a host is in", ("host", "state"), states)
    seen = [
        ((one.host.text,), max(0.0, snapshot.now - one.seen_at))
        for one in hosts
        if one.seen_at is not None
    ]
    help_text = "Since when a host wasn't heard of; missing when it never was"
    yield _gauge("dyndns_host_last_seen_age_seconds", help_text, ("host",), seen)
    muted = [((one.host.text,), float(one.muted_until is not None)) for one in hosts]
    yield _gauge("dyndns_host_muted", "1 while a host is muted", ("host",), muted)


def _hetzner(snapshot: Snapshot) -> Iterator[Metric]:
    labels = ("project", "limit")
    left = [
        ((str(one.project), str(one.calls)), float(one.left(snapshot.now)))
        for one in snapshot.quotas
    ]
    help_text = "Calls left of Hetzner's rate limit, by the limit an hour"
    yield _gauge("dyndns_hetzner_quota_remaining", help_text, labels, left)
    limits = [((str(one.project), str(one.calls)), float(one.calls)) for one in snapshot.quotas]
    yield _gauge("dyndns_hetzner_quota_limit", "Calls allowed an hour", labels, limits)
    failed = [((str(one.project),), float(bool(one.error))) for one in snapshot.projects]
    help_text = "1 while Hetzner refuses a token"
    yield _gauge("dyndns_hetzner_project_refused", help_text, ("project",), failed)
    lost = [((zone.name,), float(is_lost(zone.delegation))) for zone in snapshot.zones]
    help_text = "1 for a zone that isn't delegated to Hetzner, so that nobody finds it"
    yield _gauge("dyndns_zone_undelegated", help_text, ("zone",), lost)


def _gauge(
    name: str,
    help_text: str,
    labels: Sequence[str],
    samples: Sequence[Tuple[Sequence[str], float]],
) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
