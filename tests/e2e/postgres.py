"""A PostgreSQL server for the tests with a cluster in a temporary folder."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Iterator, Sequence

import pytest

from tests.e2e.cluster import descendants, until
from tests.ports import free_port

PARTS = ("postgres", "psycopg")
_USER = "dyndns"
_PASSWORD = "a-password"
_START_SECONDS = 60.0
_numbers = itertools.count(1)


class PostgreSQL:
    """A server on a loopback port. It runs as the user postgres because root isn't allowed to."""

    def __init__(self) -> None:
        self._bin = max(Path("/usr/lib/postgresql").glob("*/bin"))
        self._folder = Path(tempfile.mkdtemp(prefix="dyndns-pg-"))
        self.port = free_port()
        self._log = self._folder / "log"
        self._server: list[subprocess.Popen[bytes]] = []

    def create(self) -> None:
        """Create the cluster."""
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
        passwords = self._folder / "passwords"
        passwords.write_text(_PASSWORD, encoding="ascii")
        made = subprocess.run(
            self._as_its_user(
                *("initdb", "--pgdata", str(self._folder / "data"), "--username", _USER),
                *("--auth", "scram-sha-256", "--pwfile", str(passwords), "--no-sync"),
                *("--encoding", "UTF8", "--locale", "C"),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = self._as_its_user(
            *("postgres", "-D", str(self._folder / "data"), "-k", str(self._folder)),
            *("-h", "127.0.0.1", "-p", str(self.port), "-c", "max_connections=200"),
        )
        with self._log.open("ab") as log:
            self._server = [subprocess.Popen(command, stdout=log, stderr=log)]
        until(self._answers, lambda: self._log.read_text(encoding="utf-8"), _START_SECONDS)

    def crash(self) -> None:
        """Stop the server with `pg_ctl stop -m immediate`, which drops all connections."""
        for server in self._server:
            server.send_signal(signal.SIGQUIT)
            server.wait(30)
        self._server = []

    def hang(self) -> None:
        """Suspend all server processes; connections stay open without answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def destroy(self) -> None:
        self.resume()
        self.crash()
        shutil.rmtree(self._folder)

    def new_database(self) -> str:
        """Create an empty database; return its URL for STATE_URL."""
        name = f"dyndns{next(_numbers)}"
        self.ask(f"CREATE DATABASE {name}", database="postgres")
        return f"postgresql+psycopg://{_USER}:{_PASSWORD}@127.0.0.1:{self.port}/{name}"

    def ask(self, query: str, *, database: str) -> list[tuple[Any, ...]]:
        """Execute a statement; return its rows, if any."""
        import psycopg  # noqa: PLC0415  # a test that needs it is skipped without it

        place = f"host=127.0.0.1 port={self.port} user={_USER} password={_PASSWORD}"
        with psycopg.connect(
            f"{place} dbname={database} connect_timeout=10", autocommit=True
        ) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready, check=False).returncode == 0

    def _as_its_user(self, program: str, *arguments: str) -> Sequence[str]:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() != 0:
            return command
        switch = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"]
        return [*switch, "env", "-i", f"HOME={self._folder}", "LC_ALL=C", *command]

    def _signal(self, number: signal.Signals) -> None:
        for server in self._server:
            for pid in [server.pid, *descendants(server.pid)]:
                os.kill(pid, number)


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.destroy()
