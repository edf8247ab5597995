"""How SQLite is used: what each connection is told, and what is done when its file goes away."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Mapping, Optional, Tuple
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DisconnectionError

# How long a writer waits for another one, here or in another process.
BUSY_SECONDS = 2

OPTIONS: Mapping[str, Any] = {
    "max_overflow": 40,  # for the threads that publish and the loops: each costs a file handle
    "connect_args": {"timeout": BUSY_SECONDS},
}


def existing_only(url: sa.URL) -> sa.URL:
    """Return the URL so that a missing file is an error, and not a new and empty store."""
    file = f"file:{quote(url.database or '')}"
    return url.set(database=file).update_query_dict({"mode": "rw", "uri": "true"})


def tune(engine: Engine, file: Path) -> None:
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
    """Set up a connection, and return which file it is of."""
    # Statements outside BEGIN commit by themselves; `_begin` opens real transactions.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # a stored wish survives a power cut
    cursor.close()
    identity = _identity(file)
    if identity is None:  # it went away a moment after it was opened
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
