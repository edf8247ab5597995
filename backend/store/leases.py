"""Who holds a lease: a name that other processes of the same machine can find dead."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Any, Iterable

import sqlalchemy as sa

from backend.store.database import Database
from backend.store.schema import leases


def new_owner() -> str:
    """Return a name for this process, or for one piece of its work; no two are alike."""
    return f"{_place()} {os.getpid()} {uuid.uuid4().hex}"


def is_dead(owner: str) -> bool:
    """Whether the process of a holder is known to be gone; one elsewhere never is."""
    place, _, rest = owner.partition(" ")
    pid = rest.partition(" ")[0]
    if place != _place() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _place() -> str:
    """Where a process id means the same process: one boot of one machine, one PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return uuid.uuid4().hex  # nobody can tell, so nobody is found dead
    return f"{boot}/{namespace}"


def whereabouts(owner: str) -> str:
    """Say in words for the operator where a holder is."""
    place, _, rest = owner.partition(" ")
    pid = rest.partition(" ")[0]
    where = "on this machine" if place == _place() else "on another machine, or in a container"
    return f"process {pid} {where}" if pid.isdigit() else "an unknown process"


# Seconds by which the clocks of several machines may differ.
_SKEW = 60.0


class Leases:
    """The leases. Times are UTC seconds; every method raises `StoreUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._taking = _taking(database.insert(leases))

    def acquire(self, name: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew a lease; fail while somebody else holds it.

        A holder that was killed loses it at once when that can be told, else when it runs out. One
        that would last longer than anybody may ask for was taken before the clock was set back.
        """
        if self._take(name, owner, now, seconds, instead_of=owner):
            return True
        other = self._owner(name)
        return is_dead(other) and self._take(name, owner, now, seconds, instead_of=other)

    def is_first(self, name: str, now: float, seconds: float) -> bool:
        """Whether nobody in any process has asked this for so long: true once."""
        return self._take(name, uuid.uuid4().hex, now, seconds, instead_of="")

    def hold(self, name: str, owner: str, now: float, seconds: float) -> bool:
        """Take or keep a lease that is held for long; write only when it has to be renewed."""
        query = sa.select(leases.c.owner, leases.c.until).where(leases.c.name == name)
        with self._database.read() as connection:
            found = connection.execute(query).one_or_none()
        if found is not None and now <= found.until <= now + seconds + _SKEW:
            if found.owner != owner and not is_dead(found.owner):
                return False
            if found.owner == owner and found.until - now > seconds / 2:
                return True
        return self.acquire(name, owner, now, seconds)

    def _take(self, name: str, owner: str, now: float, seconds: float, instead_of: str) -> bool:
        until = now + seconds
        values = {"name": name, "owner": owner, "until": until}
        bounds = {"instead_of": instead_of, "now": now, "latest": until + _SKEW}
        with self._database.write() as connection:
            done = connection.execute(
                self._taking, {**values, **bounds}, execution_options={"preserve_rowcount": True}
            )
            return bool(done.rowcount == 1)

    def _owner(self, name: str) -> str:
        query = sa.select(leases.c.owner).where(leases.c.name == name)
        with self._database.read() as connection:
            return str(connection.execute(query).scalar() or "")

    def renew(self, owners: Iterable[str], now: float, seconds: float) -> None:
        """Prolong every lease of some holders."""
        theirs = leases.c.owner.in_(list(owners))
        with self._database.write() as connection:
            connection.execute(leases.update().where(theirs).values(until=now + seconds))

    def release(self, name: str, owner: str) -> None:
        """Give a lease back; nothing happens when it isn't the holder's any more."""
        mine = sa.and_(leases.c.name == name, leases.c.owner == owner)
        with self._database.write() as connection:
            connection.execute(leases.delete().where(mine))


def _taking(insert: Any) -> Any:  # noqa: ANN401
    """Return the statement, made once: making it takes longer than running it."""
    values = insert.values(
        {
            column: sa.bindparam(column.name)
            for column in (leases.c.name, leases.c.owner, leases.c.until)
        }
    )
    return values.on_conflict_do_update(
        index_elements=[leases.c.name],
        set_={"owner": values.excluded.owner, "until": values.excluded.until},
        where=sa.or_(
            leases.c.owner == sa.bindparam("instead_of"),
            leases.c.until < sa.bindparam("now"),
            leases.c.until > sa.bindparam("latest"),
        ),
    )


class LeaderElection:
    """A lease that is held for as long as one process of all does its work."""

    def __init__(self, leases: Leases, name: str, seconds: float) -> None:
        self._leases = leases
        self._name = name
        self._seconds = seconds
        self._owner = new_owner()
        self._is_held = False

    def keep(self, now: float) -> bool:
        """Take it, or keep it; whether it is ours until `seconds` from now, or half of that."""
        self._is_held = False  # should the store not answer
        self._is_held = self._leases.hold(self._name, self._owner, now, self._seconds)
        return self._is_held

    def give_up(self) -> None:
        """Let another process take over at once."""
        if self._is_held:
            self._leases.release(self._name, self._owner)
