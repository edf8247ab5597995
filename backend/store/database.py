"""Reading and writing the database, and what it means when that fails."""

from __future__ import annotations

import contextlib
import enum
import logging
import sqlite3
import threading
import time
from typing import Any, Iterator, List, Optional, Type

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    TimeoutError as PoolTimeout,
)

from backend.errors import StoreBusy, StoreUnavailable
from backend.store.engines import BUSY_SECONDS, reason
from backend.store.schema import records

# Whoever waited so long for nothing keeps all others from waiting, too, for so long.
_SLOW_SECONDS = 1.0
_CLOSED_SECONDS = 2.0

logger = logging.getLogger(__name__)


_BUGS = (ProgrammingError, IntegrityError, DataError)
# PostgreSQL reports these as ProgrammingError: a missing table, column or schema, or no permission.
_DAMAGES = ("42P01", "42703", "3F000", "42501")
# Query canceled by its time limit, lock not available, deadlock.
_LOCKS = ("57014", "55P03", "40P01")


class _Use(enum.Enum):
    READING = "reading"
    WRITING = "writing"


class Glance:
    """A query for what belongs to one value, put into the words of a driver once."""

    def __init__(self, query: sa.Select[Any], engine: Engine) -> None:
        compiled = query.compile(dialect=engine.dialect)
        self.text = str(compiled)
        (self._name,) = compiled.params
        self._is_positional = compiled.positiontup is not None

    def given(self, value: str) -> Any:  # noqa: ANN401
        """Return what the driver wants beside the words."""
        return (value,) if self._is_positional else {self._name: value}


class Database:
    """An engine whose failures are ours. Both contexts raise `StoreUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(write=True)
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._turn = threading.Lock()
        self._driver = engine.dialect.loaded_dbapi
        self._bugs = (*_BUGS, *(getattr(self._driver, kind.__name__) for kind in _BUGS))
        self._trouble: Optional[_Use] = None
        self._closed_until = 0.0  # monotonic
        self._closed_by = StoreUnavailable

    def prepared(self, query: sa.Select[Any]) -> Glance:
        """Put a query with one parameter into words for `glance`."""
        return Glance(query, self._engine)

    def insert(self, table: sa.Table) -> Any:  # noqa: ANN401
        """Return an insert that knows ``ON CONFLICT``, which both databases spell alike."""
        return (postgresql if self._is_postgresql else sqlite).insert(table)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection to read from."""
        with self._translated(_Use.READING), self._engine.connect() as connection:
            yield connection

    def glance(self, query: Glance, value: str) -> List[Any]:
        """Ask one thing past SQLAlchemy, which takes four times as long as its driver.

        Raises:
            StoreUnavailable: as by the contexts.

        """
        with self._translated(_Use.READING):
            connection = self._engine.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute(query.text, query.given(value))
                return list(cursor.fetchall())
            except self._driver.Error as error:
                connection.invalidate(error)
                raise
            finally:
                connection.close()

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside a transaction that is committed at the end."""
        with self._in_turn(), self._translated(_Use.WRITING), self._writing.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let the writers of this process queue: SQLite would let them sleep, longer each time."""
        if self._is_postgresql:
            yield
        elif self._turn.acquire(timeout=BUSY_SECONDS):
            try:
                yield
            finally:
                self._turn.release()
        else:
            raise StoreBusy("The store is too busy to be written right now.")

    def ping(self) -> None:
        """Find out whether records can be read."""
        with self.read() as connection:
            connection.execute(sa.select(records).limit(1)).all()

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _translated(self, use: _Use) -> Iterator[None]:
        started = time.monotonic()
        if started < self._closed_until:
            raise self._closed_by("The store didn't answer a moment ago.")
        try:
            yield
        except (DBAPIError, PoolTimeout, self._driver.Error) as error:
            if isinstance(error, self._bugs) and _state(error) not in _DAMAGES:
                raise  # a bug of ours, which waiting won't fix
            kind = StoreBusy if _is_locked(error) else StoreUnavailable
            self._spare_others(started, kind)
            self._tell_of(use, error)
            raise kind("The store can't be used right now.") from None
        self._tell_of_end(use)

    def _spare_others(self, started: float, kind: Type[StoreUnavailable]) -> None:
        """Make further calls fail at once for a while after PostgreSQL has answered slowly."""
        now = time.monotonic()
        if self._is_postgresql and now - started > _SLOW_SECONDS:
            self._closed_by = kind
            self._closed_until = now + _CLOSED_SECONDS

    def _tell_of(self, use: _Use, error: Exception) -> None:
        """Log the first failure of a row; hundreds of requests may run into the same one."""
        is_known = self._trouble in (use, _Use.READING)
        if not is_known:
            self._trouble = use
        logger.log(
            logging.DEBUG if is_known else logging.ERROR,
            "The store can't be used (%s): updates are answered 503 until it can. "
            "Check the database, its disk and STATE_URL.",
            reason(error, self._engine.url),
        )

    def _tell_of_end(self, use: _Use) -> None:
        # On a disk that is full, whoever only reads has no trouble.
        if self._trouble is use or (self._trouble and use is _Use.WRITING):
            self._trouble = None
            logger.info("The store can be used again.")


def _state(error: Exception) -> str:
    """Return PostgreSQL's error code; SQLite has none."""
    return str(getattr(getattr(error, "orig", error), "sqlstate", None) or "")


def _is_locked(error: Exception) -> bool:
    if isinstance(error, PoolTimeout) or _state(error) in _LOCKS:
        return True
    origin = getattr(error, "orig", error)
    return isinstance(origin, sqlite3.OperationalError) and "locked" in str(origin)
