"""Two replicas with one PostgreSQL store serve the same hosts as one."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Iterator, NamedTuple

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql

__all__ = ["postgresql"]

CLIENTS = 20
UPDATES_A_CLIENT = 6
HOSTS = [f"host{number}.example.com" for number in range(1, 20)]
_CONVERGE_SECONDS = 60.0

pytestmark = pytest.mark.real(*PARTS)


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3, limits=(10**6, 10**6)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture(scope="module")
def database(postgresql: PostgreSQL) -> str:
    return postgresql.new_database()


@pytest.fixture(scope="module")
def replicas(
    running: Sandbox, database: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Replica, Replica]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("one", "other")]
    one, other = (
        Replica(folder, running, HOSTS, STATE_URL=database, WEB_CONCURRENCY="2")
        for folder in folders
    )
    try:
        one.start()
        other.start()
        yield one, other
    finally:
        codes = (one.stop(), other.stop())
    assert codes == (0, 0)
    assert "Traceback" not in one.output() + other.output()


def expect_in_dns(sandbox: Sandbox, host: str, address: str) -> None:
    until(
        lambda: in_dns(sandbox, [host])[host] == [address],
        lambda: f"{host} is at {in_dns(sandbox, [host])[host]}, not {address}",
        _CONVERGE_SECONDS,
    )


def calls_about(sandbox: Sandbox, host: str) -> list[str]:
    label = host.split(".", maxsplit=1)[0]
    return [
        call.line
        for call in sandbox.calls()
        if f"name={label}&" in call.query or f"/{label}/" in call.path
    ]


def test_replicas_share_their_state(replicas: tuple[Replica, Replica], sandbox: Sandbox) -> None:
    one, other = replicas
    host = HOSTS[0]
    assert one.update(host, "198.51.100.1") == (200, "good 198.51.100.1\n")
    expect_in_dns(sandbox, host, "198.51.100.1")
    sandbox.clear_calls()
    assert other.update(host, "198.51.100.1") == (200, "nochg 198.51.100.1\n")
    assert calls_about(sandbox, host) == []
    assert other.update(host, "198.51.100.2") == (200, "good 198.51.100.2\n")
    assert one.update(host, "198.51.100.2") == (200, "nochg 198.51.100.2\n")
    expect_in_dns(sandbox, host, "198.51.100.2")


def test_every_replica_shows_all_hosts(replicas: tuple[Replica, Replica]) -> None:
    host = HOSTS[1]
    assert replicas[0].update(host, "198.51.100.77")[0] == 200
    for replica in replicas:
        url = f"http://127.0.0.1:{replica.port}"
        page = replica.session.get(f"{url}/?q=100.77", timeout=20).text
        assert [name for name in HOSTS if f'id="host-{name}"' in page] == [host]
        metrics = replica.session.get(f"{url}/metrics", timeout=20).text
        assert metrics.count("dyndns_host_muted{") == len(HOSTS)
        listed = replica.session.get(f"{url}/hosts.json", timeout=20).json()
        assert {one["host"] for one in listed} == set(HOSTS)


class Sent(NamedTuple):
    """An update, its answer, and its start and end time."""

    address: str
    status: int
    started: float
    ended: float


def hammer(replicas: tuple[Replica, Replica], host: str, client: int) -> list[Sent]:
    """Send addresses one after the other, alternating between the replicas."""
    through = itertools.cycle(replicas if client % 2 else replicas[::-1])
    sent = []
    for number in range(UPDATES_A_CLIENT):
        address = f"10.{client}.{number}.1"
        started = time.monotonic()
        status, _ = next(through).update(host, address)
        sent.append(Sent(address, status, started, time.monotonic()))
    return sent


def test_the_last_accepted_of_twenty_clients_updates_counts(
    replicas: tuple[Replica, Replica],
    sandbox: Sandbox,
    postgresql: PostgreSQL,
    database: str,
) -> None:
    host = HOSTS[1]
    sandbox.delay(0.05)
    with ThreadPoolExecutor(CLIENTS) as pool:
        sent = [
            update
            for updates in pool.map(lambda client: hammer(replicas, host, client), range(CLIENTS))
            for update in updates
        ]
    assert {update.status for update in sent} <= {200, 503}
    accepted = [update for update in sent if update.status == 200]
    assert accepted
    # The clients can determine the last update only without an overlap: no update may be accepted
    # after the published one.
    query = "SELECT desired FROM records WHERE host = 'host2.example.com'"
    ((desired,),) = postgresql.ask(query, database=database.rpartition("/")[2])
    expect_in_dns(sandbox, host, desired)
    (winner,) = [update for update in sent if update.address == desired]
    later = [update for update in accepted if update.started > winner.ended]
    assert later == []
    writes = [
        call for call in sandbox.calls() if call.method != "GET" and f"{host[:5]}" in str(call)
    ]
    assert len(writes) > 1
    for before, after in zip(writes, writes[1:]):
        assert before.ended is not None
        assert before.ended <= after.started, f"{before} overlaps {after}"


def test_only_one_process_of_all_follows_an_action(
    replicas: tuple[Replica, Replica], sandbox: Sandbox
) -> None:
    sandbox.clear_calls()
    for number, host in enumerate(HOSTS[2:10]):
        assert replicas[number % 2].update(host, "198.51.100.3")[0] == 200
    until(
        lambda: len(polled(sandbox)) >= 8,
        lambda: f"asked for {polled(sandbox)}",
        _CONVERGE_SECONDS,
    )
    asked = polled(sandbox)
    assert len(asked) == len(set(asked)), "two processes polled the same action"


def polled(sandbox: Sandbox) -> list[str]:
    """Return the polled actions, each as often as it was polled."""
    return [
        part
        for call in sandbox.calls()
        if call.path == "/actions"
        for part in call.query.split("&")
    ]


def test_no_transaction_is_open_during_calls_to_hetzner(
    replicas: tuple[Replica, Replica],
    sandbox: Sandbox,
    postgresql: PostgreSQL,
    database: str,
) -> None:
    host = HOSTS[11]
    sandbox.delay(30, method="GET", path="/zones/*/rrsets")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(replicas[0].update, host, "198.51.100.4")
        until(lambda: calls_about(sandbox, host), lambda: "Hetzner isn't asked", 30)
        query = "SELECT state, query FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        found = []
        for _ in range(20):  # other transactions may be between two statements
            found = postgresql.ask(query, database=database.rpartition("/")[2])
            if not found:
                break
            threading.Event().wait(0.1)
        assert found == []
        assert not waiting.done()
        sandbox.reset()
        waiting.result()


def test_a_search_for_any_character_is_answered(replicas: tuple[Replica, Replica]) -> None:
    for text in ("%00", "host1%00", "%ff", "%ed%a0%80", "%25", "_", "%5c", "%27"):
        found = replicas[0].session.get(
            f"http://127.0.0.1:{replicas[0].port}/?q={text}", timeout=20
        )
        assert found.status_code == 200, text
