"""Everything the operator sees at a glance, read from the store in one go."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterable, List, Mapping, Optional, Sequence, Tuple

from backend.model import Hostname
from backend.operations.status import Condition, HostStatus, judge
from backend.store import Record, State, Store
from backend.store.holders import whereabouts
from backend.store.operations import Lease
from backend.store.projects import Project, SeenQuota, SeenZone

# What each delegation state of Hetzner's asks of the operator.
# https://docs.hetzner.cloud/cloud.spec.json, a zone's authoritative_nameservers
_REGISTRAR = "at your registrar, set the name servers that Hetzner assigns to the zone"
DELEGATION_MENDS: Mapping[str, str] = {
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


def delegation_mend(delegation: str) -> str:
    """Return what a zone's delegation state asks of the operator; empty: nothing."""
    return DELEGATION_MENDS.get(delegation, "Hetzner says something new: see its console")


def is_lost(delegation: str) -> bool:
    """Whether nobody finds a zone in this delegation state."""
    return delegation in DELEGATION_MENDS and delegation not in _HARMLESS


@dataclass(frozen=True)
class HeldLease:
    """A thing that one process of all does, and which one that is."""

    does: str
    holder: str  # empty: nobody at the moment


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
    oldest_wish_at: Optional[float]

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
            oldest_wish_at=oldest,
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
        held = {one.name: one for one in self._store.operations.leases(_LEASES)}
        return [
            HeldLease(does, _holder(held.get(name), now))
            for name, does in _LEASES.items()
            if name in held or name not in _OPTIONAL
        ]


def _holder(lease: Optional[Lease], now: float) -> str:
    return "" if lease is None or lease.until < now else whereabouts(lease.holder)


def _waiting(records: Sequence[Record]) -> Tuple[int, Optional[float]]:
    wishes = [one.wished_at for one in records if one.state in (State.PENDING, State.REFUSED)]
    return len(wishes), min(wishes, default=None)
