"""Another replica takes over the leases of a killed replica."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Iterator

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, descendants, in_dns, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

HOST = "host.example.com"
# The documented limit.
TAKEOVER_SECONDS = 60.0
ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

pytestmark = pytest.mark.real(*PARTS, "unshare")


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


def may_unshare() -> bool:
    return subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0


class Pair:
    """Two replicas; the first one has both leases."""

    def __init__(self, folder: Path, sandbox: Sandbox, server: PostgreSQL) -> None:
        self._server = server
        url = server.new_database()
        self._database = url.rpartition("/")[2]
        for name in ("first", "second"):
            (folder / name).mkdir()
        self.first, self.second = (
            Replica(
                folder / name,
                sandbox,
                [HOST],
                STATE_URL=url,
                WEB_CONCURRENCY="2",
                CONNECTION_CHECK_INTERVAL="5",
            )
            for name in ("first", "second")
        )

    def owners(self) -> dict[str, str]:
        """Return the owners of the leases."""
        query = "SELECT name, owner FROM leases WHERE name IN ('reconciler', 'watcher')"
        return dict(self._server.ask(query, database=self._database))

    def start(self, prefix: tuple[str, ...]) -> dict[str, str]:
        self.first.start(prefix)
        until(lambda: len(self.owners()) == 2, lambda: f"{self.owners()}", 30)
        self.second.start()
        return self.owners()

    def expect_takeover(self, before: dict[str, str]) -> None:
        def is_over() -> bool:
            after = self.owners()
            return len(after) == 2 and not set(after.values()) & set(before.values())

        until(is_over, lambda: f"{before} -> {self.owners()}", TAKEOVER_SECONDS)
        pids = {int(owner.split()[1]) for owner in self.owners().values()}
        assert pids <= set(self.second.workers())

    def stop(self) -> None:
        for replica in (self.first, self.second):
            if replica.is_running:
                replica.stop()


@pytest.fixture
def pair(tmp_path: Path, sandbox: Sandbox, postgresql: PostgreSQL) -> Iterator[Pair]:
    pair = Pair(tmp_path, sandbox, postgresql)
    yield pair
    pair.stop()


@pytest.mark.parametrize("prefix", [(), ELSEWHERE], ids=["same-machine", "another-machine"])
def test_another_replica_finishes_the_work_of_a_killed_leader(
    pair: Pair, sandbox: Sandbox, prefix: tuple[str, ...]
) -> None:
    if prefix and not may_unshare():
        pytest.skip("needs the right to unshare PID namespaces")
    before = pair.start(prefix)
    sandbox.fail(503, count=None, path="/zones/*/rrsets")
    assert pair.first.update(HOST, "198.51.100.1") == (503, "911\n")
    pair.first.kill()
    sandbox.reset()
    pair.expect_takeover(before)
    until(
        lambda: in_dns(sandbox, [HOST])[HOST] == ["198.51.100.1"],
        lambda: f"not published:\n{pair.second.output()}",
        TAKEOVER_SECONDS,
    )


def test_a_leader_that_is_stopped_hands_over_at_once(pair: Pair) -> None:
    before = pair.start(())
    assert pair.first.stop() == 0
    pair.expect_takeover(before)


def test_any_replica_takes_over_from_a_killed_worker(pair: Pair) -> None:
    before = pair.start(())
    pair.first.kill_workers()

    def alive() -> list[int]:
        return descendants(pair.first.process.pid) + pair.second.workers()

    until(
        lambda: (
            not set(pair.owners().values()) & set(before.values())
            and {int(owner.split()[1]) for owner in pair.owners().values()} <= set(alive())
        ),
        lambda: f"{before} -> {pair.owners()}",
        TAKEOVER_SECONDS,
    )
