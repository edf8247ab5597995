"""Callers are answered in time while PostgreSQL is down or hangs, and the service recovers."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Iterator

import pytest

from backend.model import Hostname
from backend.store import Store, prepare_store
from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, load, until
from tests.e2e.postgres import PARTS, PostgreSQL, postgresql
from tests.ports import free_port

__all__ = ["postgresql"]

HOSTS = [f"host{number}.example.com" for number in range(40)]
UNAVAILABLE = (503, "911\n")
# inadyn's timeout; the service allows itself eight seconds.
PATIENCE = 10.0
_BACK_SECONDS = 60.0
END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
OTHERS = "datname = current_database() AND pid <> pg_backend_pid()"

pytestmark = pytest.mark.real(*PARTS)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


@pytest.fixture
def replica(sandbox: Sandbox, postgresql: PostgreSQL, tmp_path: Path) -> Iterator[Replica]:
    sandbox.reset()
    replica = Replica(tmp_path, sandbox, HOSTS, STATE_URL=postgresql.new_database())
    try:
        replica.start()
        yield replica
    finally:
        code = replica.stop()
    assert code == 0
    assert "Traceback" not in replica.output()


def send_from_all(replica: Replica, last: int) -> list[tuple[int, str]]:
    """Send a new address from every host at the same time, with a router's timeout."""
    with ThreadPoolExecutor(len(HOSTS)) as pool:
        sent = [
            pool.submit(replica.update, host, f"198.51.{number}.{last}", PATIENCE)
            for number, host in enumerate(HOSTS)
        ]
        return [update.result() for update in sent]


def _database_of(replica: Replica) -> str:
    name: str = replica.surroundings["env"]["STATE_URL"].rpartition("/")[2]
    return name


def expect_back(replica: Replica, sandbox: Sandbox, host: str, address: str) -> None:
    """Expect that a retried update succeeds without a restart."""
    until(
        lambda: replica.update(host, address)[0] == 200,
        lambda: f"{host} isn't served again:\n{replica.output()}",
        _BACK_SECONDS,
    )
    until(
        lambda: in_dns(sandbox, [host])[host] == [address],
        lambda: f"{host} isn't at {address}:\n{replica.output()}",
        _BACK_SECONDS,
    )


