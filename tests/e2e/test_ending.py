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
def own_backend(hetzner: Hetzner, folder: Path) -> Iterator[Backend]:
    """Return a backend that its test may end in any way."""
    backend = Backend(folder, hetzner)
    backend.start()
    backend.wait_until(lambda: len(backend.workers()) == 2, "to have both workers")
    yield backend
    if backend.is_running:
        backend.stop()


def test_a_worker_that_is_stopped_while_it_starts_ends(hetzner: Hetzner, folder: Path) -> None:
    with Backend(folder, hetzner, module="tests.e2e.early_signal") as backend:
        (found,) = re.findall(r"^first worker: (\d+)$", backend.output, re.MULTILINE)
        backend.wait_until(
            lambda: int(found) not in backend.workers() and len(backend.workers()) == 2,
            "a new worker",
        )


def test_after_kill_9_an_unchanged_address_is_answered_from_memory(
    own_backend: Backend, hetzner: Hetzner, host: str
) -> None:
    assert own_backend.update(host, "198.51.100.1")["status"] == "created"
    own_backend.kill()
    hetzner.control("DELETE", "calls")
    own_backend.start()
    assert own_backend.update(host, "198.51.100.1")["status"] == "unchanged"
    assert hetzner.calls_about(host) == []
    hetzner.expect(host, "198.51.100.1")


def test_an_update_interrupted_by_kill_9_is_published_later(
    own_backend: Backend, hetzner: Hetzner, host: str
) -> None:
    hetzner.control("POST", "delay", seconds=1, path="/zones/*/rrsets", method="GET", count=1)
    updating = Updating(own_backend, host, "198.51.100.2")
    until(lambda: hetzner.calls_about(host), "the update to be under way")
    own_backend.kill()
    assert updating.answer() is None
    own_backend.start()
    hetzner.expect(host, "198.51.100.2")
    assert own_backend.update(host, "198.51.100.2")["status"] == "unchanged"


def test_a_killed_worker_is_replaced_without_lost_updates(
    own_backend: Backend, hetzner: Hetzner, host: str
) -> None:
    own_backend.update(host, "198.51.100.3")
    hetzner.control("DELETE", "calls")
    before = own_backend.workers()
    run(["sh", "-c", f"kill -9 {' '.join(map(str, before))}"], own_backend.folder)

    def has_other_workers() -> bool:
        now = own_backend.workers()
        return len(now) == len(before) and not set(now) & set(before)

    own_backend.wait_until(has_other_workers, "to have new workers")
    assert own_backend.update(host, "198.51.100.3")["status"] == "unchanged"
    assert hetzner.calls_about(host) == []
    assert "Worker" in own_backend.output


def test_gunicorns_lines_go_to_the_services_log(own_backend: Backend) -> None:
    (victim, *_) = own_backend.workers()
    run(["sh", "-c", f"kill -9 {victim}"], own_backend.folder)
    own_backend.wait_until(
        lambda: "SIGKILL" in own_backend.output, "a line about the killed worker"
    )
    (line,) = (line for line in own_backend.output.splitlines() if "SIGKILL" in line)
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z (WARNING|ERROR) ", line), line


def test_sigterm_ends_all_processes_without_lost_data(own_backend: Backend, host: str) -> None:
    own_backend.update(host, "198.51.100.4")
    workers = own_backend.workers()
    own_backend.stop()
    assert [pid for pid in workers if Path(f"/proc/{pid}").exists()] == []
    assert "Traceback" not in own_backend.output
    assert "ERROR" not in own_backend.output
    assert own_backend.query("select host from hosts where seen_at is not null") == [(host,)]


def test_sigterm_ends_it_while_connections_are_open(own_backend: Backend) -> None:
    with socket.create_connection(("127.0.0.1", own_backend.port)) as idle:
        idle.sendall(b"GET /ip HTTP/1.1\r\nHost: backend\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        own_backend.stop()


def test_an_update_under_way_at_sigterm_is_still_answered(
    own_backend: Backend, hetzner: Hetzner, host: str
) -> None:
    hetzner.control("POST", "delay", seconds=1, path="/zones/*/rrsets", method="GET", count=1)
    updating = Updating(own_backend, host, "198.51.100.5")
    until(lambda: hetzner.calls_about(host), "the update to be under way")
    own_backend.stop()
    assert updating.answer() == (200, "created")
    hetzner.expect(host, "198.51.100.5")
