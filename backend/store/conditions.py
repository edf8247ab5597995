"""Queries for the condition of every host: the number of hosts, an ordered list, and details."""

from __future__ import annotations

import enum
from typing import Any, Iterable, NamedTuple, Sequence

import sqlalchemy as sa

from backend.model import Hostname, shown
from backend.store.database import Database
from backend.store.hosts import (
    ACTIVITY,
    HostActivity,
    Record,
    State,
    is_registered,
    is_shown,
    read_activity,
    read_record,
)
from backend.store.schema import hosts, records


class Condition(enum.Enum):
    """The condition of a host, the worst first."""

    REFUSED = "refused"
    SILENT = "silent"
    NEVER = "never seen"
    WAITING = "waiting for Hetzner"
    PUBLISHING = "publishing"
    OK = "ok"

    @property
    def slug(self) -> str:
        """The name in style sheets, URLs and metrics."""
        return self.name.lower()


CONDITIONS = {
    State.REFUSED: Condition.REFUSED,
    State.PENDING: Condition.WAITING,
    State.PUBLISHING: Condition.PUBLISHING,
}
_ORDER = list(Condition)
_RANKS = {condition: rank for rank, condition in enumerate(_ORDER)}
_FAILING = (State.PENDING.value, State.REFUSED.value)


class Group(NamedTuple):
    """The hosts that are in the same condition."""

    condition: Condition
    needs_operator: bool
    number: int
    known: int  # those that have ever sent an update


class Backlog(NamedTuple):
    """The updates that Hetzner hasn't accepted. Times are UTC seconds."""

    number: int
    oldest_at: float | None
    failing_since: float | None  # when the oldest of those was sent that Hetzner hasn't answered


class Selection(NamedTuple):
    """Which hosts to return: `number` of those that match, or all, from the `first` on."""

    text: str = ""  # their name or an address contains it
    condition: Condition | None = None
    in_need: bool = False
    first: int = 0
    number: int | None = None


ALL = Selection()


class HostLine(NamedTuple):
    """The condition of one host. Times are UTC seconds."""

    host: str
    condition: Condition
    seen_at: float | None
    is_muted: bool


class Judged(NamedTuple):
    """One host in detail."""

    activity: HostActivity
    records: Sequence[Record]
    condition: Condition
    needs_operator: bool


class Conditions:
    """The conditions of all hosts. Times are UTC seconds; every method raises `StoreUnavailable`.

    A host without its own timeout is lost after `lost_after` seconds of silence.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(self, now: float, lost_after: float, text: str = "") -> list[Group]:
        """Count the hosts by condition; with a text, only the hosts that match it."""
        judged = _judged(now, lost_after)
        key = (judged.c.condition, judged.c.needs_operator)
        query = sa.select(*key, sa.func.count(), sa.func.sum(judged.c.is_known)).group_by(*key)
        rows = self._all(query.where(*self._matches(judged, text)))
        return [Group(_ORDER[rank], bool(needs), *rest) for rank, needs, *rest in rows]

    def backlog(self, answered_at: float, before: float, now: float) -> Backlog:
        """Return the number and the age of the updates that wait.

        `failing_since` is about updates that were sent after Hetzner's last answer, and before the
        time `before`: no answer explains why they fail.
        """
        is_unanswered = sa.and_(
            records.c.state == State.PENDING.value,
            records.c.error != "",
            records.c.desired_at > answered_at,
            records.c.desired_at < before,
        )
        at, oldest = records.c.desired_at, sa.func.min
        query = sa.select(sa.func.count(), oldest(at), oldest(sa.case((is_unanswered, at))))
        (row,) = self._all(query.where(records.c.state.in_(_FAILING), is_registered(now)))
        return Backlog(*row)

    def lines(self, now: float, lost_after: float, selection: Selection) -> list[HostLine]:
        """Return a line for each host: first those that need the operator, each by severity."""
        judged = _judged(now, lost_after)
        query = sa.select(judged.c.host, judged.c.condition, judged.c.seen_at, judged.c.is_muted)
        query = query.where(*self._matches(judged, selection.text)).order_by(*_order(judged))
        if selection.condition is not None:
            query = query.where(judged.c.condition == _RANKS[selection.condition])
        if selection.in_need:
            query = query.where(judged.c.needs_operator == 1)
        with self._database.read() as connection:
            rows = connection.execute(query.offset(selection.first).limit(selection.number))
            return [HostLine(host, _ORDER[rank], at, bool(muted)) for host, rank, at, muted in rows]

    def find(self, names: Iterable[str], now: float, lost_after: float) -> list[Judged]:
        """Return these hosts in detail, except those that aren't registered, the worst first."""
        names = list(names)
        judged = _judged(now, lost_after, names)
        query = sa.select(judged).order_by(*_order(judged))
        theirs = sa.select(records).where(records.c.host.in_(names)).order_by(records.c.type)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
            found = list(map(read_record, connection.execute(theirs)))
        by_host: dict[Hostname, list[Record]] = {}
        for record in found:
            by_host.setdefault(record.host, []).append(record)
        activities = [read_activity(row[column.name] for column in ACTIVITY) for row in rows]
        return [
            Judged(
                one,
                by_host.get(one.host, ()),
                _ORDER[row["condition"]],
                bool(row["needs_operator"]),
            )
            for one, row in zip(activities, rows)
        ]

    def has_neighbour(self, host: Hostname, address: str) -> bool:
        """Return whether another host has an address, or an IPv6 address in the same /64."""
        held, groups = records.c.published, address.split(":")
        is_near = held.startswith(":".join(groups[:4]) + ":") if groups[1:] else held == address
        query = sa.select(records.c.host).where(is_near, records.c.host != host.text)
        return bool(self._all(query.limit(1)))

    def _all(self, query: Any) -> Sequence[Any]:  # noqa: ANN401
        with self._database.read() as connection:
            return connection.execute(query).all()

    def _matches(self, judged: sa.Subquery, text: str) -> Sequence[sa.ColumnElement[bool]]:
        """Return the condition that the name or an address of a host contains a text."""
        if not text:
            return ()
        if not text.isprintable():  # PostgreSQL refuses NUL
            return (sa.false(),)
        encoded = sa.select(hosts.c.host).where(hosts.c.host.contains("xn--"))
        shown_names = [row.host for row in self._all(encoded) if text in shown(Hostname(row.host))]
        of_address = sa.select(records.c.host).where(
            records.c.published.contains(text, autoescape=True)
        )
        name = judged.c.host
        is_named = sa.or_(name.contains(text, autoescape=True), name.in_(shown_names))
        return (sa.or_(is_named, name.in_(of_address)),)


