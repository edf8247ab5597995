"""The file of an SQLite store is removed, replaced, damaged or locked under load."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Callable, ContextManager, Iterator

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, load, until

QUIET, BUSY = "quiet.example.com", "busy.example.com"
_SECONDS = 60.0
_MANY = 20

pytestmark = pytest.mark.real()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.1) as sandbox:
        yield sandbox


@pytest.fixture
def replica(tmp_path: Path, sandbox: Sandbox) -> Iterator[Replica]:
    replica = Replica(tmp_path, sandbox, [QUIET, BUSY])
    try:
        replica.start()
        assert replica.update(QUIET, "198.51.100.1")[0] == 200
        yield replica
    finally:
        code = replica.stop()
    assert code == 0
    assert "Traceback" not in replica.output()


def back_up(file: Path) -> Path:
    copy = file.with_name("copy")
    with contextlib.closing(sqlite3.connect(str(file))) as store, contextlib.closing(
        sqlite3.connect(str(copy))
    ) as backup:
        store.backup(backup)
    return copy


def restore(copy: Path, file: Path) -> None:
    for end in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            file.with_name(file.name + end).unlink()
    copy.replace(file)


@contextlib.contextmanager
def removed(file: Path) -> Iterator[None]:
    away = file.with_name("away")
    file.rename(away)
    yield
    away.rename(file)


@contextlib.contextmanager
def replaced_by_an_empty_file(file: Path) -> Iterator[None]:
    copy, new = back_up(file), file.with_name("new")
    new.touch()
    new.replace(file)
    yield
    restore(copy, file)


@contextlib.contextmanager
def replaced_by_another_file(file: Path) -> Iterator[None]:
    copy, new = back_up(file), file.with_name("new")
    new.write_bytes(b"not a store " * 1000)
    new.replace(file)
    yield
    restore(copy, file)


@contextlib.contextmanager
def truncated(file: Path) -> Iterator[None]:
    copy = back_up(file)
    os.truncate(file, 8192)
    yield
    restore(copy, file)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(str(file), isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        yield
        store.execute("ROLLBACK")


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (removed, "unable to open database file"),
        (replaced_by_an_empty_file, "no such table"),
        (replaced_by_another_file, "file is not a database"),
        (truncated, "database disk image is malformed"),
        (locked, "database is locked"),
    ],
)
def test_a_fault_is_reported_and_ends(
    replica: Replica,
    sandbox: Sandbox,
    fault: Callable[[Path], ContextManager[None]],
    problem: str,
) -> None:
    file, workers = replica.log.with_name("hetzner-dyndns.db"), replica.all_workers()
    with load(replica, QUIET, BUSY) as statuses:
        until(lambda: statuses[200] > _MANY, replica.output, _SECONDS)
        with fault(file):
            until(lambda: statuses[503] >= 2, replica.output, _SECONDS)
        before = statuses[200]
        until(lambda: statuses[200] > before + _MANY, replica.output, _SECONDS)
    until(lambda: replica.update(BUSY, "198.51.100.2")[0] == 200, replica.output, _SECONDS)
    until(lambda: in_dns(sandbox, [BUSY])[BUSY] == ["198.51.100.2"], replica.output, _SECONDS)
    replica.wait_until_well()
    lines = [line for line in replica.output().splitlines() if "can't be used" in line]
    assert any(f"The store can't be used ({problem}" in line for line in lines)
    assert len(lines) < _MANY, "a log line per update would fill the disk"
    assert replica.workers() == workers


def test_a_restored_copy_is_used_under_load(replica: Replica) -> None:
    file = replica.log.with_name("hetzner-dyndns.db")
    with load(replica, QUIET, BUSY) as statuses:
        until(lambda: statuses[200] > _MANY, replica.output, _SECONDS)
        restore(back_up(file), file)
        before = statuses[200]
        until(lambda: statuses[200] > before + _MANY, replica.output, _SECONDS)
    until(lambda: replica.update(BUSY, "198.51.100.2")[0] == 200, replica.output, _SECONDS)
    with contextlib.closing(sqlite3.connect(str(file))) as store:
        found = store.execute("SELECT desired FROM records WHERE host = ?", [BUSY]).fetchall()
    assert found == [("198.51.100.2",)]
