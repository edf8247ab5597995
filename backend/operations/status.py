"""How each host fares, since when, why, and what to do: a pure function of what is stored."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from backend.model import Address, Hostname, RecordType
from backend.store import Record, Sighting, State
from backend.watching.watcher import silence

# A sentence of ours says what was seen, a colon, and what to do about it, which begins so.
_DOINGS = (
    *(
        "add",
        "ask",
        "check",
        "choose",
        "copy",
        "create",
        "delete",
        "install",
        "leave",
        "let",
        "lift",
    ),
    *("list", "look", "make", "mount", "name", "remove", "restore", "run", "set", "start", "stop"),
    *("update", "use", "using the default", "wait", "write", "it is changed at"),
)
_PARTED = re.compile(rf"(?P<seen>.+): (?P<mend>(?:{'|'.join(_DOINGS)})\b.*)", re.DOTALL)
_QUOTED = '"; '
_BUSY = "Hetzner can't do it now:"


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
    condition = _condition(sighting, records, lost_after, now)
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
        next_try_at=min((one.next_try_at for one in relevant if _is_due(one)), default=None),
        muted_until=muted_until if muted_until is not None and muted_until > now else None,
    )


_STATES = {
    State.REFUSED: Condition.REFUSED,
    State.PENDING: Condition.WAITING,
    State.PUBLISHING: Condition.PUBLISHING,
}


def _is_open(record: Record) -> bool:
    return not record.is_accepted and record.wanted.address != record.published


def _is_due(record: Record) -> bool:
    return not record.is_accepted


def _condition(
    sighting: Sighting, records: Sequence[Record], lost_after: float, now: float
) -> Condition:
    found = {_STATES[record.state] for record in records if record.state in _STATES}
    if sighting.seen_at is None:
        if not records:  # otherwise it was heard just now, which is written every few seconds
            found.add(Condition.NEVER)
    elif sighting.silent_since is not None or silence(sighting, now) > lost_after:
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
    error = next((record.error for record in relevant if record.error), "")
    if condition is Condition.SILENT:
        mend = "Look whether it, its line and its update client are running."
        return "Nothing is heard of it any more.", mend
    if condition is Condition.NEVER:
        mend = "Set it up: its page shows what to paste into which device."
        return "It has never sent an update.", mend
    if condition is Condition.WAITING and not error:
        return "Hetzner hasn't accepted its wish yet.", "Nothing to do: Hetzner is being asked."
    seen, mend = parted(error)
    if condition is Condition.WAITING and not mend:
        mend = "Nothing to do: it is tried again by itself until it is through."
    return seen, mend


def parted(error: str) -> Tuple[str, str]:
    """Split a stored error into what was seen and what to do; the latter may be missing."""
    if _QUOTED in error:  # what Hetzner said may hold anything
        seen, _, mend = error.rpartition(_QUOTED)
        return f'{seen}".', _sentence(mend)
    found = None if error.startswith(_BUSY) else _PARTED.fullmatch(error)
    if found is None or found["mend"].count(")") > found["mend"].count("("):
        return error, ""  # a colon in parentheses parts nothing
    return f"{found['seen']}.", _sentence(found["mend"])


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
