"""Reading and writing the database, and what it means when that fails."""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Iterator

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError as PoolTimeout,
)

from backend.errors import StoreUnavailable
from backend.store.schema import meta, reason

logger = logging.getLogger(__name__)


class Database:
    """An engine whose failures are ours. Both contexts raise `StoreUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writing = engine.execution_options(write=True)
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._is_away = False

    def insert(self, table: sa.Table) -> Any:  # noqa: ANN401
        """Return an insert that knows ``ON CONFLICT``, which both databases spell alike."""
        return (postgresql if self._is_postgresql else sqlite).insert(table)

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection to read from."""
        with self._translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection inside a transaction that is committed at the end."""
        with self._translated(), self._writing.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Find out whether the database answers, and is ours."""
        with self.read() as connection:
            connection.execute(sa.select(meta.c.value))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (ProgrammingError, IntegrityError, DataError):
            raise  # a bug of ours: waiting won't mend it
        except (DBAPIError, PoolTimeout) as error:
            self._tell_of(error)
            raise StoreUnavailable("The store can't be used right now.") from None
        if self._is_away:
            self._is_away = False
            logger.info("The store can be used again.")

    def _tell_of(self, error: SQLAlchemyError) -> None:
        """Log the first failure of a row; hundreds of requests may run into the same one."""
        level = logging.DEBUG if self._is_away else logging.ERROR
        self._is_away = True
        logger.log(
            level,
            "The store can't be used (%s): updates are answered 503 until it can. "
            "Check the database, its disk and STATE_URL.",
            reason(error),
        )
