"""The hosts that the operator adds while the service runs; the own settings and keys of hosts."""

from __future__ import annotations

import contextlib
import ipaddress
import uuid
from typing import Any, Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from backend.errors import BadRequest, not_registered
from backend.model import Hostname, OwnSettings, Requester
from backend.store.database import Database, excluded
from backend.store.hosts import DELETE, KEEP, State, first_generation, is_listed
from backend.store.leases import Leases, new_owner
from backend.store.schema import (
    HOSTS_CHANGED,
    SKEW_SECONDS,
    Entry,
    add_entry,
    challenges,
    history,
    hosts,
    keys,
    meta,
    meta_value,
    pushes,
    records,
    reports,
)

# All processes know after a few seconds that a host was removed. Until then, one of them may still
# accept an update of the host.
_SECONDS_UNTIL_KNOWN = 15.0
_NO_UPDATE = {
    "state": State.PENDING.value,
    "attempts": 0,
    "error": "",
    "hint": "",
    "checked_at": 0.0,
    "verify_after": 0.0,
}


_OWN = (
    *(hosts.c.lost_after, hosts.c.ttl, hosts.c.interface_id, hosts.c.certificates),
    hosts.c.note,
)


_ANEW = {
    "seen_at": None,
    "muted_until": None,
    **{column.name: None for column in _OWN},
    "note": "",
}


class HostExists(BadRequest):
    """The host is registered already, or is still being removed."""


