"""The connection to the database: STATE_URL as an engine, reading, writing, and their failures."""

from __future__ import annotations

import contextlib
import enum
import logging
import math
import os
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any, Iterator, Mapping
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError as PoolTimeout,
)

from backend.errors import StoreBusy, StoreUnavailable, StoreUnusable
from backend.store.postgresql import Reader, tune_postgresql

logger = logging.getLogger(__name__)

# If a call fails and has taken `_SLOW_SECONDS`, all calls fail at once for `_CLOSED_SECONDS`.
_SLOW_SECONDS = 1.0
_CLOSED_SECONDS = 2.0
_REPORT_SECONDS = 10.0  # between two lines of the log about failures
_CLOSED = "The store didn't answer a moment ago."
_BUGS = (ProgrammingError, IntegrityError, DataError)
# PostgreSQL reports these as ProgrammingError: a missing table, column or schema, or no permission.
_DAMAGES = ("42P01", "42703", "3F000", "42501")
# Query canceled by its time limit, lock not available, deadlock.
_LOCKS = ("57014", "55P03", "40P01")

# SQLAlchemy ends the login at the first `@` after the password.
_LOGIN = re.compile(r"[^:/]*(?::[^@]*)?@")


def require_escaped(url: str) -> None:
    """Refuse a URL whose password contains `@`: the rest of it would become the host.

    Raises:
        StoreUnusable: there is another `@` after the login.

    """
    scheme, _, rest = url.partition("://")
    if "@" in _LOGIN.sub("", rest, count=1) and not scheme.startswith("sqlite"):
        raise StoreUnusable(
            "STATE_URL has more than one `@`",
            hint="write `@`, `/`, `:` and `%` of the password as `%40`, `%2F`, `%3A` and `%25`.",
        )


def reason(error: Exception, url: sa.URL) -> str:
    """Return the error of the database in a few words, without statement, values and password."""
    origin = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error
    words = str(origin or "").splitlines()
    if not words or (url.password and url.password in words[0]):
        return type(origin or error).__name__
    return words[0][:200]


# How long a writer waits for another one, here or in another process.
_BUSY_SECONDS = 2
_STATEMENT_SECONDS = 2.0  # after which PostgreSQL cancels a statement
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "sqlite": {
        "max_overflow": 40,  # for publishing threads and background jobs; each uses a file handle
        "connect_args": {"timeout": _BUSY_SECONDS},
    },
    "postgresql": {
        "max_overflow": 2,  # the number of connections to a server is limited
        "pool_pre_ping": True,  # no request fails after a restart of the database
        "connect_args": {
            "connect_timeout": 2,  # the shortest one of libpq
            "options": f"-c statement_timeout={_STATEMENT_SECONDS * 1000:.0f}",
        },
    },
}


# For transactions that are durable, and for others. With FULL, an update survives a power failure.
_SYNCHRONOUS: Mapping[bool, str] = {True: "FULL", False: "NORMAL"}


def tune_sqlite(engine: Engine, file: Path) -> None:
    """Set up every connection of an engine to a file."""

    def opened(connection: Any, record: Any) -> None:  # noqa: ANN401
        try:
            # Statements outside of a transaction commit at once; `Database.write` opens one.
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode=WAL").close()
            # The operating system caches the file anyway: 2 MB for each connection would save no
            # time.
            connection.execute("PRAGMA cache_size=-512").close()
            record.info["file"] = file.stat()
        except OSError:  # deleted just after it was opened
            connection.close()
            raise sqlite3.OperationalError("unable to open database file") from None
        except sqlite3.Error:
            connection.close()  # SQLAlchemy before 2.0.53 leaves it open
            raise

    def taken(_connection: object, record: Any, _proxy: object) -> None:  # noqa: ANN401
        # SQLite goes on writing to a file that was deleted or replaced: the data would be lost.
        try:
            is_same = os.path.samestat(file.stat(), record.info["file"])
        except OSError:
            is_same = False
        if not is_same:
            raise DisconnectionError

    def failed(context: sa.engine.ExceptionContext) -> None:
        # A connection that was opened while the disk was read-only stays read-only: close it. On a
        # full disk, however, open connections can still read, and new ones may fail.
        if "readonly" in str(context.original_exception):
            context.is_disconnect = True
            # An open cursor would keep the files open, and read-only for other connections.
            if context.execution_context is not None:
                context.execution_context.cursor.close()

    sa.event.listen(engine, "connect", opened)
    sa.event.listen(engine, "checkout", taken)
    sa.event.listen(engine, "handle_error", failed)


