from __future__ import annotations

import logging
import resource
import signal
import sqlite3
import threading
import time
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
    """Return a database that waits one millisecond for other writers."""
    database = Database(connect(url, pool_size=1))
    with database.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 1")
    yield database
    database.close()


def test_writers_of_one_process_queue_even_without_busy_timeout(
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


def test_a_locked_database_blocks_writers_but_not_readers(
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


def test_a_successful_read_does_not_end_a_write_failure(
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


def test_a_write_transaction_locks_the_database_before_its_first_read(
    database: Database, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(str(tmp_path / "store.db"), timeout=0)) as other:
        with database.write() as connection:
            assert connection.execute(sa.select(hosts)).all() == []
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("INSERT INTO hosts (host) VALUES ('x')")
        other.execute("INSERT INTO hosts (host) VALUES ('x')")


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("problem", ["missing", "a directory", "no database", "not prepared"])
def test_every_operation_reports_an_unusable_database_as_unavailable(
    tmp_path: Path, use: Callable[[Store], object], problem: str
) -> None:
    file = tmp_path / "some" / "store.db"
    if problem != "missing":
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
def test_moving_the_file_of_an_open_store_makes_it_unavailable(
    store: Store, tmp_path: Path, use: Callable[[Store], object]
) -> None:
    use(store)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in tmp_path.glob("store.db*"):
        file.rename(elsewhere / file.name)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            use(store)
    assert list(tmp_path.glob("store.db*")) == []
    for file in elsewhere.iterdir():
        file.rename(tmp_path / file.name)
    use(store)


def test_a_file_replaced_during_opening_makes_the_store_unavailable(
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


def test_a_restored_backup_is_used_without_a_restart(store: Store, tmp_path: Path) -> None:
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


def test_a_store_recovers_when_its_database_is_available_again(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    store = Store(f"sqlite:///{folder / 'store.db'}")
    with pytest.raises(StoreUnavailable):
        store.ping()
    folder.mkdir()
    prepare_store(f"sqlite:///{folder / 'store.db'}")
    store.records.set_desired(update("198.51.100.1"), 1, 1)
    assert len(store.records.of(host())) == 1
    store.close()


def test_a_failure_and_its_end_are_each_logged_once(
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
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in logged] == ["ERROR", "INFO"]
    assert "unable to open database file" in logged[0][1]
    assert "again" in logged[1][1]


def test_a_store_that_fails_in_turn_makes_few_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    file, away = tmp_path / "store.db", tmp_path / "away"
    prepare_store(f"sqlite:///{file}")
    store = Store(f"sqlite:///{file}")

    def fail() -> None:
        file.rename(away)
        with pytest.raises(StoreUnavailable):
            store.ping()

    def work() -> None:
        away.rename(file)
        store.ping()

    for _ in range(20):
        fail()
        work()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    caplog.clear()
    fail()
    assert caplog.records == []
    later = time.monotonic() + 10  # a failure that lasts is reported
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(StoreUnavailable):
        store.ping()
    work()
    store.close()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def probe(store: Store) -> None:
    store.probe(mark=True)


@pytest.mark.parametrize("table", ["records", "hosts", "leases", "reports", "history"])
def test_a_probe_finds_a_missing_table(store: Store, tmp_path: Path, table: str) -> None:
    probe(store)
    with closing(sqlite3.connect(str(tmp_path / "store.db"))) as other:
        other.execute(f"ALTER TABLE {table} RENAME TO elsewhere")
        with pytest.raises(StoreUnavailable):
            probe(store)
        if table == "records":
            with pytest.raises(StoreUnavailable):
                store.ping()
        other.execute(f"ALTER TABLE elsewhere RENAME TO {table}")
    probe(store)
    store.ping()


def test_a_probe_finds_a_read_only_store(store: Store) -> None:
    with store.records._database.read() as connection:  # noqa: SLF001
        connection.exec_driver_sql("PRAGMA query_only = 1")
    store.ping()
    with pytest.raises(StoreUnavailable) as caught:
        probe(store)
    assert not isinstance(caught.value, StoreBusy)


def test_a_probe_finds_a_full_disk(store: Store, tmp_path: Path) -> None:
    probe(store)
    wal = tmp_path / "store.db-wal"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal.stat().st_size, limits[1]))
    try:
        with pytest.raises(StoreUnavailable):
            probe(store)
        store.ping()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    probe(store)


@pytest.mark.parametrize("table", ["records", "hosts"])
def test_a_probe_finds_a_damaged_index(tmp_path: Path, table: str) -> None:
    file = tmp_path / "store.db"
    prepare_store(f"sqlite:///{file}")
    with closing(sqlite3.connect(str(file))) as store:
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        ((page,),) = store.execute(query, (f"sqlite_autoindex_{table}_1",))
        ((size,),) = store.execute("PRAGMA page_size")
    damaged = bytearray(file.read_bytes())
    damaged[(page - 1) * size : page * size] = b"\xff" * size
    file.write_bytes(bytes(damaged))
    with closing(Store(f"sqlite:///{file}")) as broken, pytest.raises(StoreUnavailable):
        broken.probe()


def test_a_probe_finds_a_damaged_file(url: str, tmp_path: Path) -> None:
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
            pytest.skip("this SQLite has no dbstat table")
    whole = file.read_bytes()
    place = (page - 1) * size
    file.write_bytes(whole[:place] + b"\xff" * size + whole[place + size :])
    store = Store(url)
    with pytest.raises(StoreUnavailable):
        probe(store)
    store.close()


def test_a_probe_reports_a_locked_store_as_busy(store: Store, tmp_path: Path) -> None:
    with closing(sqlite3.connect(str(tmp_path / "store.db"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy):
            store.probe()
        store.ping()
        other.execute("ROLLBACK")
    store.probe()


def test_errors_and_log_lines_contain_no_sql(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(StoreUnavailable) as caught, database.read() as connection:
        connection.execute(sa.text("SELECT 'the-secret' FROM missing"))
    assert "the-secret" not in str(caught.value) + caplog.text
    assert caught.value.__suppress_context__


def test_a_programming_error_is_not_reported_as_an_unavailable_store(database: Database) -> None:
    rows = [{"host": "x"}, {"host": "x"}]
    with pytest.raises(sa.exc.IntegrityError), database.write() as connection:
        connection.execute(hosts.insert(), rows)


def test_a_failed_transaction_is_rolled_back(database: Database) -> None:
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
