"""How each host fares, since when, why, and what to do: a pure function of what is stored."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from backend.model import Address, Hostname, RecordType
from backend.store import Record, Sighting, State


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
    wanted: Mapping[RecordType, Optional[Address]]  # only what isn't published yet
    seen_at: Optional[float]
    changed_at: Optional[float]
    error: str
    mend: str
    next_try_at: Optional[float]
    muted_until: Optional[float]

    @property
    def has_failed(self) -> bool:
        """Whether there is an error to forget, or a wish to try again."""
        return self.condition in (Condition.REFUSED, Condition.WAITING)


def judge(
    sightings: Iterable[Sighting],
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
        for one in sightings
    ]
    return sorted(judged, key=lambda one: (one.condition.severity, one.host))


def _judge_one(
    sighting: Sighting,
    records: Sequence[Record],
    muted_until: Optional[float],
    lost_after: float,
    now: float,
) -> HostStatus:
    condition = _condition(sighting, records, lost_after)
    relevant = [record for record in records if _STATES.get(record.state) is condition]
    error, mend = _told(condition, relevant)
    return HostStatus(
        host=sighting.host,
        condition=condition,
        since=_since(condition, sighting, relevant),
        published={one.type: one.published for one in records if one.published is not None},
        wanted={one.type: one.wanted.address for one in records if _is_open(one)},
        seen_at=sighting.seen_at,
        changed_at=max((one.changed_at for one in records if one.changed_at), default=None),
        error=error,
        mend=mend,
        next_try_at=min((one.next_try_at for one in relevant if not one.is_accepted), default=None),
        muted_until=muted_until if muted_until is not None and muted_until > now else None,
    )


_STATES = {
    State.REFUSED: Condition.REFUSED,
    State.PENDING: Condition.WAITING,
    State.PUBLISHING: Condition.PUBLISHING,
}


def _is_open(record: Record) -> bool:
    return not record.is_accepted and record.wanted.address != record.published


def _condition(sighting: Sighting, records: Sequence[Record], lost_after: float) -> Condition:
    found = {_STATES[record.state] for record in records if record.state in _STATES}
    if sighting.seen_at is None:
        if not records:  # otherwise it was heard just now, which is written every few seconds
            found.add(Condition.NEVER)
    elif sighting.silent_since is not None or sighting.silent_for > lost_after:
        found.add(Condition.SILENT)
    return min(found, key=lambda one: one.severity, default=Condition.OK)


def _since(condition: Condition, sighting: Sighting, relevant: Sequence[Record]) -> Optional[float]:
    if condition is Condition.SILENT:
        return sighting.seen_at
    if condition is Condition.NEVER:
        return sighting.registered_at
    if condition is Condition.PUBLISHING:
        return min(record.accepted_at or record.wished_at for record in relevant)
    return min((record.wished_at for record in relevant), default=None)


def _told(condition: Condition, relevant: Sequence[Record]) -> Tuple[str, str]:
    """Return what was seen, and what to do about it."""
    error, mend = next(((one.error, one.mend) for one in relevant if one.error), ("", ""))
    if condition is Condition.SILENT:
        todo = "Look whether it, its line and its update client are running."
        return "Nothing is heard of it any more.", todo
    if condition is Condition.NEVER:
        todo = "Set it up: its page shows what to paste into which device."
        return "It has never sent an update.", todo
    if condition is Condition.WAITING and not error:
        return "Hetzner hasn't accepted its wish yet.", "Nothing to do: Hetzner is being asked."
    if condition is Condition.WAITING and not mend:
        return error, "Nothing to do: it is tried again by itself until it is through."
    return error, mend
