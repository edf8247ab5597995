"""An update that was answered with success survives any crash."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Callable, Iterator

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

KILLS = int(os.environ.get("KILLS", "5"))
SEED = int(os.environ.get("SEED", "20261124"))
HOSTS_A_KILL = 3
# PostgreSQL's recovery is tested by its authors, so fewer kills are enough.
PART_ON_POSTGRESQL = 10
# One in this many kills includes the master process, and the service is restarted.
_WHOLE_CRASHES = 8
_CONVERGE_SECONDS = 180.0

pytestmark = pytest.mark.real()


class Stream:
    """A host that sends new addresses continuously, and records the answers."""

    def __init__(self, replica: Replica, host: str, number: int) -> None:
        self._replica = replica
        self._host = host
        self._number = number
        self._stopping = threading.Event()
        self.was_accepted = False
        self.acceptable: list[str] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        for step in range(250):
            if self._stopping.is_set():
                return
            address = f"10.{self._number >> 8}.{self._number & 255}.{step + 1}"
            self.acceptable.append(address)
            status, _ = self._replica.update(self._host, address)
            if status == 200:
                # This update supersedes the earlier ones.
                self.acceptable = [address]
                self.was_accepted = True


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3, limits=(10**6, 10**6)) as sandbox:
        yield sandbox


def crash(
    replica: Replica, hosts: list[str], kills: int, expect_intact: Callable[[], None]
) -> dict[str, list[str]]:
    """Kill all workers repeatedly during updates; return the permitted addresses of each host."""
    chance = random.Random(SEED)  # noqa: S311
    acceptable = {}
    for kill in range(kills):
        first = kill * HOSTS_A_KILL
        names = hosts[first : first + HOSTS_A_KILL]
        streams = [Stream(replica, host, first + index) for index, host in enumerate(names)]
        threading.Event().wait(chance.uniform(0.0, 0.6))
        is_whole = chance.randrange(_WHOLE_CRASHES) == 0
        (replica.kill if is_whole else replica.kill_workers)()
        for stream in streams:
            stream.stop()
        expect_intact()
        for name, stream in zip(names, streams):
            # A host without a successful answer may have any or no record.
            acceptable[name] = stream.acceptable + ([] if stream.was_accepted else [""])
        if is_whole:
            replica.start()
        replica.wait_until_well()
    return acceptable


def expect_convergence(sandbox: Sandbox, acceptable: dict[str, list[str]]) -> None:
    def wrong_records() -> dict[str, object]:
        found = in_dns(sandbox, list(acceptable))
        return {
            host: (found[host], acceptable[host])
            for host in acceptable
            if ",".join(found[host]) not in acceptable[host]
        }

    until(
        lambda: not wrong_records(),
        lambda: f"seed {SEED}, wrong records: {wrong_records()}",
        _CONVERGE_SECONDS,
    )


def crash_and_converge(
    replica: Replica, hosts: list[str], kills: int, expect_intact: Callable[[], None]
) -> None:
    replica.start()
    try:
        acceptable = crash(replica, hosts, kills, expect_intact)
        expect_convergence(replica.sandbox, acceptable)
        expect_intact()
    finally:
        replica.stop()
    assert "Traceback" not in replica.output()


def names(kills: int) -> list[str]:
    return [f"host{number}.example.com" for number in range(kills * HOSTS_A_KILL)]


def test_kills_lose_no_accepted_address(tmp_path: Path, sandbox: Sandbox) -> None:
    def expect_intact() -> None:
        with closing(sqlite3.connect(str(tmp_path / "hetzner-dyndns.db"), timeout=30)) as store:
            found = store.execute("PRAGMA integrity_check").fetchall()
        assert found == [("ok",)], f"seed {SEED}"

    hosts = names(KILLS)
    crash_and_converge(Replica(tmp_path, sandbox, hosts), hosts, KILLS, expect_intact)


@pytest.mark.real(*PARTS)
def test_the_same_holds_where_the_store_is_postgresql(
    tmp_path: Path, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    url = postgresql.new_database()
    kills = max(3, KILLS // PART_ON_POSTGRESQL)
    hosts = names(kills)

    def expect_intact() -> None:
        query = (
            "SELECT count(*) FROM records "
            "WHERE state = 'published' AND desired IS DISTINCT FROM published"
        )
        assert postgresql.ask(query, database=url.rpartition("/")[2]) == [(0,)], f"seed {SEED}"

    replica = Replica(tmp_path, sandbox, hosts, STATE_URL=url)
    crash_and_converge(replica, hosts, kills, expect_intact)


def test_an_unchanged_address_needs_no_hetzner_after_everything_was_killed(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    replica = Replica(tmp_path, sandbox, ["host.example.com"])
    replica.start()
    assert replica.update("host.example.com", "198.51.100.1") == (200, "good 198.51.100.1\n")
    replica.kill()
    sandbox.clear_calls()
    replica.start()
    try:
        assert replica.update("host.example.com", "198.51.100.1") == (200, "nochg 198.51.100.1\n")
        writes = [call.line for call in sandbox.calls() if not call.path.startswith("/actions")]
        assert writes in ([], ["GET /zones?page=1&per_page=50"])  # to follow the action
    finally:
        replica.stop()
