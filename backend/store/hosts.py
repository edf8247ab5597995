"""The hosts: which are registered, the state of their records, when they were last seen."""

from __future__ import annotations

import enum
import functools
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.model import Address, Change, DesiredRecord, Hostname, RecordType, Requester
from backend.store.database import Database, excluded
from backend.store.schema import (
    SKEW_SECONDS,
    Entry,
    add_entry,
    failed_logins,
    history,
    hosts,
    records,
    reports,
    run,
)

# A process that serves a host extends the registration by this, if another one started without it.
KEPT_SECONDS = 600.0
_LONGEST_WAIT = 3600.0 + SKEW_SECONDS  # no record waits for longer than an hour
# This many changes back and forth within this time mean that two devices use the host.
_MANY_CHANGES, SHORTLY = 7, 3600.0
_SOURCES = 5
# What happens to the records of a host that is being removed.
DELETE, KEEP = "delete", "keep"


def is_listed(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a host is registered in any running process.

    An end too far in the future was stored before the clock was set back, and counts as past.
    """
    ends = hosts.c.unregistered_at
    is_kept = sa.and_(ends > now, ends <= now + KEPT_SECONDS + SKEW_SECONDS)
    is_registered = sa.or_(ends.is_(None), is_kept)
    return sa.and_(hosts.c.registered_at.is_not(None), hosts.c.leaving.is_(None), is_registered)


def is_shown(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a host is registered, or removed with records to be deleted."""
    return sa.or_(is_listed(now), hosts.c.leaving == DELETE)


def is_registered(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that the host of a record is registered, or was never stored.

    The records of a removed host are deleted, too: those of a renamed one after the records of its
    new name are published.
    """
    new = records.alias()
    is_waited_for = sa.exists().where(
        new.c.host == hosts.c.successor,
        new.c.desired.is_not(None),
        new.c.state != State.PUBLISHED.value,
    )
    is_deleted = sa.and_(hosts.c.leaving == DELETE, sa.not_(is_waited_for))
    is_gone = sa.exists().where(
        hosts.c.host == records.c.host,
        sa.not_(is_listed(now)),
        sa.or_(hosts.c.leaving.is_(None), sa.not_(is_deleted)),
    )
    return sa.not_(is_gone)


def is_past(at: sa.Column[float], now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a time has come, or was set before the clock was set back."""
    return sa.or_(at <= now, at > now + _LONGEST_WAIT)


def first_generation(now: float) -> int:
    """Return the generation of a new row: higher than those of a deleted row before.

    Otherwise a late answer from Hetzner about the deleted row would be applied to the new one.
    """
    return int(now * 1000)


class State(enum.Enum):
    """The progress of the desired state of a record."""

    PENDING = "pending"  # not yet accepted by Hetzner
    PUBLISHING = "publishing"  # accepted; Hetzner's action still runs
    PUBLISHED = "published"
    REFUSED = "refused"  # the operator has to change something


@dataclass(frozen=True)
class Record:
    """One record: its desired state, and the progress of this state. Times are UTC seconds."""

    host: Hostname
    type: RecordType
    desired: DesiredRecord
    generation: int  # of the desired state: a late answer to an older one is recognised by it
    desired_at: float
    requester: Requester
    state: State
    published: Address | None
    action: int | None  # of Hetzner, which publishes it; see `is_doubtful`
    accepted_at: float | None
    checked_at: float
    attempts: int
    retry_at: float
    error: str  # the problem, and what to do about it
    hint: str
    comment: str  # of the record at Hetzner
    verify_after: float  # a check or a write failed: no request asks Hetzner before then
    changed_at: float | None

    @property
    def is_accepted(self) -> bool:
        """Whether Hetzner has accepted the desired state."""
        return self.state in (State.PUBLISHING, State.PUBLISHED)

    def waits_for(self, now: float) -> float:
        """Return the seconds in which requests don't repeat the failed write; 0 if they may."""
        if self.is_accepted:
            return 0.0
        seconds = min(self.retry_at, self.verify_after) - now
        return seconds if 0 < seconds <= _LONGEST_WAIT else 0.0  # else the clock was set back

    @property
    def is_doubtful(self) -> bool:
        """Whether Hetzner's name servers may lack what its API shows.

        The API shows an address from the moment it is accepted. The action that publishes it, for
        this generation or an earlier one, failed or isn't followed any more, or the answer to the
        write was lost.
        """
        may_be_written = self.state is State.PENDING and self.attempts > 0
        return not self.is_accepted and (self.action is not None or may_be_written)


def read_record(row: Sequence[Any]) -> Record:
    """Make a record from a row with all columns of the table, in their order."""
    host, type_, desired, generation, desired_at, source, protocol, state, published, *more = row
    action, accepted_at, checked_at, attempts, retry_at, error, hint, *more = more
    _poll_action_at, verify_after, comment, changed_at = more
    kind = RecordType(type_)
    return Record(
        host=Hostname(host),
        type=kind,
        desired=DesiredRecord(kind, _address(desired)),
        generation=generation,
        desired_at=desired_at,
        requester=Requester(source, protocol),
        state=State(state),
        published=_address(published),
        action=action,
        accepted_at=accepted_at,
        checked_at=checked_at,
        attempts=attempts,
        retry_at=retry_at,
        error=error,
        hint=hint,
        comment=comment,
        verify_after=verify_after,
        changed_at=changed_at,
    )


# Most updates repeat the address of the last one.
@functools.lru_cache(maxsize=8192)
def _address(text: str | None) -> Address | None:
    return None if text is None else Address.parse(text)


# Built once: building a statement takes longer than running it.
_LAST_CHANGES = (
    sa.select(history.c.new, history.c.source)
    .where(history.c.host == sa.bindparam("name"), history.c.type == sa.bindparam("kind"))
    .where(history.c.at > sa.bindparam("since"))
    .where(sa.or_(*(history.c.event == change.value for change in Change)))
    .order_by(history.c.id.desc())
    .limit(_MANY_CHANGES)
)


def rivals(connection: Connection, host: str, kind: str, now: float) -> Sequence[str]:
    """Return the sources of the requests that change a record back and forth, if any do."""
    since = {"name": host, "kind": kind, "since": now - SHORTLY}
    changes = run(connection, _LAST_CHANGES, since).fetchall()
    addresses = {new for new, _ in changes}
    is_fight = len(changes) == _MANY_CHANGES and 1 < len(addresses) <= _MANY_CHANGES / 2
    return sorted({source for _, source in changes}) if is_fight else ()


class HostActivity(NamedTuple):
    """The activity of a registered host. Times are UTC seconds."""

    host: Hostname
    registered_at: float
    seen_at: float | None  # None: never
    silent_for: float  # seconds of silence counted since then
    silent_since: float | None  # when it was last seen; None: not reported as lost
    heard: int = 0  # the number of times it was seen
    muted_until: float | None = None  # no pushes about its silence before then
    lost_after: int | None = None  # seconds; None: LOST_CONNECTION_TIMEOUT
    note: str = ""
    leaving: str | None = None  # it was removed, and its records are being deleted

    def is_silent(self, lost_after: float) -> bool:
        """Whether it sent no update for longer than its own time, or than `lost_after` seconds."""
        return self.silent_for > (self.lost_after or lost_after)


ACTIVITY = [hosts.c[name] for name in HostActivity._fields]


def read_activity(row: Iterable[Any]) -> HostActivity:
    """Make an activity from the values of its columns."""
    name, *values = row
    return HostActivity(Hostname(name), *values)


class Hosts:
    """The hosts. Times are UTC seconds; every method raises `StoreUnavailable`.

    Several rows are always written in the order of their names, so that processes can't deadlock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, names: Iterable[Hostname], now: float) -> list[Hostname]:
        """Store which hosts are in REGISTERED_FQDNS; return those that were removed and are back.

        These start without records, reported errors and silence, and keep their history. Hosts
        that the operator added stay registered.
        """
        names = sorted(names)
        rows = [{"host": name.text, "registered_at": now} for name in names]
        anew = {"registered_at": now, "silent_for": 0, "silent_since": None}
        upsert = self._database.upsert(hosts, anew, sa.not_(is_listed(now)))
        is_mine = hosts.c.host.in_([name.text for name in names])
        ends = hosts.c.unregistered_at
        with self._database.write() as connection:
            unlisted = sa.select(hosts.c.host).where(sa.not_(is_listed(now)))
            again = {Hostname(row.host) for row in connection.execute(unlisted)}.intersection(names)
            dropped = [{"name": name.text} for name in sorted(again)]
            for column in (records.c.host, reports.c.subject) if dropped else ():
                mine = column == sa.bindparam("name")
                connection.execute(column.table.delete().where(mine), dropped)
            gone = sa.and_(sa.not_(is_mine), ends.is_(None), sa.not_(hosts.c.is_added))
            connection.execute(hosts.update().where(gone).values(unregistered_at=now))
            if rows:
                connection.execute(upsert, rows)
                listed = {"unregistered_at": None, "is_added": False, "leaving": None}
                other = sa.or_(ends.is_not(None), hosts.c.is_added, hosts.c.leaving.is_not(None))
                connection.execute(hosts.update().where(is_mine, other).values(**listed))
        return sorted(again)

    def extend_registrations(self, names: Iterable[Hostname], now: float) -> None:
        """Keep hosts registered that another process has started without.

        Call this every few seconds. It only reads while all processes have the same list.
        """
        ends = hosts.c.unregistered_at
        is_kept = ends.between(now + KEPT_SECONDS / 2, now + KEPT_SECONDS)
        ending = sa.select(hosts.c.host).where(
            ends.is_not(None), sa.not_(is_kept), hosts.c.leaving.is_(None)
        )
        with self._database.read() as connection:
            found = {Hostname(row.host) for row in connection.execute(ending)}
        mine = [{"name": name.text} for name in sorted(found.intersection(names))]
        if mine:
            this = sa.and_(
                hosts.c.host == sa.bindparam("name"), ends.is_not(None), hosts.c.leaving.is_(None)
            )
            kept = hosts.update().where(this).values(unregistered_at=now + KEPT_SECONDS)
            with self._database.write() as connection:
                connection.execute(kept, mine)

    def see(self, activities: Mapping[Hostname, float], now: float) -> None:
        """Store when hosts were last seen.

        An older time replaces a newer one only if that is in the future: the clock was set back.
        """
        rows = [{"host": host.text, "seen_at": at} for host, at in sorted(activities.items())]
        if not rows:  # SQLAlchemy would insert one row of defaults
            return
        new, known = excluded(hosts).seen_at, hosts.c.seen_at
        is_newer = sa.or_(known.is_(None), known < new, known > now + SKEW_SECONDS)
        seen_at = sa.case((is_newer, new), else_=known)
        heard = {"seen_at": seen_at, "silent_for": 0, "heard": hosts.c.heard + 1}
        statement = self._database.upsert(hosts, heard)
        with self._database.write(durable=False) as connection:
            connection.execute(statement, rows)

    def registered(self, now: float) -> list[HostActivity]:
        """Return the activity of every registered host, and of those whose records are deleted."""
        query = sa.select(*ACTIVITY).where(is_shown(now))
        with self._database.read() as connection:
            return list(map(read_activity, connection.execute(query)))

    def count(self, activities: Iterable[HostActivity]) -> None:
        """Store for how long hosts have been silent, except those seen in the meantime."""
        with self._database.write(durable=False) as connection:
            for activity in sorted(activities, key=lambda one: one.host):
                connection.execute(_unheard(activity).values(silent_for=activity.silent_for))

    def fall_silent(self, activity: HostActivity, now: float) -> bool:
        """Store that a host fell silent; false if that is known, or the host was seen since."""
        since = activity.seen_at or activity.registered_at
        return self._flip(activity, hosts.c.silent_since.is_(None), since, "lost", now)

    def come_back(self, activity: HostActivity, now: float) -> bool:
        """Store that a host is back; false if that is known."""
        return self._flip(activity, hosts.c.silent_since.is_not(None), None, "back", now)

    def mute(self, host: Hostname, until: float | None, entry: Entry) -> None:
        """Mute a host until then; `None` unmutes it."""
        statement = self._database.upsert(hosts, {"muted_until": until})
        with self._database.write() as connection:
            connection.execute(statement, {"host": host.text, "muted_until": until})
            add_entry(connection, entry)

    def lift(self, host: Hostname, now: float) -> bool:
        """Unmute a host whose time has come; false if another process did."""
        over = sa.and_(hosts.c.host == host.text, hosts.c.muted_until <= now)
        with self._database.write() as connection:
            change = hosts.update().where(over).values(muted_until=None)
            return bool(connection.execute(change).rowcount == 1)

    def _flip(
        self,
        activity: HostActivity,
        is_other: sa.ColumnElement[bool],
        since: float | None,
        event: str,
        now: float,
    ) -> bool:
        """Change the state of a host atomically: only one process gets true."""
        name = activity.host.text
        change = _unheard(activity).where(is_other, is_listed(now)).values(silent_since=since)
        with self._database.write() as connection:
            if connection.execute(change).rowcount != 1:
                return False
            add_entry(connection, Entry(now, name, "", event, "", "", None, None, ""))
        return True


def _unheard(activity: HostActivity) -> sa.Update:
    """Return an update of a host that applies only if the host wasn't seen since."""
    return hosts.update().where(
        hosts.c.host == activity.host.text,
        hosts.c.heard == activity.heard,
    )


class WrongLogins(NamedTuple):
    """The failed logins for one host from one source since a time (UTC seconds)."""

    network: str
    number: int
    since: float


class FailedLoginCounts:
    """Counters that end with their window. Every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, numbers: Mapping[str, int], now: float, window: float
    ) -> dict[str, tuple[int, float]]:
        """Add to some counters; return what each has now, and when its window began (UTC)."""
        # Everywhere in the same order, so that two processes can't deadlock.
        rows = [
            {"key": key, "number": number, "since": now} for key, number in sorted(numbers.items())
        ]
        new, known = excluded(failed_logins), failed_logins.c
        # A window in the future began before the clock was set back.
        is_over = sa.or_(known.since <= now - window, known.since > now + SKEW_SECONDS)
        number = sa.case((is_over, new.number), else_=known.number + new.number)
        since = sa.case((is_over, new.since), else_=known.since)
        upsert = self._database.upsert(failed_logins, {"number": number, "since": since})
        theirs = sa.select(failed_logins).where(known.key.in_(list(numbers)))
        with self._database.write() as connection:
            connection.execute(upsert, rows)
            return {row.key: (row.number, row.since) for row in connection.execute(theirs)}

    def of(self, labels: Iterable[str], since: float) -> list[WrongLogins]:
        """Return the failures for a host by source, in windows that began after `since` (UTC).

        `labels` are the digests that `Authorizer` counts the host under.
        """
        key = failed_logins.c.key
        is_of = sa.or_(*(key.like(f"pair {label} %") for label in labels))
        query = (
            sa.select(failed_logins)
            .where(is_of, failed_logins.c.since > since)
            .order_by(failed_logins.c.number.desc())
            .limit(_SOURCES)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [WrongLogins(row.key.split(" ")[2], row.number, row.since) for row in rows]

    def prune(self, before: float, most: int) -> None:
        """Delete windows that began before a time, and the oldest beyond a number."""
        since = failed_logins.c.since
        newest = sa.select(since).order_by(since.desc()).offset(most).limit(1)
        with self._database.write() as connection:
            connection.execute(failed_logins.delete().where(since < before))
            border = connection.execute(newest).scalar()
            if border is not None:
                connection.execute(failed_logins.delete().where(since <= border))
