"""The time limit for an unresponsive PostgreSQL server, tested with a fake connection."""

from __future__ import annotations

from typing import Any, Callable, Generator

import pytest
import sqlalchemy as sa

from backend.errors import StoreUnusable
from backend.store import postgresql
from backend.store.database import connect


class NoAnswer(Exception):
    """Replaces `psycopg.OperationalError`."""


class Connection:
    """Replaces psycopg's connection: polls the server once for each of the given results."""

    def __init__(self, *ready_states: int) -> None:
        self.is_closed = False
        self._ready_states = ready_states

    def wait(self, exchange: Generator[Any, Any, Any]) -> object:
        states = [next(exchange)]
        for ready in self._ready_states:
            try:
                states.append(exchange.send(ready))
            except StopIteration as done:
                return (done.value, states)
        pytest.fail("the exchange did not end")

    def close(self) -> None:
        self.is_closed = True


def exchange(answers: int) -> Generator[str, int, str]:
    """An exchange that ends after this number of answers."""
    received = 0
    while received < answers:
        received += bool((yield f"waits {received}"))
    return "done"


def limited(connection: Connection, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Connection:
    sinks: list[tuple[str, Callable[..., None]]] = []
    monkeypatch.setattr(postgresql, "_ANSWER_SECONDS", seconds)
    monkeypatch.setattr(
        sa.event, "listen", lambda _engine, name, act, **_: sinks.append((name, act))
    )

    class Dialect:
        class loaded_dbapi:  # noqa: N801
            OperationalError = NoAnswer

    class Engine:
        dialect = Dialect

    postgresql.tune_postgresql(Engine)  # type: ignore[arg-type]
    ((name, act),) = sinks
    assert name == "connect"
    act(connection, None)
    return connection


def test_a_server_that_answers_in_time_stays_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = limited(Connection(0, 1, 0, 0, 1), monkeypatch, 60)
    done = connection.wait(exchange(2))
    assert done == ("done", ["waits 0", "waits 0", "waits 1", "waits 1", "waits 1"])
    assert not connection.is_closed


def test_the_connection_to_an_unresponsive_server_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = limited(Connection(1, 0, 0), monkeypatch, 0)
    with pytest.raises(NoAnswer):
        connection.wait(exchange(3))
    assert connection.is_closed, "a late answer would be read as the answer to another query"


def test_an_exchange_without_an_answer_ends_immediately(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoWait(Connection):
        def wait(self, exchange: Generator[Any, Any, Any]) -> object:
            with pytest.raises(StopIteration) as done:
                next(exchange)
            return done.value.value

    assert limited(NoWait(), monkeypatch, 60).wait(exchange(0)) == "done"


@pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+asyncpg"])
def test_other_postgresql_drivers_are_refused(driver: str) -> None:
    with pytest.raises(StoreUnusable, match=r"postgresql\+psycopg://"):
        connect(f"{driver}://user:password@db/name", 1)
