"""How long a server that hangs is waited for; that it is PostgreSQL is shown elsewhere."""

from __future__ import annotations

from typing import Any, Callable, Generator, List, Tuple

import pytest
import sqlalchemy as sa

from backend.errors import StoreUnusable
from backend.store import database
from backend.store.database import connect


class NoAnswer(Exception):
    """What psycopg would raise."""


class Connection:
    """Stands in for psycopg's: looks whether the server has said something, so many times."""

    def __init__(self, *said: int) -> None:
        self.is_closed = False
        self._said = said

    def wait(self, exchange: Generator[Any, Any, Any]) -> object:
        desired = [next(exchange)]
        for ready in self._said:
            try:
                desired.append(exchange.send(ready))
            except StopIteration as done:
                return (done.value, desired)
        pytest.fail("it waits for ever")

    def close(self) -> None:
        self.is_closed = True


def exchange(answers: int) -> Generator[str, int, str]:
    """A conversation that is over when the server has said something so many times."""
    heard = 0
    while heard < answers:
        heard += bool((yield f"wants {heard}"))
    return "done"


def limited(connection: Connection, monkeypatch: pytest.MonkeyPatch, seconds: float) -> Connection:
    sinks: List[Tuple[str, Callable[..., None]]] = []
    monkeypatch.setattr(database, "_ANSWER_SECONDS", seconds)
    monkeypatch.setattr(
        sa.event, "listen", lambda _engine, name, act, **_: sinks.append((name, act))
    )

    class Dialect:
        class loaded_dbapi:  # noqa: N801
            OperationalError = NoAnswer

    class Engine:
        dialect = Dialect

    database.tune_postgresql(Engine)  # type: ignore[arg-type]
    ((name, act),) = sinks
    assert name == "connect"
    act(connection, None)
    return connection


def test_a_server_that_answers_is_talked_to_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = limited(Connection(0, 1, 0, 0, 1), monkeypatch, 60)
    done = connection.wait(exchange(2))
    assert done == ("done", ["wants 0", "wants 0", "wants 1", "wants 1", "wants 1"])
    assert not connection.is_closed


def test_a_server_that_says_nothing_is_given_up_and_never_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = limited(Connection(1, 0, 0), monkeypatch, 0)
    with pytest.raises(NoAnswer):
        connection.wait(exchange(3))
    assert connection.is_closed, "a late answer would be taken for one to another question"


def test_an_exchange_that_needs_no_answer_is_over_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(Connection):
        def wait(self, exchange: Generator[Any, Any, Any]) -> object:
            with pytest.raises(StopIteration) as done:
                next(exchange)
            return done.value.value

    assert limited(Impatient(), monkeypatch, 60).wait(exchange(0)) == "done"


@pytest.mark.parametrize("driver", ["postgresql+psycopg2", "postgresql+asyncpg"])
def test_no_other_driver_is_used(driver: str) -> None:
    with pytest.raises(StoreUnusable, match=r"postgresql\+psycopg://"):
        connect(f"{driver}://user:password@db/name", 1)
