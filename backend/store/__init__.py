"""Everything the service stores, shared by all processes and machines."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from shlex import quote
from typing import Iterator

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store import schema
from backend.store.challenges import Challenges
from backend.store.conditions import Conditions
from backend.store.database import Database, connect, excluded, reason
from backend.store.history import History
from backend.store.hosts import FailedLoginCounts, Hosts
from backend.store.leases import Leases
from backend.store.projects import Projects
from backend.store.pushes import Pushes
from backend.store.records import Records
from backend.store.registrations import Registrations

# To find damage, these read all rows of the small tables, and the newest one of the history.
_READS = [
    sa.select(sa.func.max(column))
    for column in (
        schema.records.c.comment,
        schema.hosts.c.seen_at,
        schema.leases.c.until,
        schema.reports.c.key,
        schema.pushes.c.at,
        schema.deliveries.c.at,
        schema.challenges.c.value,
    )
] + [sa.select(schema.history).order_by(schema.history.c.id.desc()).limit(1)]
# Each update finds its rows by these indexes.
_READS += [
    sa.select(sa.func.count()).where(table.c.host > "") for table in (schema.records, schema.hosts)
]
# These change no row.
_WRITES = [
    table.update().where(column.is_(None)).values({column: column})
    for table, column in (
        (schema.records, schema.records.c.host),
        (schema.hosts, schema.hosts.c.host),
        (schema.leases, schema.leases.c.name),
        (schema.reports, schema.reports.c.subject),
        (schema.pushes, schema.pushes.c.cause),
        (schema.deliveries, schema.deliveries.c.channel),
        (schema.history, schema.history.c.id),
        (schema.challenges, schema.challenges.c.name),
    )
]


def prepare_store(url: str) -> None:
    """Create the store, or bring an older one up to date, in one transaction.

    Raises:
        StoreUnusable: the store can't be opened, or can't be brought up to date.

    """
    with _connection(url) as connection:
        schema.migrate(connection)


@contextlib.contextmanager
def opened(url: str) -> Iterator[Store]:
    """Open an existing store of this version, for a short task.

    Raises:
        StoreUnusable: it is missing, has another version, or can't be opened.

    """
    file = file_of(url)
    with contextlib.suppress(OSError):  # such as no permission: opening the store reports it
        if file is not None and not file.exists():
            problem = f"STATE_URL: there is no store at {file} yet"
            raise StoreUnusable(problem, hint="start the service once.")
    with _connection(url) as connection:
        found = schema.version_of(connection)
    if found != schema.VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {schema.VERSION}",
            hint="start the service once to migrate an older store.",
        )
    with contextlib.closing(Store(url, pool_size=1)) as store:
        yield store


def file_of(url: str) -> Path | None:
    """Return the file of an SQLite store; raise `StoreUnusable` for a URL that can't be used."""
    engine = connect(url, pool_size=1)
    return Path(engine.url.database or "") if engine.dialect.name == "sqlite" else None


@contextlib.contextmanager
def _connection(url: str) -> Iterator[Connection]:
    engine = connect(url, pool_size=1)
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        words = reason(error, engine.url)
        problem = f"STATE_URL: the store can't be opened ({words})"
        hint = "check that the database answers, and that its user may create and write tables."
        if engine.dialect.name == "sqlite":
            file = Path(engine.url.database or "").absolute()
            problem = f"STATE_URL: uid {os.getuid()} can't use the store {file} ({words})"
            hint = file_hint(file)
        raise StoreUnusable(problem, hint=hint) from None
    finally:
        engine.dispose()


def file_hint(file: Path) -> str:
    """Return a hint that lets this user create, read and write the file of a store."""
    file = file.absolute()
    uid, folder = os.getuid(), file.parent
    closed = next((one for one in reversed(file.parents) if not os.access(one, os.X_OK)), folder)
    if closed != folder and os.access(closed, os.F_OK):
        return f"this user may not enter {closed}: name a file in another folder."
    if not (os.access(folder, os.F_OK) and folder.is_dir()):
        return f"as root, create its folder with `install -d -o {uid} {quote(str(folder))}`."
    if os.path.isdir(file):  # noqa: PTH112 - Path.is_dir may raise PermissionError
        return f"it is a folder: name a file in it, as in sqlite:///{file}/hetzner-dyndns.db."
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is read-only: mount it writable, in Docker without `:ro`."
    needed = {str(folder): os.W_OK | os.X_OK}
    needed.update((f"{file}{end}", os.R_OK | os.W_OK) for end in ("", "-wal", "-shm"))
    denied = [one for one in needed if os.path.lexists(one) and not os.access(one, needed[one])]
    if denied:
        paths = " ".join(map(quote, denied))
        return f"as root, type `chown {uid} {paths} && chmod u+rwX {paths}`, in Docker on the host."
    return "check that the disk has room (`df`), and that the file is an SQLite database."


class Store:
    """All tables behind one connection pool. Opens nothing before it is used."""

    def __init__(self, url: str, pool_size: int = 5) -> None:
        self._database = Database(connect(url, pool_size, create=False))
        # Makes one transaction of all that a thread writes in its block.
        self.transaction = self._database.write
        self.hosts = Hosts(self._database)
        self.conditions = Conditions(self._database)
        self.leases = Leases(self._database)
        self.records = Records(self._database, self.leases)
        self.history = History(self._database, self.leases)
        self.failed_logins = FailedLoginCounts(self._database)
        self.projects = Projects(self._database)
        self.pushes = Pushes(self._database)
        self.registrations = Registrations(self._database, self.leases)
        self.challenges = Challenges(self._database)

    def ping(self) -> None:
        """Make sure that records can be read; raise `StoreUnavailable` otherwise."""
        with self._database.read() as connection:
            connection.execute(sa.select(schema.records).limit(1)).all()

    def close(self) -> None:
        self._database.close()

    def signing_key(self) -> bytes:
        """Return the key that all processes sign with."""
        with self._database.read() as connection:
            return bytes.fromhex(schema.meta_value(connection, schema.SIGNING_KEY) or "")

    def probe(self, *, mark: bool = False) -> None:
        """Read and write everything that an update needs.

        With `mark`, a row changes: otherwise SQLite doesn't notice a full disk. Raises
        `StoreUnavailable` if anything fails.
        """
        with self._database.read() as connection:
            for read in _READS:
                connection.execute(read).all()
        with self._database.write() as connection:
            for write in _WRITES:
                connection.execute(write)
            if mark:
                new = {"value": excluded(schema.meta).value}
                probed = self._database.upsert(schema.meta, new)
                connection.execute(probed, {"key": "probed", "value": uuid.uuid4().hex})
