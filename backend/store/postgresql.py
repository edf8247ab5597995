"""How PostgreSQL is used: what each connection is told, and how long it is waited for."""

from __future__ import annotations

import functools
import time
from typing import Any, Callable, Generator, Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Engine

# The server gives up a statement by itself, a connection is given up when not even that is told:
# the server hangs, or the network swallows packets. A request has eight seconds in all.
_STATEMENT_SECONDS = 2.0
_ANSWER_SECONDS = 2.5

OPTIONS: Mapping[str, Any] = {
    "max_overflow": 2,  # a server counts its connections
    "pool_pre_ping": True,  # a database that was restarted costs no failed request
    "connect_args": {
        "connect_timeout": 2,  # libpq knows no shorter one
        "options": f"-c statement_timeout={_STATEMENT_SECONDS * 1000:.0f}",
    },
}


def tune(engine: Engine) -> None:
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
