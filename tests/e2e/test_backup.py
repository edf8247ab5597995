"""The commands of docs/operations.md, "Backup" and "Restore", work under load."""

from __future__ import annotations

import re
import shlex
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Iterator

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql  # noqa: F401  # a fixture
from tests.e2e.processes import ROOT, Backend, Hetzner, environment, until

TEXT = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("\n## Backup\n")[2].partition("\n## Upgrade\n")[0]
HOST, BUSY = "host1.example.com", "host2.example.com"
BEFORE, AFTER = "198.51.100.1", "198.51.100.2"


def block(words: str) -> str:
    """Return the only block of commands that contains a text."""
    (found,) = (one for one in re.findall(r"```sh\n(.*?)```", SECTION, re.DOTALL) if words in one)
    return str(found)


def typed(command: str, folder: Path) -> None:
    """Run commands in the folder of the store."""
    command = command.replace(".venv/bin/python", shlex.quote(sys.executable))
    ended = subprocess.run(
        ["sh", "-e", "-c", command],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


class Updates:
    """A host that continuously sends new addresses."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._over = threading.Event()
        self.number = 0
        self._thread = threading.Thread(target=self._go)
        self._thread.start()

    def _go(self) -> None:
        while not self._over.is_set():
            self._backend.update(BUSY, f"203.0.113.{self.number % 250 + 1}")
            self.number += 1

    def end(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def home(hetzner: Hetzner, tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(tmp_path / "home", hetzner)
    backend.start()
    yield backend
    backend.stop()


def rows(file: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(str(file))) as connection:
        return connection.execute(query).fetchall()


def mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def published(file: Path) -> object:
    query = f"SELECT published FROM records WHERE host = '{HOST}'"  # noqa: S608
    return rows(file, query)[0][0]


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(".backup", marks=pytest.mark.real("sqlite3")),
        "connect('file:hetzner-dyndns.db?mode=ro'",
    ],
)
def test_a_copy_of_a_running_services_store_can_be_restored(
    home: Backend, hetzner: Hetzner, way: str
) -> None:
    copy = home.folder / "copy.db"
    home.update(HOST, BEFORE)
    busy = Updates(home)
    try:
        until(lambda: busy.number > 3, "some updates")
        typed(block(way), home.folder)
        number = busy.number
        until(lambda: busy.number > number + 3, "updates to go on after the copy")
    finally:
        busy.end()
    assert rows(copy, "PRAGMA integrity_check") == [("ok",)]
    assert mode(copy) == 0o600
    assert published(copy) == BEFORE
    home.update(HOST, AFTER)
    hetzner.expect(HOST, AFTER)
    home.stop()
    assert published(home.folder / "hetzner-dyndns.db") == AFTER
    typed(block("hetzner-dyndns.db-wal"), home.folder)
    assert mode(home.folder / "hetzner-dyndns.db") == 0o600
    home.start()
    assert published(home.folder / "hetzner-dyndns.db") == BEFORE
    assert home.update(HOST, AFTER)["status"] in {"updated", "unchanged"}
    hetzner.expect(HOST, AFTER)
    assert home.update(BUSY, "203.0.113.251")["status"] == "updated"


def test_a_service_without_its_store_continues_from_hetzners_records(
    home: Backend, hetzner: Hetzner
) -> None:
    home.update(HOST, BEFORE)
    home.stop()
    typed("rm hetzner-dyndns.db*", home.folder)
    home.start()
    assert home.update(HOST, BEFORE)["status"] == "unchanged"
    hetzner.expect(HOST, BEFORE)


@pytest.mark.real(*PARTS, "pg_dump", "pg_restore")
def test_a_postgresql_store_is_copied_and_brought_back(
    postgresql: PostgreSQL,  # noqa: F811
    tmp_path: Path,
) -> None:
    url = postgresql.new_database()
    plain = url.replace("+psycopg", "")
    database = url.rpartition("/")[2]
    query = f"SELECT published FROM records WHERE host = '{HOST}'"  # noqa: S608
    with Sandbox(zones=["example.com"], action_seconds=0.1) as sandbox:
        replica = Replica(tmp_path, sandbox, [HOST], STATE_URL=url)
        replica.start()
        try:
            assert replica.update(HOST, BEFORE) == (200, f"good {BEFORE}\n")
            typed(filled_in(block("pg_dump"), plain), tmp_path)
            assert replica.update(HOST, AFTER) == (200, f"good {AFTER}\n")
            replica.stop()
            typed(filled_in(block("pg_restore"), plain), tmp_path)
            assert postgresql.ask(query, database=database) == [(BEFORE,)]
            replica.start()
            assert replica.update(HOST, AFTER)[0] == 200
            assert postgresql.ask(query, database=database) == [(AFTER,)]
        finally:
            replica.stop()


def filled_in(command: str, url: str) -> str:
    return command.replace("postgresql://dyndns:password@db.example.com/dyndns", url)
