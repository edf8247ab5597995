"""The key file and the list of hosts change under a running service."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Iterator

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

HOST, OTHER = "host.example.com", "other.example.com"
OLD, NEW = "the-old-key-of-the-host", "the-new-key-of-the-host"
ROUNDS = 10
_SECONDS = 60.0


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.1) as sandbox:
        yield sandbox


def status_of(replica: Replica, key: str, host: str = HOST) -> int:
    url = f"http://127.0.0.1:{replica.port}/nic/update"
    query = {"hostname": host, "myip": "198.51.100.1"}
    return int(replica.session.get(url, params=query, auth=(host, key), timeout=20).status_code)


def test_keys_stay_valid_while_an_editor_rewrites_the_file(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    path = tmp_path / "pre-shared-key"
    before = f"{HOST} {OLD}\n{OTHER} {OLD}\n"
    path.write_text(before)
    replica = Replica(tmp_path, sandbox, [HOST, OTHER])
    replica.start()
    statuses: list[tuple[str, int]] = []
    is_over = threading.Event()

    def edits() -> None:
        after = before.replace(f"{HOST} {OLD}", f"{HOST} {NEW}")
        for _ in range(ROUNDS):
            with path.open("w") as file:
                for part in (after[:20], after[20:40], after[40:]):
                    file.flush()
                    is_over.wait(0.05)
                    file.write(part)
        is_over.set()

    try:
        assert status_of(replica, OLD) == 200
        editor = threading.Thread(target=edits)
        editor.start()
        while not is_over.is_set():
            statuses += [
                ("old", status_of(replica, OLD)),
                ("other", status_of(replica, OLD, OTHER)),
            ]
        editor.join()
        statuses.append(("new", status_of(replica, NEW)))
        assert {status for _, status in statuses} == {200}, statuses
        until(lambda: status_of(replica, OLD) == 401, replica.output, _SECONDS)
        assert {status_of(replica, NEW) for _ in range(20)} == {200}
        assert replica.output().count("Failed login") == 1, "the old key must be refused"
    finally:
        assert replica.stop() == 0


class Fleet:
    """Services with different lists of hosts, started together or one after the other."""

    def __init__(self, folder: Path, sandbox: Sandbox, **variables: str) -> None:
        self._folder, self._sandbox, self._variables = folder, sandbox, variables
        self._running: dict[Replica, None] = {}

    def start(self, *hosts: str) -> Replica:
        replica = Replica(self._folder, self._sandbox, hosts, **self._variables)
        self._running[replica] = None
        replica.start()
        return replica

    def stop(self, replica: Replica) -> None:
        del self._running[replica]
        assert replica.stop() == 0

    def stop_all(self) -> None:
        for replica in list(self._running):
            self.stop(replica)


@pytest.fixture
def fleet(tmp_path: Path, sandbox: Sandbox) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, sandbox)
    yield fleet
    fleet.stop_all()


def store_refused_update(replica: Replica, sandbox: Sandbox, host: str, address: str) -> None:
    """Send an update that Hetzner refuses."""
    sandbox.fail(503, count=None, path="/zones/*/rrsets*")
    assert replica.update(host, address)[0] == 503


def test_a_host_registered_again_is_published_after_its_next_update(
    fleet: Fleet, sandbox: Sandbox
) -> None:
    with_host = fleet.start(HOST, OTHER)
    store_refused_update(with_host, sandbox, HOST, "198.51.100.1")
    store_refused_update(with_host, sandbox, OTHER, "198.51.100.2")
    fleet.stop(with_host)
    fleet.stop(fleet.start(OTHER))
    sandbox.reset()
    again = fleet.start(HOST, OTHER)
    until(lambda: in_dns(sandbox, [OTHER])[OTHER] == ["198.51.100.2"], again.output, _SECONDS)
    assert in_dns(sandbox, [HOST])[HOST] == []
    assert f"{HOST} is registered again" in again.output()
    assert again.update(HOST, "198.51.100.3")[0] == 200
    until(lambda: in_dns(sandbox, [HOST])[HOST] == ["198.51.100.3"], again.output, _SECONDS)


@pytest.mark.real(*PARTS)
def test_a_host_that_one_replica_serves_keeps_its_data(
    tmp_path: Path, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    fleet = Fleet(tmp_path, sandbox, STATE_URL=postgresql.new_database())
    try:
        new = fleet.start(HOST, OTHER)
        store_refused_update(new, sandbox, HOST, "198.51.100.1")
        old = fleet.start(OTHER)
        fleet.stop(old)
        sandbox.reset()
        until(lambda: in_dns(sandbox, [HOST])[HOST] == ["198.51.100.1"], new.output, _SECONDS)
    finally:
        fleet.stop_all()
