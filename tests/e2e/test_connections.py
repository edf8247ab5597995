"""The service survives many direct connections."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Iterator, Sequence

import pytest

from tests.e2e.processes import Backend, Hetzner
from tests.e2e.slow_callers import HALF_OPEN, MANNERS, SlowCallers

_FILES = 256


class Narrow(Backend):
    """A backend whose processes may open only a few files."""

    def command(self, arguments: Sequence[str]) -> list[str]:
        limit = f'ulimit -n {_FILES} && exec "$0" "$@"'
        return ["sh", "-c", limit, sys.executable, *arguments]


@pytest.fixture
def narrow(hetzner: Hetzner, folder: Path) -> Iterator[Narrow]:
    with Narrow(folder / "narrow", hetzner) as narrow:
        yield narrow


def both_workers(backend: Backend) -> list[int]:
    """Wait until both workers run; the first one may answer earlier."""
    backend.wait_until(lambda: len(backend.workers()) == 2, "to have two workers")
    return backend.workers()


def sockets_of(pid: int) -> int:
    files = Path(f"/proc/{pid}/fd").iterdir()
    return sum(str(file.resolve()).rpartition("/")[2].startswith("socket:") for file in files)


def assert_unhurt(backend: Backend, workers: list[int]) -> None:
    assert backend.workers() == workers
    assert "Traceback" not in backend.output
    assert "exited" not in backend.output
    assert "TIMEOUT" not in backend.output


def test_more_connections_than_files_end_no_worker(
    narrow: Narrow, hetzner: Hetzner, host: str
) -> None:
    workers = both_workers(narrow)
    callers = SlowCallers(narrow.port, 4 * _FILES, [HALF_OPEN])
    callers.start()
    try:
        most = _FILES // 2  # the other files are for the store, Hetzner and the log
        narrow.wait_until(
            lambda: all(sockets_of(pid) >= most for pid in workers), "to hold all it can"
        )
    finally:
        callers.stop()
    assert narrow.update(host, "198.51.100.1")["status"] == "created"
    hetzner.expect(host, "198.51.100.1")
    assert_unhurt(narrow, workers)


def test_slow_callers_end_no_worker(backend: Backend, hetzner: Hetzner, host: str) -> None:
    """Slow callers do occupy all threads: see docs/security.md."""
    workers = both_workers(backend)
    callers = SlowCallers(backend.port, 1000, MANNERS)
    callers.start()
    try:
        backend.wait_until(lambda: sum(map(sockets_of, workers)) >= 500, "to have taken many")
    finally:
        callers.stop()
    assert backend.update(host, "198.51.100.2")["status"] == "created"
    hetzner.expect(host, "198.51.100.2")
    assert_unhurt(backend, workers)
