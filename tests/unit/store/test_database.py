from __future__ import annotations

import logging
import resource
import signal
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Callable, Iterator

import pytest
import sqlalchemy as sa

from backend.errors import StoreBusy, StoreUnavailable
from backend.store import Store, prepare_store
from backend.store.database import Database, connect
from backend.store.leases import Leases
from backend.store.records import Records
from backend.store.schema import hosts
from tests.unit.fakes import host, update

USES: dict[str, Callable[[Store], object]] = {
    "ping": lambda store: store.ping(),
    "probe": lambda store: store.probe(),
    "records": lambda store: store.records.of(host()),
    "generation": lambda store: store.records.set_desired(update("198.51.100.1"), 1, 1),
    "leases": lambda store: store.leases.acquire("x", "one", 1, 1),
    "hosts": lambda store: store.hosts.registered(1),
    "history": lambda store: store.history.find(host()),
}


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database that waits for other writers for a moment only."""
    database = Database(connect(url, pool_size=1))
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    yield database
    database.close()


def test_writers_of_one_process_wait_for_each_other_however_short_the_database_waits(
    url: str,
) -> None:
    database = Database(connect(url, pool_size=2))
    others = [database.read(), database.read()]
    with others[0] as first, others[1] as second:
        for connection in (first, second):
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    is_writing, done = threading.Event(), threading.Event()

    def write() -> None:
        is_writing.wait()
        with database.write() as connection:
            connection.execute(hosts.delete())
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    with database.write() as connection:
        connection.execute(hosts.delete())
        is_writing.set()
        assert not done.wait(0.1)
    writer.join()
    assert done.is_set()
    database.close()


def test_a_database_that_another_writer_keeps_locked_is_away_for_writers_and_not_for_readers(
    database: Database, tmp_path: Path
) -> None:
    records = Records(database, Leases(database))
    with closing(sqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            records.set_desired(update("198.51.100.1"), 1, 1)
        assert records.of(host()) == {}
        other.execute("ROLLBACK")
    records.set_desired(update("198.51.100.1"), 1, 1)
    assert len(records.of(host())) == 1


def test_that_reading_works_is_not_told_as_the_end_of_trouble_with_writing(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    records = Records(database, Leases(database))
    with closing(sqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                records.set_desired(update("198.51.100.1"), 1, 1)
            records.of(host())
        other.execute("ROLLBACK")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    records.set_desired(update("198.51.100.1"), 1, 1)
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_writer_keeps_others_from_writing_before_it_reads_what_it_decides_on(
    database: Database, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(str(tmp_path / "store.db"), timeout=0)) as other:
        with database.write() as connection:
            assert connection.execute(sa.select(hosts)).all() == []
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO hosts (host) VALUES ('x')")
        other.execute("INSERT INTO hosts (host) VALUES ('x')")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("problem", ["gone", "a directory", "no database", "never prepared"])
def test_a_database_that_cannot_be_used_is_away_however_it_is_used(
    tmp_path: Path, use: Callable[[Store], object], problem: str
) -> None:
    file = tmp_path / "some" / "store.db"
    if problem != "gone":
        file.parent.mkdir()
    if problem == "a directory":
        file.mkdir()
    elif problem == "no database":
        file.write_bytes(b"not a database\n" * 1000)
    store = Store(f"sqlite:///{file}")
    with pytest.raises(StoreUnavailable):
        use(store)
    assert file.exists() is (problem in ("a directory", "no database"))
    store.close()


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_file_that_is_taken_away_under_an_open_store_is_missed_at_once(
    store: Store, tmp_path: Path, use: Callable[[Store], object]
) -> None:
    use(store)
    away = tmp_path / "away"
    away.mkdir()
    for file in tmp_path.glob("store.db*"):
        file.rename(away / file.name)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            use(store)
    assert list(tmp_path.glob("store.db*")) == []
    for file in away.iterdir():
        file.rename(tmp_path / file.name)
    use(store)


def test_a_file_that_goes_away_while_it_is_opened_is_missed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **options: real(path.with_name("x"), **options))
    with pytest.raises(StoreUnavailable):
        store.ping()
    (tmp_path / "store.db").unlink()
    monkeypatch.undo()
    with pytest.raises(StoreUnavailable):
        store.ping()


def test_a_backup_that_is_put_in_place_of_the_file_counts_from_then_on(
    store: Store, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(str(tmp_path / "store.db"))) as copied, closing(
        sqlite3.connect(str(tmp_path / "backup.db"))
    ) as backup:
        copied.backup(backup)
    store.records.set_desired(update("198.51.100.1"), 1, 1)
    assert len(store.records.of(host())) == 1
    for name in ("store.db-wal", "store.db-shm"):
        (tmp_path / name).unlink()
    (tmp_path / "backup.db").rename(tmp_path / "store.db")
    assert store.records.of(host()) == {}
    store.records.set_desired(update("198.51.100.2"), 2, 1)
    assert len(store.records.of(host())) == 1


def test_a_database_that_is_back_can_be_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    store = Store(f"sqlite:///{folder / 'store.db'}")
    with pytest.raises(StoreUnavailable):
        store.ping()
    folder.mkdir()
    prepare_store(f"sqlite:///{folder / 'store.db'}")
    store.records.set_desired(update("198.51.100.1"), 1, 1)
    assert len(store.records.of(host())) == 1
    store.close()


def test_a_failure_is_logged_once_with_its_cause_and_once_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = Store(f"sqlite:///{tmp_path / 'some' / 'store.db'}")
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            store.ping()
    (tmp_path / "some").mkdir()
    prepare_store(f"sqlite:///{tmp_path / 'some' / 'store.db'}")
    for _ in range(3):
        store.ping()
    store.close()
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in told] == ["ERROR", "INFO"]
    assert "unable to open database file" in told[0][1]
    assert "again" in told[1][1]


def probes(store: Store) -> None:
    store.probe(mark=True)


@pytest.mark.parametrize("table", ["records", "hosts", "leases", "reports", "history"])
def test_a_table_that_is_gone_is_found_by_a_probe(store: Store, tmp_path: Path, table: str) -> None:
    probes(store)
    with closing(sqlite3.connect(str(tmp_path / "store.db"))) as other:
        other.execute(f"ALTER TABLE {table} RENAME TO away")
        with pytest.raises(StoreUnavailable):
            probes(store)
        if table == "records":
            with pytest.raises(StoreUnavailable):
                store.ping()
        other.execute(f"ALTER TABLE away RENAME TO {table}")
    probes(store)
    store.ping()


def test_a_store_that_may_only_be_read_is_found_by_a_probe(store: Store) -> None:
    with store.records._database.read() as connection:  # noqa: SLF001
        connection.exec_driver_sql("PRAGMA query_only = 1")
    store.ping()
    with pytest.raises(StoreUnavailable) as caught:
        probes(store)
    assert not isinstance(caught.value, StoreBusy)


def test_a_disk_that_is_full_is_found_by_a_probe(store: Store, tmp_path: Path) -> None:
    probes(store)
    wal = tmp_path / "store.db-wal"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            probes(store)
        store.ping()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    probes(store)


def test_a_damaged_file_is_found_by_a_probe(url: str, tmp_path: Path) -> None:
    before = Store(url)
    for number in range(300):
        desired = update("198.51.100.1", name=f"host{number}.example.com")
        before.records.set_desired(desired, 1, 1)
    before.close()
    file = tmp_path / "store.db"
    with closing(sqlite3.connect(str(file))) as other:
        (size,) = other.execute("PRAGMA page_size").fetchone()
        query = "SELECT max(pageno) FROM dbstat WHERE name = 'records' AND pagetype = 'leaf'"
        try:
            (page,) = other.execute(query).fetchone()
        except sqlite3.OperationalError:
            pytest.skip("this SQLite can't tell where a table lies")
    whole = file.read_bytes()
    place = (page - 1) * size
    file.write_bytes(whole[:place] + b"\xff" * size + whole[place + size :])
    store = Store(url)
    with pytest.raises(StoreUnavailable):
        probes(store)
    store.close()


def test_a_lock_is_told_from_damage(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            store.probe()
        store.ping()
        other.execute("ROLLBACK")
    store.probe()


def test_what_the_store_is_asked_is_in_no_error_and_no_log_line(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreUnavailable) as caught, database.read() as connection:
        connection.execute(sa.text("SELECT 'the-secret' FROM nowhere"))
    assert "the-secret" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__


def test_a_bug_of_ours_is_not_taken_for_a_failure_of_the_database(database: Database) -> None:
    twice = [{"host": "x"}, {"host": "x"}]
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(hosts.insert(), twice)


def test_a_transaction_that_fails_leaves_nothing_behind(database: Database) -> None:
    rows = [{"host": "x"}, {"host": "y"}, {"host": "x"}]
    insert = hosts.insert()

    def write() -> None:
        with database.write() as connection:
            for row in rows:
                connection.execute(insert, row)

    with pytest.raises(sa.exc.IntegrityError):
        write()
    with database.read() as connection:
        assert connection.execute(sa.select(hosts)).all() == []