def connect(url: str, pool_size: int, *, create: bool = True) -> Engine:
    """Return an engine for the store at an SQLAlchemy URL; nothing is opened yet.

    Without `create`, the file of an SQLite store has to exist when it is opened.

    Raises:
        StoreUnusable: the URL can't be used.

    """
    require_escaped(url)
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        is_sqlite = backend == "sqlite"
        if backend not in _OPTIONS or parsed.get_driver_name() not in ("pysqlite", "psycopg"):
            raise ArgumentError(backend)
        if is_sqlite and parsed.database in (None, "", ":memory:"):
            raise ArgumentError("memory")  # worker processes can't share it
        target = parsed
        if is_sqlite and not create:  # with this URL, SQLite doesn't create a missing file
            target = parsed.set(database=f"file:{quote(parsed.database or '')}")
            target = target.update_query_dict({"mode": "rw", "uri": "true"})
        engine = sa.create_engine(
            target,
            pool_size=pool_size,
            pool_use_lifo=True,  # few connections with warm caches
            pool_timeout=2,
            **_OPTIONS[backend],
        )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise StoreUnusable(
            f"STATE_URL can't be used ({type(error).__name__})",
            hint="write it as in sqlite:////data/hetzner-dyndns.db or "
            "postgresql+psycopg://user:password@host/name. The latter needs its driver: run "
            "`pipx inject hetzner-dyndns 'psycopg[binary]'`, or in a clone install "
            "backend/requirements-postgresql.txt.",
        ) from None
    if is_sqlite:
        tune_sqlite(engine, Path(str(parsed.database)))
    else:
        tune_postgresql(engine)
    return engine


def excluded(table: sa.Table) -> Any:  # noqa: ANN401
    """Return the columns of the row that an upsert would insert, by the name both databases use."""
    return table.alias("excluded").c


class _Use(enum.Enum):
    READING = "reading"
    WRITING = "writing"


class PreparedQuery:
    """A query with one parameter, run by the driver alone: SQLAlchemy takes four times as long.

    Safe to share between threads.
    """

    def __init__(self, query: sa.Select[Any], engine: Engine) -> None:
        self._engine = engine
        self._text = str(query.compile(dialect=engine.dialect))

    def fetch(self, value: str) -> list[Any]:
        """Return the rows for a value of the parameter; raise the errors of the driver."""
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(self._text, (value,))
            return list(cursor.fetchall())
        except sqlite3.Error as error:
            connection.invalidate(error)
            raise
        finally:
            connection.close()


