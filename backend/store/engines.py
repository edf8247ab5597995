"""How STATE_URL becomes an engine: what is peculiar to SQLite and to PostgreSQL."""

from __future__ import annotations

import functools
import re
import sqlite3
import time
from pathlib import Path
from typing import Any, Callable, Generator, Mapping, Optional, Tuple
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, SQLAlchemyError

from backend.errors import StoreUnusable

# Where SQLAlchemy ends it: at the first `@` behind the password.
_LOGIN = re.compile(r"[^:/]*(?::[^@]*)?@")


def require_escaped(url: str) -> None:
    """Refuse a URL whose password would end at a sign of its own: its rest would be the host.

    Raises:
        StoreUnusable: it has another `@` behind its login.

    """
    scheme, _, rest = url.partition("://")
    if "@" in _LOGIN.sub("", rest, count=1) and not scheme.startswith("sqlite"):
        raise StoreUnusable(
            "STATE_URL: it has more than one `@`",
            mend="write `@`, `/`, `:` and `%` of the password as `%40`, `%2F`, `%3A` and `%25`.",
        )


def reason(error: Exception, url: sa.URL) -> str:
    """Say in a few words what the database said; never a statement, parameters or the password."""
    origin = getattr(error, "orig", None) if isinstance(error, SQLAlchemyError) else error
    words = str(origin or "").splitlines()
    if not words or (url.password and url.password in words[0]):
        return type(origin or error).__name__
    return words[0][:200]


# How long a writer waits for another one, here or in another process.
BUSY_SECONDS = 2

SQLITE_OPTIONS: Mapping[str, Any] = {
    "max_overflow": 40,  # for the threads that publish and the loops: each costs a file handle
    "connect_args": {"timeout": BUSY_SECONDS},
}


def existing_only(url: sa.URL) -> sa.URL:
    """Return the URL so that a missing file is an error, and not a new and empty store."""
    file = f"file:{quote(url.database or '')}"
    return url.set(database=file).update_query_dict({"mode": "rw", "uri": "true"})


def tune_sqlite(engine: Engine, file: Path) -> None:
    """Set up every connection of an engine to a file."""

    def opened(connection: Any, record: Any) -> None:  # noqa: ANN401
        try:
            record.info["file"] = _set_up(connection, file)
        except sqlite3.Error:
            connection.close()  # SQLAlchemy before 2.0.53 leaves it open
            raise

    def taken(_connection: object, record: Any, _proxy: object) -> None:  # noqa: ANN401
        # SQLite goes on writing to a file that was deleted or replaced: all of it would be lost.
        if record.info["file"] != _identity(file):
            raise DisconnectionError

    sa.event.listen(engine, "connect", opened)
    sa.event.listen(engine, "checkout", taken)
    sa.event.listen(engine, "begin", _begin)
    sa.event.listen(engine, "handle_error", _let_go)


def _set_up(connection: Any, file: Path) -> Tuple[int, int]:  # noqa: ANN401
    """Set up a connection, and return the identity of its file."""
    # Statements outside BEGIN commit by themselves; `_begin` opens real transactions.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a stored wish survives a power cut
    cursor.close()
    identity = _identity(file)
    if identity is None:  # deleted just after it was opened
        raise sqlite3.OperationalError("unable to open database file")
    return identity


def _identity(file: Path) -> Optional[Tuple[int, int]]:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _begin(connection: Connection) -> None:
    # A reader needs no transaction; a writer takes the lock first, for it could not upgrade later.
    if connection.get_execution_options().get("write"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _let_go(context: sa.engine.ExceptionContext) -> None:
    # A connection that was opened while the disk was read-only would stay so for ever. On a disk
    # that is full, however, the open ones can still be read from, and new ones may not be opened.
    if "readonly" in str(context.original_exception):
        context.is_disconnect = True
        # Open, it would keep the files of its connection open, and read-only for all others.
        if context.execution_context is not None:
            context.execution_context.cursor.close()


# The server gives up a statement by itself, a connection is given up when not even that is told:
# the server hangs, or the network swallows packets. A request has eight seconds in all.
_STATEMENT_SECONDS = 2.0
_ANSWER_SECONDS = 2.5

POSTGRESQL_OPTIONS: Mapping[str, Any] = {
    "max_overflow": 2,  # a server counts its connections
    "pool_pre_ping": True,  # a database that was restarted costs no failed request
    "connect_args": {
        "connect_timeout": 2,  # libpq knows no shorter one
        "options": f"-c statement_timeout={_STATEMENT_SECONDS * 1000:.0f}",
    },
}


def tune_postgresql(engine: Engine) -> None:
    """Let no connection of an engine be waited for without end."""
    no_answer = engine.dialect.loaded_dbapi.OperationalError

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401
        wait = connection.wait

        def wait_a_while(exchange: Generator[Any, Any, Any], *more: Any, **named: Any) -> Any:  # noqa: ANN401
            end = time.monotonic() + _ANSWER_SECONDS
            give_up = functools.partial(_give_up, connection, no_answer)
            return wait(_bounded(exchange, end, give_up), *more, **named)

        connection.wait = wait_a_while

    # Before SQLAlchemy asks the first questions of its own.
    sa.event.listen(engine, "connect", connected, insert=True)


def _bounded(
    exchange: Generator[Any, Any, Any], end: float, give_up: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Pass on a conversation of psycopg with the server, which it looks after ten times a second.

    What is sent into it tells which way the socket is ready; nothing, when neither is.
    """
    try:
        wanted = next(exchange)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                give_up()
            wanted = exchange.send(ready)
    except StopIteration as done:
        return done.value


def _give_up(connection: Any, no_answer: Callable[[str], Exception]) -> None:  # noqa: ANN401
    connection.close()  # the answer may still come, and would be taken for that to another question
    raise no_answer("the server doesn't answer")


def connect(url: str, pool_size: int, *, create: bool = True) -> Engine:
    """Return an engine for the store at an SQLAlchemy URL; nothing is opened yet.

    Without `create`, an SQLite file has to exist when it is opened.

    Raises:
        StoreUnusable: the URL can't be used.

    """
    require_escaped(url)
    try:
        parsed = make_url(url)
        options = _options(parsed)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        engine = sa.create_engine(
            existing_only(parsed) if is_sqlite and not create else parsed,
            pool_size=pool_size,
            pool_use_lifo=True,  # few connections with warm caches rather than all in turn
            pool_timeout=2,
            **options,
        )
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise StoreUnusable(
            f"STATE_URL can't be used ({type(error).__name__})",
            mend="write it as in sqlite:////data/hetzner-dyndns.db or "
            "postgresql+psycopg://user:password@host/name, and install "
            "backend/requirements-postgresql.txt for the latter.",
        ) from None
    if is_sqlite:
        tune_sqlite(engine, Path(str(parsed.database)))
    else:
        tune_postgresql(engine)
    return engine


def _options(url: sa.URL) -> Mapping[str, Any]:
    backend = url.get_backend_name()
    if backend not in _OPTIONS or url.get_driver_name() not in ("pysqlite", "psycopg"):
        raise ArgumentError(backend)
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise ArgumentError("memory")  # the worker processes could not share it
    return _OPTIONS[backend]


_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "sqlite": SQLITE_OPTIONS,
    "postgresql": POSTGRESQL_OPTIONS,
}
