"""PostgreSQL: a time limit for a server that doesn't answer, and the read of each update."""

from __future__ import annotations

import select
import time
from typing import Any, Callable, Generator

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Engine

# PostgreSQL cancels long statements. If it doesn't report that by this time, the server hangs or
# the network drops packets, and the connection is closed.
_ANSWER_SECONDS = 2.5
_FRESH_SECONDS = 30.0  # later, a firewall may have dropped an idle connection
_QUICK_SECONDS = 0.5
_NAME = b"read"


def tune_postgresql(engine: Engine) -> None:
    """Bound the time that every connection of an engine waits for the server."""
    no_answer = engine.dialect.loaded_dbapi.OperationalError

    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401
        wait = connection.wait

        def wait_a_while(exchange: Generator[Any, Any, Any], *more: Any, **named: Any) -> Any:  # noqa: ANN401
            end = time.monotonic() + _ANSWER_SECONDS
            return wait(_bounded(exchange, end, give_up), *more, **named)

        def give_up() -> None:
            connection.close()  # a late answer would be read as the answer to the next statement
            raise no_answer("the server doesn't answer")

        connection.wait = wait_a_while

    # Before SQLAlchemy runs its own first statements.
    sa.event.listen(engine, "connect", connected, insert=True)


def _bounded(
    exchange: Generator[Any, Any, Any], end: float, give_up: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Wrap psycopg's exchange with the server, and give up at `end`; psycopg resumes it often.

    psycopg sends in whether the socket is ready to be read or written; nothing if it isn't.
    """
    try:
        event = next(exchange)
        while True:
            ready = yield event
            if not ready and time.monotonic() > end:
                give_up()
            event = exchange.send(ready)
    except StopIteration as done:
        return done.value


class Reader:
    """A query with one parameter, over a connection of its own. Not for several threads at once.

    The server prepares the query once; after that, only its parameter is sent. This uses libpq,
    below psycopg: the cursors of psycopg and the pool of SQLAlchemy take several times as long.
    """

    def __init__(self, query: sa.Select[Any], engine: Engine) -> None:
        self._engine = engine
        self._driver: Any = engine.dialect.loaded_dbapi
        dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        self._text = str(query.compile(dialect=dialect)).encode()
        self._connection: Any = None
        self._used_at = 0.0  # monotonic
        self._poll = select.poll()
        self._rows: Any = None  # psycopg's conversion of values

    def fetch(self, value: str) -> list[Any]:
        """Return the rows for a value of the parameter; raise the errors of the driver."""
        started = time.monotonic()
        if started - self._used_at > _FRESH_SECONDS:
            self.close()
        try:
            rows = self._ask(value)
        except self._driver.Error:
            if time.monotonic() - started > _QUICK_SECONDS:
                raise
            rows = self._ask(value)  # the server has closed the connection, or was restarted
        self._used_at = started
        return rows

    def close(self) -> None:
        """Close the connection, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, value: str) -> list[Any]:
        try:
            if self._connection is None:
                self._open()
            pgconn = self._connection.pgconn
            pgconn.send_query_prepared(_NAME, [value.encode()])
            result = self._answer(pgconn)
        except BaseException:
            self.close()  # a late answer would be read as the answer to the next query
            raise
        self._rows.set_pgresult(result)
        rows: list[Any] = self._rows.load_rows(0, result.ntuples, tuple)
        return rows

    def _open(self) -> None:
        pooled = self._engine.raw_connection()
        connection: Any = pooled.dbapi_connection
        self._connection = connection
        pooled.detach()
        self._rows = self._driver.adapt.Transformer(connection)
        pgconn = connection.pgconn
        self._poll = select.poll()
        self._poll.register(pgconn.socket, select.POLLIN)
        pgconn.send_prepare(_NAME, self._text)
        self._answer(pgconn)

    def _answer(self, pgconn: Any) -> Any:  # noqa: ANN401
        """Wait for the result of what was sent."""
        end = time.monotonic() + _ANSWER_SECONDS
        pgconn.flush()
        results: list[Any] = []
        while True:
            while pgconn.is_busy():
                if not self._poll.poll(max(0.0, end - time.monotonic()) * 1000):
                    raise self._driver.OperationalError("the server doesn't answer")
                pgconn.consume_input()
            result = pgconn.get_result()
            if result is None:
                return results[-1]
            if result.error_message:
                raise self._driver.errors.error_from_result(result)
            results.append(result)