class Database:
    """An engine whose failures are raised as `StoreUnavailable`. Safe to share between threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_postgresql = engine.dialect.name == "postgresql"
        # The writers of this process wait here: SQLite would let them sleep, longer each time.
        self._writers = threading.Lock()
        self._readers: list[Reader] = []
        self._reading = threading.Lock() if self._is_postgresql else contextlib.nullcontext()
        self._open = threading.local()  # the transaction of each thread
        self._driver = engine.dialect.loaded_dbapi
        self._errors = (DBAPIError, PoolTimeout, self._driver.Error)
        self._bugs = (*_BUGS, *(getattr(self._driver, kind.__name__) for kind in _BUGS))
        self._failing: _Use | None = None
        self._is_reported = False  # whether the log says that it fails
        self._reported_at = -math.inf  # monotonic
        self._closed_until = 0.0  # monotonic
        self._closed_by = StoreUnavailable

    def prepared(self, query: sa.Select[Any]) -> PreparedQuery | Reader:
        """Prepare a query with one parameter for `fetch`."""
        if not self._is_postgresql:
            return PreparedQuery(query, self._engine)
        self._readers.append(Reader(query, self._engine))
        return self._readers[-1]

    def upsert(
        self,
        table: sa.Table,
        changes: Mapping[str, Any],
        where: sa.ColumnElement[bool] | None = None,
    ) -> Any:  # noqa: ANN401
        """Return an insert that changes the row with the same key, if there is one.

        `changes` and `where` may refer to the new values by `excluded`.
        """
        insert = (postgresql if self._is_postgresql else sqlite).insert(table)
        key = list(table.primary_key)
        return insert.on_conflict_do_update(index_elements=key, set_=changes, where=where)

    def fetch(self, query: PreparedQuery | Reader, value: str) -> list[Any]:
        """Run a prepared query.

        Raises:
            StoreUnavailable: the database can't be read.

        """
        with self._reading:
            started = time.monotonic()
            if started < self._closed_until:
                raise self._closed_by(_CLOSED)
            try:
                rows = query.fetch(value)
            except self._errors as error:
                raise self._translated(error, _Use.READING, started) from None
        if self._failing:
            self._note_success(_Use.READING)
        return rows

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a connection to read from; raise `StoreUnavailable` if that fails."""
        started = time.monotonic()
        if started < self._closed_until:
            raise self._closed_by(_CLOSED)
        try:
            with self._engine.connect() as connection:
                yield connection
        except self._errors as error:
            raise self._translated(error, _Use.READING, started) from None
        if self._failing:
            self._note_success(_Use.READING)

    @contextlib.contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Open a transaction, and commit it at the end; raise `StoreUnavailable` if that fails.

        Without `durable`, SQLite doesn't wait for the disk: a power failure may undo the
        transaction, unless a durable one has followed. It survives the end of the process.
        If this thread is in a transaction already, the writes join that one.
        """
        outer: Connection | None = getattr(self._open, "connection", None)
        if outer is not None:
            yield outer
            return
        started = time.monotonic()
        if started < self._closed_until:
            raise self._closed_by(_CLOSED)
        if not self._is_postgresql and not self._writers.acquire(timeout=_BUSY_SECONDS):
            raise StoreBusy("The store is too busy to be written right now.")
        try:
            with self._engine.begin() as connection:
                if not self._is_postgresql:
                    pragma = f"PRAGMA synchronous={_SYNCHRONOUS[durable]}"
                    connection.connection.cursor().execute(pragma).close()
                    # Locks at once: a read lock can't be upgraded later.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                self._open.connection = connection
                yield connection
        except self._errors as error:
            raise self._translated(error, _Use.WRITING, started) from None
        finally:
            self._open.connection = None
            if not self._is_postgresql:
                self._writers.release()
        if self._failing:
            self._note_success(_Use.WRITING)

    def close(self) -> None:
        for reader in self._readers:
            reader.close()
        self._engine.dispose()

    def _translated(self, error: Exception, use: _Use, started: float) -> StoreUnavailable:
        """Return the error to raise instead of one of the database; log the first of a series."""
        origin = getattr(error, "orig", error)
        state = getattr(origin, "sqlstate", None)  # PostgreSQL's error code; SQLite has none
        if isinstance(error, self._bugs) and state not in _DAMAGES:
            raise error  # a bug in this program, which time doesn't fix
        is_locked = isinstance(origin, sqlite3.OperationalError) and "locked" in str(origin)
        is_busy = is_locked or state in _LOCKS or isinstance(error, PoolTimeout)
        kind = StoreBusy if is_busy else StoreUnavailable
        now = time.monotonic()
        if self._is_postgresql and now - started > _SLOW_SECONDS:
            self._closed_by = kind
            self._closed_until = now + _CLOSED_SECONDS
        is_new = self._failing not in (use, _Use.READING)
        if is_new:
            self._failing = use
        # A damaged file fails and works in turn: a line each time would fill the disk.
        reports = is_new or not self._is_reported
        reports = reports and now - self._reported_at >= _REPORT_SECONDS
        if reports:
            self._is_reported, self._reported_at = True, now
        logger.log(
            logging.ERROR if reports else logging.DEBUG,
            "The store can't be used (%s): updates are answered 503 until it can. "
            "Check the database, its disk and STATE_URL.",
            reason(error, self._engine.url),
        )
        return kind("The store can't be used right now.")

    def _note_success(self, use: _Use) -> None:
        # A full disk can still be read: a successful read doesn't end a failure to write.
        if self._failing is use or (self._failing and use is _Use.WRITING):
            level = logging.INFO if self._is_reported else logging.DEBUG
            self._failing, self._is_reported = None, False
            logger.log(level, "The store can be used again.")
