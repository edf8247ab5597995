from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy as sa

from backend.store import Store
from backend.store.schema import leases, run


def test_a_read_only_connection_is_not_used_again(store: Store, url: str) -> None:
    store.leases.acquire("a job", "owner", 0, 1)
    engine = sa.create_engine(f"{url.replace('sqlite:///', 'sqlite:///file:')}?mode=ro&uri=true")
    with engine.connect() as connection:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            run(connection, leases.delete(), {})
        assert connection.invalidated
    engine.dispose()
