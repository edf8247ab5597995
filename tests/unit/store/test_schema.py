from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any, Callable, Iterator, Mapping, Sequence

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError

from backend.errors import StoreUnusable
from backend.store import Store, database, file_hint, opened, prepare_store
from backend.store.database import Database, connect, reason, require_escaped
from backend.store.schema import MIGRATIONS, VERSION, migrate
from tests.unit.fakes import host, update

SYNCHRONOUS = database._SYNCHRONOUS  # noqa: SLF001 - before a fixture replaces it for all tests
ADD_COLOUR = {2: ["ALTER TABLE hosts ADD COLUMN colour VARCHAR"]}
REPAINT = {**ADD_COLOUR, 3: ["UPDATE hosts SET colour = 'red'", "UPDATE hosts SET seen_at = 7"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def url_of(file: Path) -> str:
    return f"sqlite:///{file}"


def query(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(str(file))) as connection:
        found = connection.execute(sql).fetchall()
        connection.commit()
        return found


def version(file: Path) -> str:
    return query(file, "SELECT value FROM meta WHERE key = 'schema'")[0][0]


def migrate_to(file: Path, version: int, migrations: Mapping[int, Sequence[str]]) -> None:
    engine = connect(url_of(file), pool_size=1)
    try:
        with engine.begin() as connection:
            migrate(connection, version, migrations)
    finally:
        engine.dispose()


def refusal(file_or_url: object) -> str:
    url = url_of(file_or_url) if isinstance(file_or_url, Path) else str(file_or_url)
    with pytest.raises(StoreUnusable) as caught:
        prepare_store(url)
    message = str(caught.value)
    assert message.startswith("STATE_URL")
    assert "\n" not in message
    assert caught.value.__suppress_context__
    return message


def open_existing(url: str) -> None:
    with opened(url):
        pass


def test_a_new_store_has_the_newest_version(file: Path) -> None:
    prepare_store(url_of(file))
    assert version(file) == str(VERSION)


def test_preparing_again_keeps_the_data(file: Path) -> None:
    prepare_store(url_of(file))
    store = Store(url_of(file))
    store.records.set_desired(update("198.51.100.1"), 1, 1)
    before = store.records.of(host())
    prepare_store(url_of(file))
    assert store.records.of(host()) == before
    store.close()


def test_every_version_has_a_migration() -> None:
    assert set(MIGRATIONS) == set(range(2, VERSION + 1))


def test_a_prerelease_store_is_refused_and_not_changed(file: Path) -> None:
    query(file, "CREATE TABLE meta (key VARCHAR PRIMARY KEY, value VARCHAR NOT NULL)")
    query(file, "INSERT INTO meta VALUES ('version', '4')")
    for use in (prepare_store, open_existing):
        with pytest.raises(StoreUnusable, match="before the first release") as caught:
            use(url_of(file))
        assert "move it away and start the service" in str(caught.value)
    assert query(file, "SELECT name FROM sqlite_master WHERE type = 'table'") == [("meta",)]
    assert query(file, "SELECT * FROM meta") == [("version", "4")]


def test_the_database_uses_a_wal_and_waits_for_the_disk_if_asked(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_SYNCHRONOUS", SYNCHRONOUS)
    prepare_store(url_of(file))
    assert query(file, "PRAGMA journal_mode") == [("wal",)]
    store = Database(connect(url_of(file), pool_size=1))
    for durable, synchronous in ((True, "FULL"), (False, "NORMAL"), (True, "FULL")):
        with store.write(durable=durable) as connection:
            number = connection.exec_driver_sql("PRAGMA synchronous").scalar()
        assert ["OFF", "NORMAL", "FULL"][number] == synchronous
    store.close()


def test_an_older_store_is_migrated_with_its_data(
    file: Path,
) -> None:
    migrate_to(file, 1, {})
    store = Store(url_of(file))
    store.hosts.register([host()], 100)
    store.close()
    migrate_to(file, 3, REPAINT)
    assert version(file) == "3"
    assert query(file, "SELECT host, registered_at, seen_at, colour FROM hosts") == [
        ("host.example.com", 100, 7, "red")
    ]


def test_a_migration_is_applied_once(file: Path) -> None:
    migrate_to(file, 1, {})
    migrate_to(file, 2, ADD_COLOUR)
    migrate_to(file, 2, ADD_COLOUR)
    migrate_to(file, 3, {3: REPAINT[3]})
    assert version(file) == "3"


def test_a_failed_migration_does_not_change_the_store(file: Path) -> None:
    migrate_to(file, 1, {})
    before = query(file, "SELECT sql FROM sqlite_master")
    with pytest.raises(OperationalError):
        migrate_to(file, 2, {2: [*ADD_COLOUR[2], "UPDATE missing SET x = 1"]})
    assert version(file) == "1"
    assert query(file, "SELECT sql FROM sqlite_master") == before


def test_a_store_of_a_newer_version_is_refused_unchanged(file: Path) -> None:
    migrate_to(file, 1, {})
    migrate_to(file, 2, ADD_COLOUR)
    before = file.read_bytes()
    with pytest.raises(StoreUnusable, match=r"newer hetzner-dyndns .*version 2.*knows 1"):
        migrate_to(file, 1, {})
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
def test_an_invalid_url_is_refused_with_an_example(url: str) -> None:
    message = refusal(url)
    assert "sqlite:////data/hetzner-dyndns.db" in message
    assert "pw" not in message


STRANGER = 1234
OPENING = """
import os, sys
import sqlalchemy.dialects.sqlite
from backend.errors import StoreUnusable
from backend.store import prepare_store
os.setgid(1234); os.setuid(1234)
try:
    prepare_store(f"sqlite:///{sys.argv[1]}/store.db")
except StoreUnusable as error:
    print(error)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root: files of another user")
class TestAStoreOfAnotherUser:
    @pytest.fixture
    def data(self) -> Iterator[Path]:
        # Every start of pytest denies other users access to the folder above all `tmp_path`s.
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)
            yield Path(folder) / "my data"

    def error(self, data: Path) -> str:
        command = [sys.executable, "-c", OPENING, str(data)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def fix(self, data: Path) -> None:
        """Run the command of the error, after which the store can be used."""
        error = self.error(data)
        assert error.count("\n") == 1
        problem = f"STATE_URL: uid {STRANGER} can't use the store {data}/store.db ("
        assert error.startswith(problem)
        subprocess.run(["sh", "-ec", re.findall("`(.+?)`", error)[0]], check=True)
        assert self.error(data) == ""

    @pytest.mark.parametrize("ends", [[""], ["", "-wal"], ["-shm"]])
    def test_is_refused_with_the_command_that_helps(self, data: Path, ends: list[str]) -> None:
        data.mkdir()
        prepare_store(url_of(data / "store.db"))
        for path in (data, data / "store.db"):
            os.chown(path, STRANGER, STRANGER)
        for end in ends:
            path = data / f"store.db{end}"
            path.touch()
            os.chown(path, 0, 0)
            path.chmod(0o600)
        self.fix(data)
        assert version(data / "store.db") == str(VERSION)

    def test_in_a_read_only_file_is_refused_with_the_command(self, data: Path) -> None:
        data.mkdir()
        prepare_store(url_of(data / "store.db"))
        for path in (data, data / "store.db"):
            os.chown(path, STRANGER, STRANGER)
            path.chmod(0o500 if path is data else 0o400)
        self.fix(data)

    @pytest.mark.parametrize("mode", [0o700, 0o755])
    def test_in_a_folder_of_root_is_refused_with_the_command(self, data: Path, mode: int) -> None:
        data.mkdir(mode=mode)
        self.fix(data)

    def test_in_a_missing_folder_is_refused_with_the_command(self, data: Path) -> None:
        self.fix(data)

    def test_below_a_closed_folder_is_refused_with_its_name(self, data: Path) -> None:
        data.mkdir(mode=0o700)
        (data / "below").mkdir()
        assert f"this user may not enter {data}: name a file" in self.error(data / "below")


def test_a_folder_as_store_is_refused_with_an_example(tmp_path: Path) -> None:
    assert f"sqlite:///{tmp_path}/hetzner-dyndns.db" in refusal(tmp_path)


def test_a_read_only_folder_is_refused_with_its_own_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda _: ReadOnly)
    hint = file_hint(tmp_path / "store.db")
    assert hint == f"{tmp_path} is read-only: mount it writable, in Docker without `:ro`."


@pytest.mark.parametrize(
    "password", ["p@ssword", "p@ss:word", "p@ss/word", "p/ss@word", "p@ss?word", "p@ss@word", "@"]
)
@pytest.mark.parametrize("use", [prepare_store, open_existing])
def test_an_unescaped_password_is_refused_and_not_shown(
    password: str, use: Callable[[str], None]
) -> None:
    with pytest.raises(StoreUnusable) as caught:
        use(f"postgresql+psycopg://user:{password}@db.example.com/x")
    message = str(caught.value)
    assert "more than one `@`: write `@`, `/`, `:` and `%` of the password as `%40`" in message
    assert "ss" not in message.replace("password", "")
    assert "db.example.com" not in message


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://us%40er:p%40ss%2Fwo%3Ard@db.example.com/x",
        "postgresql+psycopg://user@server:p/ss:word@db.example.com/x",
        "postgresql+psycopg://user@server@db.example.com/x",
        "postgresql+psycopg://user:pw@/x?host=db.example.com&host=other.example.com",
    ],
)
def test_an_unambiguous_login_is_accepted(url: str) -> None:
    require_escaped(url)


def test_a_path_may_contain_an_at_sign(tmp_path: Path) -> None:
    file = tmp_path / "@home@work.db"
    prepare_store(url_of(file))
    assert file.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("failed to resolve host 'db'\nand more", "failed to resolve host 'db'"),
        ("the password s3cr3t is wrong", "ConnectionError"),
        ("", "ConnectionError"),
    ],
)
def test_the_message_of_a_driver_is_shown_without_a_password(text: str, message: str) -> None:
    url = make_url("postgresql+psycopg://user:s3cr3t@db/x")
    assert reason(ConnectionError(text), url) == message
    assert reason(OperationalError("SELECT 1", {}, ConnectionError(text)), url) == message


def test_a_missing_folder_is_refused_with_a_hint(file: Path) -> None:
    message = refusal(file / "deeper" / "store.db")
    assert f"create its folder with `install -d -o {os.getuid()} {file}/deeper`" in message


def test_a_directory_as_the_store_is_refused(file: Path) -> None:
    file.mkdir()
    assert "unable to open" in refusal(file)


def test_a_read_only_file_is_refused(file: Path) -> None:
    # Permission bits don't stop root, so SQLite opens the file read-only.
    file.touch()
    assert "readonly" in refusal(f"sqlite:///file:{file}?mode=ro&uri=true")


@pytest.mark.parametrize("size", [100, 4096 * 4])
def test_a_file_in_another_format_is_refused_and_not_changed(file: Path, size: int) -> None:
    file.write_bytes(b"not a database\n" * (size // 15 + 1))
    before = file.read_bytes()
    assert "not a database" in refusal(file)
    assert file.read_bytes() == before


def test_a_damaged_store_is_refused(file: Path) -> None:
    prepare_store(url_of(file))
    damaged = bytearray(file.read_bytes())
    damaged[100:] = b"\xff" * (len(damaged) - 100)
    file.write_bytes(bytes(damaged))
    assert "malformed" in refusal(file)


def test_opening_a_store_creates_no_file(file: Path) -> None:
    Store(url_of(file)).close()
    assert not file.exists()