def _judged(now: float, lost_after: float, names: Sequence[str] | None = None) -> sa.Subquery:
    """Return every host, or those with these names, with its condition."""
    ranks = {state.value: _RANKS[condition] for state, condition in CONDITIONS.items()}
    rank = sa.case(ranks, value=records.c.state, else_=_RANKS[Condition.OK])
    own = sa.select(
        records.c.host,
        sa.func.min(rank).label("worst"),
        sa.func.count(records.c.published).label("published"),
    ).group_by(records.c.host)
    theirs = sa.select(hosts).where(is_shown(now))
    if names is not None:
        own = own.where(records.c.host.in_(names))
        theirs = theirs.where(hosts.c.host.in_(names))
    of_records, of_hosts = own.subquery(), theirs.subquery()
    record, one = of_records.c, of_hosts.c
    is_leaving = one.leaving.is_not(None)
    has_been_silent = one.silent_for > sa.func.coalesce(one.lost_after, lost_after)
    is_silent = sa.or_(one.silent_since.is_not(None), has_been_silent)
    # A host with a record has been seen, even if its last-seen time isn't stored yet.
    is_new = sa.and_(one.seen_at.is_(None), record.host.is_(None))
    conditions = (
        (record.worst == _RANKS[Condition.REFUSED], Condition.REFUSED),
        (sa.and_(sa.not_(is_leaving), one.seen_at.is_not(None), is_silent), Condition.SILENT),
        (sa.and_(sa.not_(is_leaving), is_new), Condition.NEVER),
        (record.worst == _RANKS[Condition.WAITING], Condition.WAITING),
        (sa.or_(is_leaving, record.worst == _RANKS[Condition.PUBLISHING]), Condition.PUBLISHING),
    )
    condition = sa.case(
        *((when, _RANKS[then]) for when, then in conditions), else_=_RANKS[_ORDER[-1]]
    )
    is_muted = sa.func.coalesce(one.muted_until, 0.0) > now
    is_known = sa.or_(one.seen_at.is_not(None), record.published > 0)
    judged = sa.select(
        *one,
        condition.label("condition"),
        _number(is_muted).label("is_muted"),
        _number(is_known).label("is_known"),
    ).select_from(of_hosts.outerjoin(of_records, record.host == one.host))
    inner = judged.subquery()
    absent = (_RANKS[Condition.SILENT], _RANKS[Condition.NEVER])
    # The operator already knows about a silent host that is muted.
    needs = sa.or_(
        inner.c.condition == _RANKS[Condition.REFUSED],
        sa.and_(inner.c.condition.in_(absent), inner.c.is_muted == 0),
    )
    return sa.select(inner, _number(needs).label("needs_operator")).subquery()


def _number(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """Return 1 or 0: databases differ in how they add and sort booleans."""
    return sa.case((condition, 1), else_=0)


def _order(judged: sa.Subquery) -> Sequence[sa.ColumnElement[Any]]:
    return (judged.c.needs_operator.desc(), judged.c.condition, judged.c.host)
