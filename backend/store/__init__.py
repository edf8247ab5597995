"""Everything the service stores, shared by all processes and machines."""

from __future__ import annotations

import os
import secrets
import uuid
from pathlib import Path
from shlex import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from backend.errors import StoreUnusable
from backend.store import schema
from backend.store.database import Database, connect, reason
from backend.store.history import History
from backend.store.hosts import FailedLoginCounts, HostActivity, Hosts, Watch
from backend.store.leases import Leases
from backend.store.projects import Projects
from backend.store.record import Record, State
from backend.store.records import (
    Accepted,
    ChangeNote,
    Delayed,
    Failed,
    Notice,
    Records,
    Result,
)
from backend.store.schema import VERSION, migrate, version_of

__all__ = [
    "Accepted",
    "ChangeNote",
    "Delayed",
    "Failed",
    "HostActivity",
    "Notice",
    "Record",
    "Result",
    "State",
    "Store",
    "describe_store",
    "file_hint",
    "prepare_store",
    "require_store",
]

_SIGNING_KEY = "signing_key"
_KEY = sa.select(schema.meta.c.value).where(schema.meta.c.key == _SIGNING_KEY)
# These read every row of the small tables and the newest one of the history: damage is found.
_READS = [
    sa.select(sa.func.max(column))
    for column in (
        schema.records.c.comment,
        schema.hosts.c.seen_at,
        schema.leases.c.until,
        schema.reports.c.key,
    )
] + [sa.select(schema.history).order_by(schema.history.c.id.desc()).limit(1)]
# These change no row.
_WRITES = [
    table.update().where(column.is_(None)).values({column: column})
    for table, column in (
        (schema.records, schema.records.c.host),
        (schema.hosts, schema.hosts.c.host),
        (schema.leases, schema.leases.c.name),
        (schema.reports, schema.reports.c.subject),
        (schema.history, schema.history.c.id),
    )
]


def prepare_store(url: str) -> None:
    """Create the store, or bring an older one up to date, in one transaction.

    Raises:
        StoreUnusable: the store can't be opened, or can't be brought up to date.

    """
    engine = connect(url, pool_size=1)
    try:
        with engine.execution_options(write=True).begin() as connection:
            migrate(connection)
    except SQLAlchemyError as error:
        raise _unusable(error, engine.url) from None
    finally:
        engine.dispose()


def describe_store(url: str) -> tuple[str, Path | None]:
    """Return the kind of database, and its file if it is one; raise `StoreUnusable` if neither."""
    engine = connect(url, pool_size=1)
    is_file = engine.dialect.name == "sqlite"
    return engine.dialect.name, Path(engine.url.database or "") if is_file else None


def require_store(url: str) -> None:
    """Make sure that the store exists in this version, and change nothing.

    Raises:
        StoreUnusable: it is missing, has another version, or can't be opened.

    """
    _, file = describe_store(url)
    if file is not None:
        _require_file(file)
    engine = connect(url, pool_size=1)
    try:
        with engine.connect() as connection:
            found = version_of(connection)
    except SQLAlchemyError as error:
        raise _unusable(error, engine.url) from None
    finally:
        engine.dispose()
    if found != VERSION:
        raise StoreUnusable(
            f"STATE_URL: the store has version {found}, this program needs {VERSION}",
            hint="start the service once, which brings an older one up to date.",
        )


def _unusable(error: SQLAlchemyError, url: sa.URL) -> StoreUnusable:
    words = reason(error, url)
    if url.get_backend_name() != "sqlite":
        hint = "check that the database answers, and that its user may create and write tables."
        return StoreUnusable(f"STATE_URL: the store can't be opened ({words})", hint=hint)
    file = Path(url.database or "").absolute()
    problem = f"STATE_URL: uid {os.getuid()} can't use the store {file} ({words})"
    return StoreUnusable(problem, hint=file_hint(file))


def file_hint(file: Path) -> str:
    """Return what to type so that this user can create, read and write the file of a store."""
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


def _require_file(file: Path) -> None:
    try:
        file.stat()
    except FileNotFoundError:
        raise StoreUnusable(
            f"STATE_URL: there is no store at {file} yet", hint="start the service once."
        ) from None
    except OSError:
        return  # for example no permission: opening the store reports it


class Store:
    """All tables behind one connection pool. Opens nothing before it is used."""

    def __init__(self, url: str, pool_size: int = 5) -> None:
        self._database = Database(connect(url, pool_size, create=False))
        self.hosts = Hosts(self._database)
        self.watch = Watch(self._database)
        self.leases = Leases(self._database)
        self.records = Records(self._database, self.leases)
        self.history = History(self._database, self.leases)
        self.failed_logins = FailedLoginCounts(self._database)
        self.projects = Projects(self._database)

    def ping(self) -> None:
        """Make sure that records can be read; raise `StoreUnavailable` otherwise."""
        with self._database.read() as connection:
            connection.execute(sa.select(schema.records).limit(1)).all()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def signing_key(self) -> bytes:
        """Return the key that all processes sign with; the first call generates it."""
        with self._database.read() as connection:
            found = connection.execute(_KEY).scalar()
        if found is None:
            new = self._database.insert(schema.meta).values(
                key=_SIGNING_KEY, value=secrets.token_hex(32)
            )
            with self._database.write() as connection:
                connection.execute(new.on_conflict_do_nothing())
                found = connection.execute(_KEY).scalar()
        return bytes.fromhex(found or "")

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
                probed = self._database.insert(schema.meta).values(
                    key="probed", value=uuid.uuid4().hex
                )
                changed = {"value": probed.excluded.value}
                connection.execute(
                    probed.on_conflict_do_update(index_elements=[schema.meta.c.key], set_=changed)
                )
