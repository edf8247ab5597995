"""The service ends after SIGTERM or SIGKILL, and its state survives the next start."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Iterator

import pytest

from tests.e2e.processes import Backend, Hetzner, run, until
from tests.e2e.updating import Updating


@pytest.fixture
def mortal(hetzner: Hetzner, folder: Path) -> Iterator[Backend]:
    """Return a backend that its test may end in any way."""
    backend = Backend(folder, hetzner)
    backend.start()
    backend.wait_until(lambda: len(backend.workers()) == 2, "to have both workers")
    yield backend
    if backend.is_running:
        backend.stop()


def test_after_kill_9_an_unchanged_address_is_answered_from_memory(
    mortal: Backend, hetzner: Hetzner, host: str
) -> None:
    assert mortal.updates(host, "198.51.100.1")["status"] == "created"
    mortal.kill()
    hetzner.door("DELETE", "calls")
    mortal.start()
    assert mortal.updates(host, "198.51.100.1")["status"] == "unchanged"
    assert hetzner.calls_about(host) == []
    hetzner.expect(host, "198.51.100.1")


def test_an_update_interrupted_by_kill_9_is_published_later(
    mortal: Backend, hetzner: Hetzner, host: str
) -> None:
    hetzner.door("POST", "delay", seconds=1, path="/zones/*/rrsets", method="GET", count=1)
    updating = Updating(mortal, host, "198.51.100.2")
    until(lambda: hetzner.calls_about(host), "the update to be under way")
    mortal.kill()
    assert updating.answer() is None
    mortal.start()
    hetzner.expect(host, "198.51.100.2")
    assert mortal.updates(host, "198.51.100.2")["status"] == "unchanged"


def test_a_killed_worker_is_replaced_and_loses_nothing(
    mortal: Backend, hetzner: Hetzner, host: str
) -> None:
    mortal.updates(host, "198.51.100.3")
    hetzner.door("DELETE", "calls")
    before = mortal.workers()
    run(["sh", "-c", f"kill -9 {' '.join(map(str, before))}"], mortal.folder)

    def has_other_workers() -> bool:
        now = mortal.workers()
        return len(now) == len(before) and not set(now) & set(before)

    mortal.wait_until(has_other_workers, "to have new workers")
    assert mortal.updates(host, "198.51.100.3")["status"] == "unchanged"
    assert hetzner.calls_about(host) == []
    assert "Worker" in mortal.output


def test_gunicorns_lines_go_to_the_services_log(mortal: Backend) -> None:
    (victim, *_) = mortal.workers()
    run(["sh", "-c", f"kill -9 {victim}"], mortal.folder)
    mortal.wait_until(lambda: "SIGKILL" in mortal.output, "to say that a worker was killed")
    (line,) = (line for line in mortal.output.splitlines() if "SIGKILL" in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z (WARNING|ERROR) ", line), line


def test_sigterm_ends_all_processes_and_loses_nothing(mortal: Backend, host: str) -> None:
    mortal.updates(host, "198.51.100.4")
    workers = mortal.workers()
    mortal.stop()
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
    assert "Traceback" not in mortal.output
    assert "ERROR" not in mortal.output
    assert mortal.finds("select host from hosts where seen_at is not null") == [(host,)]


def test_sigterm_ends_it_while_connections_are_open(mortal: Backend) -> None:
    with socket.create_connection(("127.0.0.1", mortal.port)) as idle:
        idle.sendall(b"GET /ip HTTP/1.1\r\nHost: backend\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        mortal.stop()


def test_an_update_under_way_at_sigterm_is_still_answered(
    mortal: Backend, hetzner: Hetzner, host: str
) -> None:
    hetzner.door("POST", "delay", seconds=1, path="/zones/*/rrsets", method="GET", count=1)
    updating = Updating(mortal, host, "198.51.100.5")
    until(lambda: hetzner.calls_about(host), "the update to be under way")
    mortal.stop()
    assert updating.answer() == (200, "created")
    hetzner.expect(host, "198.51.100.5")
