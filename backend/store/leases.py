"""Jobs that only one process may do at a time, and reports that are made only once."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import uuid
from pathlib import Path
from typing import Callable, Iterable, NamedTuple, TypeVar

import sqlalchemy as sa

from backend.errors import HostBusy, StoreUnavailable
from backend.model import Deadline, Hostname
from backend.rate import DAY
from backend.store.database import Database, excluded
from backend.store.schema import SKEW_SECONDS, leases, reports, run

_POLL_SECONDS = 0.05
SAY_AGAIN = DAY  # a warning whose cause lasts is repeated after this

_RELEASE = leases.delete().where(
    leases.c.name == sa.bindparam("a_name"), leases.c.owner == sa.bindparam("an_owner")
)

T = TypeVar("T")


class Lease(NamedTuple):
    """The owner of a job, and until when (UTC seconds)."""

    name: str
    owner: str
    until: float


def new_owner() -> str:
    """Return a name for this process, or for one piece of its work; no two are alike."""
    return f"{_place(os.getpid())} {os.getpid()} {uuid.uuid4().hex}"


def is_dead(owner: str) -> bool:
    """Whether the process of an owner has ended; on other machines that isn't known."""
    is_here, pid = _process(owner)
    if not is_here or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@functools.lru_cache(maxsize=1)
def _place(_pid: int) -> str:
    """Identify where process ids are unique: one boot of a machine, and a PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return uuid.uuid4().hex  # then no owner is recognised as dead
    return f"{boot}/{namespace}"


def whereabouts(owner: str) -> str:
    """Describe the process of an owner for the operator."""
    is_here, pid = _process(owner)
    where = "on this machine" if is_here else "on another machine, or in a container"
    return f"process {pid} {where}" if pid.isdigit() else "an unknown process"


def _process(owner: str) -> tuple[bool, str]:
    """Return whether an owner runs on this machine, and its process id."""
    place, _, rest = owner.partition(" ")
    return place == _place(os.getpid()), rest.partition(" ")[0]


class Leases:
    """Exclusive work. Times are UTC seconds; every method raises `StoreUnavailable`.

    Leases aren't written durably, because a power failure also ends the work of their owners. In a
    transaction of the same thread, every change is a part of it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Built once: building a statement takes longer than running it.
        new = excluded(leases)
        is_free = sa.or_(leases.c.owner == sa.bindparam("instead_of"), _has_ended(leases.c.until))
        take = database.upsert(leases, {"owner": new.owner, "until": new.until}, is_free)
        self._take = take.values({column: sa.bindparam(column.name) for column in leases.c})
        until = {"until": excluded(reports).until}
        report = database.upsert(reports, until, _has_ended(reports.c.until))
        self._report = report.values({column: sa.bindparam(column.name) for column in reports.c})

    def acquire(self, name: str, owner: str, now: float, seconds: float) -> bool:
        """Take or renew a lease; fail while another owner has it.

        If the owner's process has ended on this machine, the lease is free at once. A lease that
        ends later than it could was taken before the clock was set back, and is free.
        """
        values = {"name": name, "owner": owner, "until": now + seconds, "now": now}
        values["latest"] = now + seconds + SKEW_SECONDS
        with self._database.write(durable=False) as connection:
            if run(connection, self._take, {**values, "instead_of": owner}).rowcount == 1:
                return True
            query = sa.select(leases.c.owner).where(leases.c.name == name)
            other = str(connection.execute(query).scalar() or "")
            if not is_dead(other):
                return False
            return bool(run(connection, self._take, {**values, "instead_of": other}).rowcount == 1)

    def once(self, subject: str, key: str, now: float, seconds: float = SAY_AGAIN) -> bool:
        """Whether this is the first such call in any process within `seconds`."""
        values = {"subject": subject, "key": key, "until": now + seconds, "now": now}
        values["latest"] = now + seconds + SKEW_SECONDS
        with self._database.write() as connection:
            return bool(run(connection, self._report, values).rowcount == 1)

    def first(
        self, subject: str, seconds: float, *, without_store: bool = False
    ) -> Callable[[str], bool]:
        """Return a function that is true for the first process that asks for a key in `seconds`.

        While the store is unavailable, it returns `without_store`.
        """

        def is_first(key: str) -> bool:
            with contextlib.suppress(StoreUnavailable):
                return self.once(subject, key, time.time(), seconds)
            return without_store

        return is_first

    def prune(self, now: float) -> None:
        """Delete the reports whose time is over."""
        with self._database.write() as connection:
            connection.execute(reports.delete().where(reports.c.until < now))

    def find(self, names: Iterable[str]) -> list[Lease]:
        """Return the leases of these names, current or not."""
        query = sa.select(leases).where(leases.c.name.in_(list(names))).order_by(leases.c.name)
        with self._database.read() as connection:
            return [Lease(*row) for row in connection.execute(query).all()]

    def renew(self, owners: Iterable[str], now: float, seconds: float) -> None:
        """Extend every lease of some owners."""
        theirs = leases.c.owner.in_(list(owners))
        with self._database.write(durable=False) as connection:
            connection.execute(leases.update().where(theirs).values(until=now + seconds))

    def release(self, name: str, owner: str) -> None:
        """Release a lease; without effect if it already belongs to another owner."""
        with self._database.write(durable=False) as connection:
            run(connection, _RELEASE, {"a_name": name, "an_owner": owner})


def _has_ended(until: sa.Column[float]) -> sa.ColumnElement[bool]:
    return sa.or_(until < sa.bindparam("now"), until > sa.bindparam("latest"))


def wait_for_host(host: Hostname, attempt: Callable[[], T | None], deadline: Deadline) -> T:
    """Repeat an attempt to lock a host until it returns a value.

    Raises:
        HostBusy: another update of the host doesn't end before the deadline.

    """
    while True:
        found = attempt()
        if found is not None:
            return found
        if deadline.has_passed:
            raise HostBusy(f"Another update of {host} isn't finished.")
        time.sleep(_POLL_SECONDS)


class LeaderElection:
    """Makes one process the leader of a job, while it renews the lease of that name."""

    def __init__(self, leases: Leases, name: str, seconds: float) -> None:
        self._leases = leases
        self._name = name
        self._seconds = seconds
        self._owner = new_owner()
        self._is_leader = False

    def keep(self, now: float) -> bool:
        """Take or renew the lease; true if it is ours for at least half of `seconds`.

        Writes only when the lease has to be taken or renewed.

        Raises:
            StoreUnavailable: the leader isn't known.

        """
        self._is_leader = False  # if the store is unavailable
        for lease in self._leases.find([self._name]):
            rest = lease.until - now
            is_ours = lease.owner == self._owner
            is_current = 0 <= rest <= self._seconds + SKEW_SECONDS
            if is_current and not is_ours and not is_dead(lease.owner):
                return False
            if is_current and is_ours and rest > self._seconds / 2:
                self._is_leader = True
                return True
        self._is_leader = self._leases.acquire(self._name, self._owner, now, self._seconds)
        return self._is_leader

    def resign(self) -> None:
        """Let another process take over at once."""
        if self._is_leader:
            self._leases.release(self._name, self._owner)
            self._is_leader = False
