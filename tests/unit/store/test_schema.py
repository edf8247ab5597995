from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, List, Mapping, Sequence

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from backend.errors import StoreUnusable
from backend.store import Store, prepare_store, require_store
from backend.store.database import connect, reason, require_escaped
from backend.store.schema import MIGRATIONS, VERSION, migrate
from tests.unit.fakes import host, update

ADD_COLOUR = {2: ["ALTER TABLE hosts ADD COLUMN colour VARCHAR"]}
REPAINT = {**ADD_COLOUR, 3: ["UPDATE hosts SET colour = 'red'", "UPDATE hosts SET seen_at = 7"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def ask(file: Path, query: str) -> List[Any]:
    with closing(sqlite3.connect(str(file))) as connection:
        found = connection.execute(query).fetchall()
        connection.commit()
        return found


def version(file: Path) -> str:
    return ask(file, "SELECT value FROM meta WHERE key = 'schema'")[0][0]


def prepared(file: Path, version: int, migrations: Mapping[int, Sequence[str]]) -> None:
    engine = connect(url_of(file), pool_size=1)
    try:
        with engine.execution_options(write=True).begin() as connection:
            migrate(connection, version, migrations)
    finally:
        engine.dispose()


def refused(file_or_url: object) -> str:
    url = url_of(file_or_url) if isinstance(file_or_url, Path) else str(file_or_url)
    with pytest.raises(StoreUnusable) as caught:
        prepare_store(url)
    told = str(caught.value)
    assert told.startswith("STATE_URL")
    assert "\n" not in told
    assert caught.value.__suppress_context__
    return told


def test_a_new_store_is_made_in_the_newest_version(file: Path) -> None:
    prepare_store(url_of(file))
    assert version(file) == str(VERSION)


def test_preparing_again_changes_nothing(file: Path) -> None:
    prepare_store(url_of(file))
    store = Store(url_of(file))
    store.records.set_desired(update("198.51.100.1"), 1, 1)
    before = store.records.of(host())
    prepare_store(url_of(file))
    assert store.records.of(host()) == before
    store.close()


def test_every_version_can_be_reached_from_the_one_before() -> None:
    assert set(MIGRATIONS) == set(range(2, VERSION + 1))


def test_a_store_from_before_the_first_release_is_refused_and_left_alone(file: Path) -> None:
    ask(file, "CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)")
    ask(file, "INSERT INTO meta VALUES ('version', '4')")
    for use in (prepare_store, require_store):
        with pytest.raises(StoreUnusable, match="before the first release") as caught:
            use(url_of(file))
        assert "move it away and start the service" in str(caught.value)
    assert ask(file, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("meta",)]
    assert ask(file, "SELECT * FROM meta") == [("version", "4")]


def test_a_stored_update_survives_a_power_cut_and_readers_do_not_wait_for_writers(
    file: Path,
) -> None:
    prepare_store(url_of(file))
    assert ask(file, "PRAGMA journal_mode") == [("wal",)]
    engine = connect(url_of(file), pool_size=1)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    engine.dispose()


def test_an_older_store_is_brought_up_to_date_step_by_step_with_what_it_holds(
    file: Path,
) -> None:
    prepared(file, 1, {})
    store = Store(url_of(file))
    store.hosts.register([host()], 100)
    store.close()
    prepared(file, 3, REPAINT)
    assert version(file) == "3"
    assert ask(file, "SELECT host, registered_at, seen_at, colour FROM hosts") == [
        ("host.example.com", 100, 7, "red")
    ]


def test_a_step_that_was_done_is_not_done_again(file: Path) -> None:
    prepared(file, 1, {})
    prepared(file, 2, ADD_COLOUR)
    prepared(file, 2, ADD_COLOUR)
    prepared(file, 3, {3: REPAINT[3]})
    assert version(file) == "3"


def test_a_step_that_fails_leaves_the_store_as_it_was(file: Path) -> None:
    prepared(file, 1, {})
    before = ask(file, "SELECT sql FROM sqlite_master")
    with pytest.raises(OperationalError):
        prepared(file, 2, {2: [*ADD_COLOUR[2], "UPDATE nowhere SET x = 1"]})
    assert version(file) == "1"
    assert ask(file, "SELECT sql FROM sqlite_master") == before


def test_a_store_of_a_newer_program_is_refused_and_left_alone(file: Path) -> None:
    prepared(file, 1, {})
    prepared(file, 2, ADD_COLOUR)
    before = file.read_bytes()
    with pytest.raises(StoreUnusable, match=r"newer hetzner-dyndns .*version 2.*knows 1"):
        prepared(file, 1, {})
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "/data/store.db",
        "://",
        "mysql://user:pw@db/x",
        "nosuchdatabase://x",
        "sqlite+nosuchdriver:///x",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql+psycopg://user:pw@db:port/x",
    ],
)
def test_a_url_nothing_can_be_made_of_is_refused_with_an_example(url: str) -> None:
    told = refused(url)
    assert "sqlite:////data/hetzner-dyndns.db" in told
    assert "pw" not in told


