"""/healthz reports whether updates can be served, and recovers."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Iterator

import pytest
import requests
import sqlalchemy as sa

from sandbox import Sandbox
from tests.e2e.cluster import Replica, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

HOST = "host.example.com"
_SECONDS = 60.0


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


def running(folder: Path, sandbox: Sandbox, url: str) -> Iterator[Replica]:
    replica = Replica(folder, sandbox, [HOST], STATE_URL=url)
    try:
        replica.start()
        yield replica
    finally:
        code = replica.stop()
    assert code == 0


def expect_ill(replica: Replica, problem: str) -> None:
    def names_the_problem() -> bool:
        try:
            answer = replica.session.get(f"http://127.0.0.1:{replica.port}/healthz", timeout=20)
        except requests.ConnectionError:  # a worker that was killed
            return False
        return answer.status_code == 503 and problem in answer.text

    until(names_the_problem, replica.output, _SECONDS)


class TestSQLite:
    @pytest.fixture
    def replica(self, tmp_path: Path, sandbox: Sandbox) -> Iterator[Replica]:
        yield from running(tmp_path, sandbox, f"sqlite:///{tmp_path / 'store.db'}")

    @pytest.mark.parametrize("table", ["records", "leases"])
    def test_a_table_that_is_gone(self, replica: Replica, tmp_path: Path, table: str) -> None:
        assert replica.update(HOST, "198.51.100.1")[0] == 200
        with closing(sqlite3.connect(str(tmp_path / "store.db"))) as store:
            store.execute(f"ALTER TABLE {table} RENAME TO away")
            expect_ill(replica, "the store can't be read")
            assert replica.update(HOST, "198.51.100.2")[0] == 503
            store.execute(f"ALTER TABLE away RENAME TO {table}")
        replica.wait_until_well()
        until(lambda: replica.update(HOST, "198.51.100.3")[0] == 200, replica.output, _SECONDS)

    def test_a_damaged_index_that_updates_need(self, replica: Replica, tmp_path: Path) -> None:
        assert replica.update(HOST, "198.51.100.1")[0] == 200
        file = tmp_path / "store.db"
        with closing(sqlite3.connect(str(file))) as store:
            query = "SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_records_1'"
            ((page,),) = store.execute(query)
            ((size,),) = store.execute("PRAGMA page_size")
            until(
                lambda: store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0,
                replica.output,
                _SECONDS,
            )
        with file.open("r+b") as damaged:
            damaged.seek((page - 1) * size)
            damaged.write(b"\xff" * size)
        replica.kill_workers()  # they have the page in memory
        expect_ill(replica, "the store can't be read")
        assert replica.update(HOST, "198.51.100.2")[0] == 503

    def test_a_lock_for_a_moment_is_no_problem(self, replica: Replica, tmp_path: Path) -> None:
        store = sqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)
        with closing(store):
            store.execute("BEGIN IMMEDIATE")
            until(lambda: "database is locked" in replica.output(), replica.output, _SECONDS)
            assert replica.is_well()
            store.execute("ROLLBACK")
        until(lambda: "can be used again" in replica.output(), replica.output, _SECONDS)
        assert replica.is_well()


@pytest.mark.real(*PARTS)
class TestPostgreSQL:
    @pytest.fixture
    def url(self, postgresql: PostgreSQL) -> str:
        return postgresql.new_database()

    @pytest.fixture
    def replica(self, tmp_path: Path, sandbox: Sandbox, url: str) -> Iterator[Replica]:
        yield from running(tmp_path, sandbox, url)

    @pytest.fixture
    def store(self, url: str) -> Iterator[Any]:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            yield connection
        engine.dispose()

    @pytest.mark.parametrize("table", ["records", "leases"])
    def test_a_table_that_is_gone(self, replica: Replica, store: Any, table: str) -> None:  # noqa: ANN401
        assert replica.update(HOST, "198.51.100.1")[0] == 200
        store.exec_driver_sql(f"ALTER TABLE {table} RENAME TO away")
        store.commit()
        expect_ill(replica, "the store can't be read")
        assert replica.update(HOST, "198.51.100.2")[0] == 503
        store.exec_driver_sql(f"ALTER TABLE away RENAME TO {table}")
        store.commit()
        replica.wait_until_well()
        until(lambda: replica.update(HOST, "198.51.100.3")[0] == 200, replica.output, _SECONDS)
        assert "Traceback" not in replica.output()

    def test_a_database_that_may_only_be_read(self, replica: Replica, store: Any) -> None:  # noqa: ANN401
        name = store.engine.url.database
        let_all_begin_anew = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

        def alter(what: str) -> None:
            store.exec_driver_sql(f"ALTER DATABASE {name} {what}")
            store.commit()
            store.exec_driver_sql(let_all_begin_anew)
            store.commit()

        alter("SET default_transaction_read_only = on")
        expect_ill(replica, "can't be read and written")
        alter("RESET default_transaction_read_only")
        replica.wait_until_well()

    def test_a_lock_for_a_moment_is_no_problem(self, replica: Replica, store: Any) -> None:  # noqa: ANN401
        store.exec_driver_sql("LOCK TABLE records IN ACCESS EXCLUSIVE MODE")
        until(lambda: "statement timeout" in replica.output(), replica.output, _SECONDS)
        assert replica.is_well()
        store.rollback()
        until(lambda: "can be used again" in replica.output(), replica.output, _SECONDS)
        assert replica.is_well()
