"""An update that was answered with success survives any crash."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until

KILLS = int(os.environ.get("KILLS", "5"))
SEED = int(os.environ.get("SEED", "20261124"))
HOSTS_A_KILL = 3
_CONVERGE_SECONDS = 120.0

pytestmark = pytest.mark.real()


class Stream:
    """A host that sends one new address after the other, and notes how it was answered."""

    def __init__(self, replica: Replica, host: str, number: int) -> None:
        self._replica = replica
        self._host = host
        self._number = number
        self._stopping = threading.Event()
        self.was_accepted = False
        self.acceptable: List[str] = []
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
            status, _ = self._replica.updates(self._host, address)
            if status == 200:
                # Whatever was sent before is superseded by this.
                self.acceptable = [address]
                self.was_accepted = True


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3, limits=(10**6, 10**6)) as sandbox:
        yield sandbox


def crash(replica: Replica, hosts: List[str], kills: int) -> Dict[str, List[str]]:
    """Kill all workers again and again amid updates; return what each host may end up with."""
    chance = random.Random(SEED)  # noqa: S311
    acceptable = {}
    for kill in range(kills):
        names = hosts[kill * HOSTS_A_KILL : (kill + 1) * HOSTS_A_KILL]
        streams = [
            Stream(replica, host, kill * HOSTS_A_KILL + index) for index, host in enumerate(names)
        ]
        threading.Event().wait(chance.uniform(0.0, 0.4))
        replica.kill_workers()
        for stream in streams:
            stream.stop()
        for name, stream in zip(names, streams):
            # A host that was never answered with success has no promise, but may have a record.
            acceptable[name] = stream.acceptable + ([] if stream.was_accepted else [""])
        replica.wait_until_well()
    return acceptable


def expect_convergence(sandbox: Sandbox, acceptable: Dict[str, List[str]]) -> None:
    def astray() -> Dict[str, object]:
        found = in_dns(sandbox, list(acceptable))
        return {
            host: (found[host], acceptable[host])
            for host in acceptable
            if ",".join(found[host]) not in acceptable[host]
        }

    until(lambda: not astray(), lambda: f"seed {SEED}, astray: {astray()}", _CONVERGE_SECONDS)


def test_every_host_ends_at_its_last_accepted_address_whenever_all_workers_are_killed(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    hosts = [f"host{number}.example.com" for number in range(KILLS * HOSTS_A_KILL)]
    replica = Replica(tmp_path, sandbox, hosts)
    replica.start()
    try:
        acceptable = crash(replica, hosts, KILLS)
        expect_convergence(sandbox, acceptable)
    finally:
        replica.stop()
    store = sqlite3.connect(str(tmp_path / "hetzner-dyndns.db"))
    try:
        assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        store.close()
    assert "Traceback" not in replica.said()


def test_an_unchanged_address_needs_no_hetzner_after_everything_was_killed(
    tmp_path: Path, sandbox: Sandbox
) -> None:
    replica = Replica(tmp_path, sandbox, ["host.example.com"])
    replica.start()
    assert replica.updates("host.example.com", "198.51.100.1") == (200, "good 198.51.100.1\n")
    replica.kill()
    sandbox.forget_calls()
    replica.start()
    try:
        assert replica.updates("host.example.com", "198.51.100.1") == (200, "nochg 198.51.100.1\n")
        writes = [call.line for call in sandbox.calls() if not call.path.startswith("/actions")]
        assert writes in ([], ["GET /zones?page=1&per_page=50"])  # to follow the action
    finally:
        replica.stop()