@pytest.mark.parametrize(
    "password", ["p@ssword", "p@ss:word", "p@ss/word", "p/ss@word", "p@ss?word", "p@ss@word", "@"]
)
@pytest.mark.parametrize("use", [prepare_store, require_store])
def test_a_password_that_nobody_has_escaped_is_refused_and_never_shown(
    password: str, use: Callable[[str], None]
) -> None:
    with pytest.raises(StoreUnusable) as caught:
        use(f"postgresql+psycopg://user:{password}@db.example.com/x")
    told = str(caught.value)
    assert "more than one `@`: write `@`, `/`, `:` and `%` of the password as `%40`" in told
    assert "ss" not in told.replace("password", "")
    assert "db.example.com" not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://us%40er:p%40ss%2Fwo%3Ard@db.example.com/x",
        "postgresql+psycopg://user@server:p/ss:word@db.example.com/x",
        "postgresql+psycopg://user@server@db.example.com/x",
        "postgresql+psycopg://user:pw@/x?host=db.example.com&host=other.example.com",
    ],
)
def test_a_login_that_ends_where_it_should_is_taken(url: str) -> None:
    require_escaped(url)


def test_a_path_may_hold_an_at(tmp_path: Path) -> None:
    file = tmp_path / "@home@work.db"
    prepare_store(url_of(file))
    assert file.exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("failed to resolve host 'db'\nand more", "failed to resolve host 'db'"),
        ("the password s3cr3t is wrong", "ConnectionError"),
        ("", "ConnectionError"),
    ],
)
def test_what_a_driver_says_is_told_unless_it_holds_the_password(said: str, told: str) -> None:
    url = make_url("postgresql+psycopg://user:s3cr3t@db/x")
    assert reason(ConnectionError(said), url) == told
    assert reason(OperationalError("SELECT 1", {}, ConnectionError(said)), url) == told


def test_a_folder_that_does_not_exist_is_refused_with_the_hint(file: Path) -> None:
    assert "check that the folder" in refused(file / "deeper" / "store.db")


def test_a_directory_in_the_place_of_the_store_is_refused(file: Path) -> None:
    file.mkdir()
    assert "unable to open" in refused(file)


def test_a_place_that_may_only_be_read_is_refused(file: Path) -> None:
    # Root is stopped by no permission bits, but by SQLite's own.
    file.touch()
    assert "readonly" in refused(f"sqlite:///file:{file}?mode=ro&uri=true")


@pytest.mark.parametrize("size", [100, 4096 * 4])
def test_a_file_that_is_no_store_is_refused_and_left_alone(file: Path, size: int) -> None:
    file.write_bytes(b"not a database, but somebody's diary\n" * (size // 37 + 1))
    before = file.read_bytes()
    assert "not a database" in refused(file)
    assert file.read_bytes() == before


def test_a_store_that_is_damaged_is_refused(file: Path) -> None:
    prepare_store(url_of(file))
    damaged = bytearray(file.read_bytes())
    damaged[100:] = b"\xff" * (len(damaged) - 100)
    file.write_bytes(bytes(damaged))
    assert "malformed" in refused(file)


def test_opening_nothing_is_done_before_it_is_used(file: Path) -> None:
    Store(url_of(file)).close()
    assert not file.exists()