def test_a_database_outage_is_reported_and_ends(
    replica: Replica, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    assert replica.update(HOSTS[0], "198.51.100.1")[0] == 200
    workers = replica.all_workers()
    postgresql.crash()
    try:
        sandbox.clear_calls()
        assert send_from_all(replica, 1) == [UNAVAILABLE] * len(HOSTS)
        assert replica.update(HOSTS[0], "198.51.100.1") == UNAVAILABLE
        assert not replica.is_well()
        assert sandbox.calls() == [], "an update must be stored before a call to Hetzner"
        assert "The store can't be used" in replica.output()
    finally:
        postgresql.start()
    expect_back(replica, sandbox, HOSTS[0], "198.51.100.2")
    replica.wait_until_well()
    assert "The store can be used again" in replica.output()
    assert replica.workers() == workers, "no traceback must be logged"
    send_from_all(replica, 2)
    desired = {host: [f"198.51.{number}.2"] for number, host in enumerate(HOSTS)}
    until(lambda: in_dns(sandbox, HOSTS) == desired, replica.output, _BACK_SECONDS)


def test_a_hanging_database_does_not_block_callers(
    replica: Replica, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    assert replica.update(HOSTS[0], "198.51.100.1")[0] == 200
    workers = replica.all_workers()
    postgresql.hang()
    try:
        for last in range(1, 4):
            assert send_from_all(replica, last) == [UNAVAILABLE] * len(HOSTS)
    finally:
        postgresql.resume()
    expect_back(replica, sandbox, HOSTS[0], "198.51.100.4")
    assert replica.workers() == workers


def test_terminated_connections_fail_no_unchanged_update(
    replica: Replica, postgresql: PostgreSQL
) -> None:
    assert replica.update(HOSTS[2], "198.51.100.1")[0] == 200
    ours = "pid <> pg_backend_pid() AND datname LIKE 'dyndns%'"
    for _ in range(5):
        terminate = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"  # noqa: S608
        assert postgresql.ask(terminate, database="postgres")
        for _ in range(4):
            assert replica.update(HOSTS[2], "198.51.100.1") == (200, "nochg 198.51.100.1\n")


def test_a_database_hanging_during_a_publish_does_not_delay_answers(
    replica: Replica, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    assert replica.update(HOSTS[1], "198.51.100.1")[0] == 200
    sandbox.clear_calls()
    sandbox.delay(2, method="POST")
    with ThreadPoolExecutor(1) as pool:
        update = pool.submit(replica.update, HOSTS[1], "198.51.100.2", PATIENCE)
        until(
            lambda: any(call.method == "POST" for call in sandbox.calls()),
            lambda: "nothing is written",
            30,
        )
        postgresql.hang()
        try:
            assert update.result() == UNAVAILABLE, "the answer of Hetzner could not be stored"
        finally:
            postgresql.resume()
    expect_back(replica, sandbox, HOSTS[1], "198.51.100.2")


def test_ended_connections_fail_only_single_updates(
    replica: Replica, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    assert replica.update(HOSTS[0], "198.51.100.1")[0] == 200
    workers, end = replica.all_workers(), f"{END} WHERE {OTHERS}"
    with load(replica, HOSTS[0], HOSTS[1]) as statuses:
        for number in range(1, 20):
            postgresql.ask(end, database=_database_of(replica))
            until(lambda: statuses[200] >= number, replica.output, _BACK_SECONDS)  # noqa: B023
    expect_back(replica, sandbox, HOSTS[1], "198.51.100.4")
    replica.wait_until_well()
    assert replica.workers() == workers
    assert "psycopg" not in replica.output()


def test_a_lack_of_connections_is_reported_until_it_ends(
    replica: Replica, sandbox: Sandbox
) -> None:
    import psycopg  # noqa: PLC0415  # a test that needs it is skipped without it

    assert replica.update(HOSTS[0], "198.51.100.1")[0] == 200
    url = replica.surroundings["env"]["STATE_URL"].replace("+psycopg", "")
    with contextlib.ExitStack() as held, load(replica, HOSTS[0], HOSTS[1]) as statuses:
        first = held.enter_context(psycopg.connect(url, autocommit=True))
        mine = [first.info.backend_pid]
        while statuses[503] < len(HOSTS):
            try:
                mine.append(held.enter_context(psycopg.connect(url)).info.backend_pid)
            except psycopg.OperationalError:
                first.execute(f"{END} WHERE {OTHERS} AND pid <> ALL(%s)", [mine])
    assert "too many clients already" in replica.output()
    expect_back(replica, sandbox, HOSTS[1], "198.51.100.4")
    replica.wait_until_well()


def test_the_writable_database_server_is_used(
    postgresql: PostgreSQL,
) -> None:
    url = postgresql.new_database()
    login, _, rest = url.partition("@")
    place, _, name = rest.partition("/")
    several = f"{login}@/{name}?host=127.0.0.1:{free_port()}&host={place}"
    several += "&target_session_attrs=read-write"
    prepare_store(several)
    store = Store(several)
    try:
        assert store.records.of(Hostname.parse(HOSTS[0])) == {}
    finally:
        store.close()


def test_pending_updates_are_published_after_a_database_outage(
    replica: Replica, sandbox: Sandbox, postgresql: PostgreSQL
) -> None:
    sandbox.fail(503, count=None, path="/zones/*/rrsets")
    assert replica.update(HOSTS[2], "198.51.100.3") == UNAVAILABLE
    postgresql.crash()
    sandbox.reset()
    threading.Event().wait(1)
    postgresql.start()
    until(
        lambda: in_dns(sandbox, [HOSTS[2]])[HOSTS[2]] == ["198.51.100.3"],
        lambda: f"not published:\n{replica.output()}",
        _BACK_SECONDS,
    )
