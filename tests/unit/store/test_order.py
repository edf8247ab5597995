"""All processes write rows in the same order; otherwise two writers could deadlock."""

from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping

import pytest
import sqlalchemy as sa

from backend.store import Store, records
from backend.store.hosts import HostActivity, Record
from backend.store.schema import run
from tests.unit.fakes import host, update

NAMES = ["a.example.com", "b.example.com", "c.example.com"]
MIXED = [host(NAMES[number]) for number in (1, 2, 0)]
BOTH = ("2001:db8::1", "198.51.100.1")


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Return the hosts and types of the rows written, in order."""
    rows: list[list[str]] = []

    def note(*sent: Any) -> None:  # noqa: ANN401
        _connection, _cursor, statement, parameters, _context, are_many = sent
        if " IN (" not in statement:
            rows.extend(
                [value for value in row if value in (*NAMES, "A", "AAAA")]
                for row in (parameters if are_many else [parameters])
            )

    def run_noted(connection: Any, statement: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401
        rows.append([value for value in values.values() if value in (*NAMES, "A", "AAAA")])
        return run(connection, statement, values)

    monkeypatch.setattr(records, "run", run_noted)
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", note)
    yield rows
    sa.event.remove(sa.engine.Engine, "before_cursor_execute", note)


def mixed(store: Store) -> list[Record]:
    of = store.records.of
    return [record for name in MIXED for record in reversed(list(of(name).values()))]


WRITERS: dict[str, Callable[[Store], object]] = {
    "registered hosts": lambda store: store.hosts.register(MIXED, 1),
    "activity": lambda store: store.hosts.see(dict.fromkeys(MIXED, 1.0), 1),
    "silences": lambda store: store.hosts.count(
        [HostActivity(name, 1, 1, 1, None) for name in MIXED]
    ),
    "desired": lambda store: store.records.set_desired(update(*BOTH, name=NAMES[0]), 1, 1),
    "actions": lambda store: store.records.note_actions([(one, 1) for one in mixed(store)]),
    "verified records": lambda store: store.records.confirm([(one, "") for one in mixed(store)], 1),
    "failed logins": lambda store: store.failed_logins.add({name.text: 1 for name in MIXED}, 1, 60),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_rows_are_written_in_the_order_of_their_keys(
    store: Store, written: list[list[str]], writer: str
) -> None:
    for name in NAMES:
        store.records.set_desired(update(*BOTH, name=name), 1, 1)
    written.clear()
    WRITERS[writer](store)
    rows = [row for row in written if row]
    assert len(rows) > 1
    assert rows == sorted(rows)