class Registrations:
    """Registers hosts and stores keys. Times are UTC seconds.

    Every method raises `StoreUnavailable`.
    """

    def __init__(self, database: Database, leases: Leases) -> None:
        self._database = database
        self._leases = leases
        new = excluded(keys).key
        self._set_key = database.upsert(keys, {"key": new})
        is_void = keys.c.key == ""
        self._add_key = database.upsert(keys, {"key": sa.case((is_void, new), else_=keys.c.key)})
        self._mark = database.upsert(meta, {"value": excluded(meta).value})

    def version(self) -> str:
        """Return a text that differs after each change by a method of this class."""
        with self._database.read() as connection:
            return meta_value(connection, HOSTS_CHANGED) or ""

    def read(self, now: float) -> tuple[set[Hostname], dict[Hostname, OwnSettings]]:
        """Return the hosts that the operator added, and the own settings of all hosts."""
        has_own = sa.or_(*(column.is_not(None) for column in _OWN[:-1]), hosts.c.note != "")
        query = sa.select(hosts.c.host, hosts.c.is_added, *_OWN)
        query = query.where(is_listed(now), sa.or_(hosts.c.is_added, has_own))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        found = {Hostname(row.host): row for row in rows}
        added = {host for host, row in found.items() if row.is_added}
        own = {
            host: OwnSettings(
                row.lost_after,
                row.ttl,
                None if row.interface_id is None else ipaddress.IPv6Address(row.interface_id),
                row.note,
                row.certificates,
            )
            for host, row in found.items()
        }
        return added, own

    def add(self, names: Iterable[Hostname], operator: Requester, now: float) -> None:
        """Register all of these hosts, or none of them.

        They start without records, reported errors and silence, and keep an earlier history.

        Raises:
            HostExists: one of them is registered already.

        """
        names = sorted(names)
        with self._change() as connection:
            _require_free(connection, names, now)
            for name in names:
                self._insert(connection, {**_ANEW, "host": name.text, "registered_at": now})
                add_entry(connection, _entry(name, "added", "the host was added", operator, now))

    def change(
        self, host: Hostname, values: Mapping[str, object], operator: Requester, now: float
    ) -> None:
        """Change some of the own settings of a host, by the names of `OwnSettings`.

        Raises:
            HostNotAllowed: the host isn't registered any more.

        """
        part = values.get("interface_id")
        stored = {**values, **({"interface_id": str(part)} if part is not None else {})}
        with self._change() as connection:
            mine = hosts.update().where(hosts.c.host == host.text, is_listed(now))
            if connection.execute(mine.values(**stored)).rowcount != 1:
                raise not_registered(host)
            if values.get("certificates") is False:
                connection.execute(_due_challenges(host, now))
            # The next update compares the record at Hetzner, whose TTL may be another one.
            stale = records.update().where(records.c.host == host.text)
            connection.execute(stale.values(checked_at=0.0, verify_after=0.0))
            add_entry(
                connection, _entry(host, "changed", "its settings were changed", operator, now)
            )

    def rename(self, old: Hostname, new: Hostname, operator: Requester, now: float) -> bool | None:
        """Register an added host under another name, with its settings, key and history.

        The records of the new name are published, and then those of the old one are deleted.
        Returns `None` while the host is being updated.

        Raises:
            HostExists: the new name is registered already.
            HostNotAllowed: the host isn't registered any more, or comes from REGISTERED_FQDNS.

        """
        this = hosts.c.host == old.text
        desired = sa.and_(records.c.host == old.text, records.c.desired.is_not(None))
        lock, owner = f"host {old.text}", new_owner()
        with self._change() as connection:
            _require_free(connection, [new], now)
            if not self._leases.acquire(lock, owner, now, 1):
                return None
            added = sa.select(hosts).where(this, hosts.c.is_added, is_listed(now))
            row = connection.execute(added).mappings().first()
            if row is None:
                raise not_registered(old)
            self._insert(connection, {**row, "host": new.text})
            moved = connection.execute(sa.select(records).where(desired)).mappings().all()
            own = {
                "generation": first_generation(now),
                "published": None,
                "action": None,
                "accepted_at": None,
            }
            for record in moved:
                start = {**_NO_UPDATE, **own, "host": new.text, "retry_at": now}
                connection.execute(records.insert(), {**record, **start})
            self._leave(connection, old, DELETE, operator, now)
            all_names = sa.or_(this, hosts.c.successor == old.text)
            connection.execute(hosts.update().where(all_names).values(successor=new.text))
            of_old = history.c.host == old.text
            connection.execute(history.update().where(of_old).values(host=new.text))
            key = connection.execute(sa.select(keys.c.key).where(keys.c.host == old.text)).scalar()
            if key:
                connection.execute(self._set_key, {"host": new.text, "key": key})
            connection.execute(_void(old))
            why = f"the host was renamed from {old}"
            add_entry(connection, _entry(new, "renamed", why, operator, now))
            self._leases.release(lock, owner)
        return True

    def remove(
        self, host: Hostname, *, delete_records: bool, operator: Requester, now: float
    ) -> bool | None:
        """End the registration of an added host. Returns `None` while it is being updated.

        With `delete_records`, the reconciler deletes its records at Hetzner.

        Raises:
            HostNotAllowed: the host isn't registered any more, or comes from REGISTERED_FQDNS.

        """
        lock, owner = f"host {host.text}", new_owner()
        with self._change() as connection:
            if not self._leases.acquire(lock, owner, now, 1):
                return None
            is_mine = sa.and_(hosts.c.is_added, is_listed(now))
            removable = sa.or_(is_mine, hosts.c.leaving.is_not(None))
            this = sa.select(hosts.c.host).where(hosts.c.host == host.text, removable)
            if connection.execute(this).first() is None:
                raise not_registered(host)
            self._leave(connection, host, DELETE if delete_records else KEEP, operator, now)
            connection.execute(_void(host))
            what = "its records are deleted" if delete_records else "its records were kept"
            why = f"the host was removed, and {what}"
            add_entry(connection, _entry(host, "removed", why, operator, now))
            self._leases.release(lock, owner)
        return True

    def leaving(self) -> dict[Hostname, Hostname | None]:
        """Return the hosts whose removal isn't finished; for a renamed one, its new name."""
        query = sa.select(hosts.c.host, hosts.c.successor).where(hosts.c.leaving.is_not(None))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(hosts.c.host)).all()
        return {Hostname(old): None if new is None else Hostname(new) for old, new in rows}

    def finish_removal(self, host: Hostname, now: float) -> bool:
        """Delete a removed host if its records are deleted or kept; return whether it was.

        An update that another process accepted just after the removal is undone.
        """
        is_mine = records.c.host == host.text
        is_deleted = sa.and_(records.c.desired.is_(None), records.c.state == State.PUBLISHED.value)
        this = sa.and_(hosts.c.host == host.text, hosts.c.leaving.is_not(None))
        since = hosts.c.unregistered_at  # in the future if the clock was set back
        is_known = sa.or_(since <= now - _SECONDS_UNTIL_KNOWN, since > now + SKEW_SECONDS)
        with self._database.write() as connection:
            leaving = connection.execute(sa.select(hosts.c.leaving).where(this)).scalar()
            if leaving == DELETE:
                undo = {**_NO_UPDATE, "desired": None, "generation": records.c.generation + 1}
                late = sa.and_(is_mine, records.c.desired.is_not(None))
                connection.execute(records.update().where(late).values(retry_at=now, **undo))
                rest = sa.select(records.c.host).where(is_mine, sa.not_(is_deleted)).limit(1)
                if connection.execute(rest).first() is not None:
                    return False
            if connection.execute(hosts.delete().where(this, is_known)).rowcount != 1:
                return False
            for column in (records.c.host, reports.c.subject):
                connection.execute(column.table.delete().where(column == host.text))
        return True

    def keys(self) -> dict[Hostname, str]:
        """Return all stored keys; an empty one is that of a removed host."""
        with self._database.read() as connection:
            return {Hostname(row.host): row.key for row in connection.execute(sa.select(keys))}

    def set_keys(self, new: Mapping[Hostname, str], *, replace_known: bool = False) -> None:
        """Store keys; those of hosts that have one already only with `replace_known`."""
        statement = self._set_key if replace_known else self._add_key
        rows = [{"host": host.text, "key": key} for host, key in sorted(new.items())]
        if rows:
            with self._change() as connection:
                connection.execute(statement, rows)

    def remove_key(self, host: Hostname, key: str) -> None:
        """Make a stored key void, if it is this one."""
        with self._change() as connection:
            connection.execute(_void(host).where(keys.c.key == key))

    @contextlib.contextmanager
    def _change(self) -> Iterator[Connection]:
        """Open a transaction that changes hosts or keys: only one at a time, also on PostgreSQL."""
        with self._database.write() as connection:
            connection.execute(self._mark, {"key": HOSTS_CHANGED, "value": uuid.uuid4().hex})
            yield connection

    def _insert(self, connection: Connection, row: Mapping[str, Any]) -> None:
        """Insert an added host, or replace the row of a host that was registered before."""
        new = {**row, "unregistered_at": None, "is_added": True, "leaving": None, "successor": None}
        new = {"silent_for": 0, "silent_since": None, **new}
        for column in (records.c.host, reports.c.subject):
            connection.execute(column.table.delete().where(column == row["host"]))
        changes = {name: value for name, value in new.items() if name != "host"}
        connection.execute(self._database.upsert(hosts, changes), new)

    def _leave(
        self, connection: Connection, host: Hostname, leaving: str, by: Requester, now: float
    ) -> None:
        is_mine = records.c.host == host.text
        if leaving == DELETE:
            undo = {**_NO_UPDATE, "desired": None, "generation": records.c.generation + 1}
            undo.update(source=by.source, protocol=by.protocol, retry_at=now)
            connection.execute(records.update().where(is_mine).values(**undo))
        else:
            connection.execute(records.delete().where(is_mine))
        for column in (reports.c.subject, pushes.c.host):
            connection.execute(column.table.delete().where(column == host.text))
        connection.execute(_due_challenges(host, now))
        gone = {"unregistered_at": now, "is_added": False, "leaving": leaving}
        connection.execute(hosts.update().where(hosts.c.host == host.text).values(**gone))


def _require_free(connection: Connection, names: Sequence[Hostname], now: float) -> None:
    for name in names:
        this = sa.select(hosts.c.leaving).where(hosts.c.host == name.text)
        if connection.execute(this.where(is_listed(now))).first() is not None:
            raise HostExists(f"{name} is registered already.")


def _entry(host: Hostname, event: str, why: str, by: Requester, now: float) -> Entry:
    return Entry(now, host.text, "", event, by.source, by.protocol, None, None, why)


def _due_challenges(host: Hostname, now: float) -> sa.Update:
    """Return a statement that makes the removal of all certificate challenges of a host due."""
    return challenges.update().where(challenges.c.host == host.text).values(remove_at=now)


def _void(host: Hostname) -> sa.Update:
    """Return a statement that makes a key void. An import doesn't bring it back."""
    return keys.update().where(keys.c.host == host.text).values(key="")
