"""The hosts: since when they are registered, when they were last seen, which are silent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.model import Hostname
from backend.store.database import Database
from backend.store.record import KEPT_SECONDS, is_listed
from backend.store.schema import (
    SKEW_SECONDS,
    Entry,
    add_entry,
    failed_logins,
    hosts,
    meta,
    records,
    reports,
)

_WATCHED = "watched_until"


@dataclass(frozen=True)
class HostActivity:
    """What is known of a registered host. Times are UTC seconds."""

    host: Hostname
    registered_at: float
    seen_at: float | None  # None: never
    silent_for: float  # seconds of silence counted since then
    silent_since: float | None  # when it was last seen; None: not reported as lost
    heard: int = 0  # the number of times it was seen


class Hosts:
    """The hosts. Times are UTC seconds; every method raises `StoreUnavailable`.

    Several rows are always written in the order of their names, so that processes can't deadlock.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, names: Iterable[Hostname], now: float) -> list[Hostname]:
        """Store which hosts are registered; return those that were removed and are back.

        These start without records to publish and without a silence.
        """
        names = sorted(names)
        rows = [{"host": name.text, "registered_at": now} for name in names]
        insert = self._database.insert(hosts)
        anew = {
            "registered_at": insert.excluded.registered_at,
            "silent_for": 0,
            "silent_since": None,
        }
        upsert = insert.on_conflict_do_update(
            index_elements=[hosts.c.host], set_=anew, where=sa.not_(is_listed(now))
        )
        is_mine = hosts.c.host.in_([name.text for name in names])
        ends = hosts.c.unregistered_at
        with self._database.write() as connection:
            unlisted = sa.select(hosts.c.host).where(sa.not_(is_listed(now)))
            again = {Hostname(row.host) for row in connection.execute(unlisted)}.intersection(names)
            _drop_records(connection, again)
            gone = sa.and_(sa.not_(is_mine), ends.is_(None))
            connection.execute(hosts.update().where(gone).values(unregistered_at=now))
            if rows:
                connection.execute(upsert, rows)
                back = sa.and_(is_mine, ends.is_not(None))
                connection.execute(hosts.update().where(back).values(unregistered_at=None))
        return sorted(again)

    def keep(self, names: Iterable[Hostname], now: float) -> None:
        """Keep hosts registered that another process has started without.

        Has to be called every few seconds. It only reads while all processes have the same list.
        """
        ends = hosts.c.unregistered_at
        is_kept = ends.between(now + KEPT_SECONDS / 2, now + KEPT_SECONDS)
        ending = sa.select(hosts.c.host).where(ends.is_not(None), sa.not_(is_kept))
        with self._database.read() as connection:
            found = {Hostname(row.host) for row in connection.execute(ending)}
        mine = [{"name": name.text} for name in sorted(found.intersection(names))]
        if mine:
            this = sa.and_(hosts.c.host == sa.bindparam("name"), ends.is_not(None))
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
        insert = self._database.insert(hosts)
        is_newer = sa.or_(
            hosts.c.seen_at.is_(None),
            hosts.c.seen_at < insert.excluded.seen_at,
            hosts.c.seen_at > now + SKEW_SECONDS,
        )
        heard = {
            "seen_at": sa.case((is_newer, insert.excluded.seen_at), else_=hosts.c.seen_at),
            "silent_for": 0,
            "heard": hosts.c.heard + 1,
        }
        statement = insert.on_conflict_do_update(index_elements=[hosts.c.host], set_=heard)
        with self._database.write() as connection:
            connection.execute(statement, rows)

    def registered(self, now: float) -> list[HostActivity]:
        """Return the activity of every registered host."""
        query = sa.select(
            hosts.c.host,
            hosts.c.registered_at,
            hosts.c.seen_at,
            hosts.c.silent_for,
            hosts.c.silent_since,
            hosts.c.heard,
        ).where(is_listed(now))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [HostActivity(Hostname(row.host), *row[1:]) for row in rows]

    def count(self, activities: Iterable[HostActivity]) -> None:
        """Store for how long hosts have been silent, except those seen in the meantime."""
        with self._database.write() as connection:
            for activity in sorted(activities, key=lambda one: one.host):
                connection.execute(_unheard(activity).values(silent_for=activity.silent_for))

    def fall_silent(self, activity: HostActivity, now: float) -> bool:
        """Store that a host fell silent; false if that is known, or the host was seen since."""
        since = activity.seen_at or activity.registered_at
        return self._flip(activity, hosts.c.silent_since.is_(None), since, "lost", now)

    def come_back(self, activity: HostActivity, now: float) -> bool:
        """Store that a host is back; false if that is known."""
        return self._flip(activity, hosts.c.silent_since.is_not(None), None, "back", now)

    def mutes(self) -> dict[Hostname, float]:
        """Return the muted hosts, and until when."""
        query = sa.select(hosts.c.host, hosts.c.muted_until).where(hosts.c.muted_until.is_not(None))
        with self._database.read() as connection:
            return {Hostname(row.host): row.muted_until for row in connection.execute(query)}

    def mute(self, host: Hostname, until: float | None, entry: Entry) -> None:
        """Mute a host until then; `None` unmutes it."""
        insert = self._database.insert(hosts).values(host=host.text, muted_until=until)
        statement = insert.on_conflict_do_update(
            index_elements=[hosts.c.host], set_={"muted_until": until}
        )
        with self._database.write() as connection:
            connection.execute(statement)
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


def _drop_records(connection: Connection, names: Iterable[Hostname]) -> None:
    """Delete the records of hosts and their reported errors; keep their history."""
    rows = [{"name": name.text} for name in sorted(names)]
    for column in (records.c.host, reports.c.subject):
        if rows:
            delete = column.table.delete().where(column == sa.bindparam("name"))
            connection.execute(delete, rows)


def _unheard(activity: HostActivity) -> sa.Update:
    """Return an update of a host that applies only if the host wasn't seen since."""
    return hosts.update().where(
        hosts.c.host == activity.host.text,
        hosts.c.heard == activity.heard,
    )


class Watch:
    """When the last check for silent hosts was: one for all processes an interval."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def watched_until(self) -> float | None:
        """Return the time of the last check; `None` before the first one."""
        query = sa.select(meta.c.value).where(meta.c.key == _WATCHED)
        with self._database.read() as connection:
            value = connection.execute(query).scalar()
        return None if value is None else float(value)

    def watch_until(self, now: float) -> None:
        """Store the time of a check."""
        insert = self._database.insert(meta).values(key=_WATCHED, value=repr(now))
        statement = insert.on_conflict_do_update(
            index_elements=[meta.c.key], set_={"value": insert.excluded.value}
        )
        with self._database.write() as connection:
            connection.execute(statement)


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
        theirs = sa.select(failed_logins).where(failed_logins.c.key.in_(list(numbers)))
        with self._database.write() as connection:
            connection.execute(self._upsert(now, window), rows)
            return {row.key: (row.number, row.since) for row in connection.execute(theirs)}

    def _upsert(self, now: float, window: float) -> sa.Insert:
        insert = self._database.insert(failed_logins)
        new, known = insert.excluded, failed_logins.c
        # A window in the future began before the clock was set back.
        is_over = sa.or_(known.since <= now - window, known.since > now + SKEW_SECONDS)
        upsert: sa.Insert = insert.on_conflict_do_update(
            index_elements=[known.key],
            set_={
                "number": sa.case((is_over, new.number), else_=known.number + new.number),
                "since": sa.case((is_over, new.since), else_=known.since),
            },
        )
        return upsert

    def prune(self, before: float, most: int) -> None:
        """Delete windows that began before a time, and the oldest beyond a number."""
        since = failed_logins.c.since
        newest = sa.select(since).order_by(since.desc()).offset(most).limit(1)
        with self._database.write() as connection:
            connection.execute(failed_logins.delete().where(since < before))
            border = connection.execute(newest).scalar()
            if border is not None:
                connection.execute(failed_logins.delete().where(since <= border))
