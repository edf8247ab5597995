"""Every failure of Hetzner has its documented answer, and no update is lost."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any, Iterator, NamedTuple, Sequence

import pytest

from backend.model import Hostname, RecordType
from backend.store import Store
from sandbox import Sandbox
from sandbox.journal import Call
from tests.e2e.cluster import Replica, in_dns, until

_CONVERGE_SECONDS = 60.0

pytestmark = pytest.mark.real()


class Case(NamedTuple):
    """A fault, and all calls of an update until the record is correct."""

    name: str
    fault: dict[str, Any]
    calls: Sequence[str]


READ = {"method": "GET", "path": "/zones/*/rrsets"}
WRITE = {"method": "POST", "path": "/zones/*/rrsets*"}
# Polls of the action are not included, because other records share them.
FAILED_READ = ("GET", "GET", "POST")
FAILED_WRITE = ("GET", "POST", "GET", "POST")
LOST_ANSWER = ("GET", "POST", "GET", "POST")  # the action of the first write may fail
QUOTA = {"RateLimit-Limit": "3600", "RateLimit-Remaining": "3000", "RateLimit-Reset": "1"}
CASES = (
    Case(
        "429-with-headers",
        {**WRITE, "status": 429, "headers": {"Retry-After": "2", **QUOTA}},
        FAILED_WRITE,
    ),
    Case("429-without-headers", {**READ, "status": 429}, FAILED_READ),
    Case("locked", {**WRITE, "status": 423, "code": "locked"}, FAILED_WRITE),
    Case("conflict", {**WRITE, "status": 409, "code": "conflict"}, FAILED_WRITE),
    Case("500", {**READ, "status": 500}, FAILED_READ),
    Case("502", {**WRITE, "status": 502}, FAILED_WRITE),
    Case("502-with-a-page", {**READ, "status": 502, "html": True}, FAILED_READ),
    Case("503", {**READ, "status": 503}, FAILED_READ),
    Case("504", {**WRITE, "status": 504}, FAILED_WRITE),
    Case("html-with-200", {**READ, "html": True}, FAILED_READ),
    Case("html-with-200-to-a-write", {**WRITE, "html": True}, FAILED_WRITE),
    Case("301", {**WRITE, "location": "https://console.hetzner.com/"}, FAILED_WRITE),
    Case("truncated-json", {**READ, "body": '{"rrsets": ['}, FAILED_READ),
    Case("truncated-json-to-a-write", {**WRITE, "after": True, "body": '{"act'}, LOST_ANSWER),
    Case("json-of-another-shape", {**READ, "body": '{"hello": [1]}'}, FAILED_READ),
    Case("connection-closed", {**READ, "drop": True}, FAILED_READ),
    Case("201-lost-on-the-way-back", {**WRITE, "after": True}, LOST_ANSWER),
    Case("write-not-carried-out-and-no-answer", {**WRITE, "drop": True}, FAILED_WRITE),
)


def hosts() -> list[str]:
    named = [f"{case.name}.example.com" for case in CASES]
    return [*named, *(f"extra{number}.example.com" for number in range(24))]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=0.3) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def running(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    replica = Replica(tmp_path_factory.mktemp("faults"), sandbox, hosts())
    replica.start()
    yield replica
    exit_code = replica.stop()
    assert "Traceback" not in replica.output()
    assert exit_code == 0


@pytest.fixture
def replica(running: Replica) -> Iterator[Replica]:
    # The zones are not reset: the service would restore the records during the next test.
    running.sandbox.guard.faults.clear()
    running.sandbox.clear_calls()
    yield running
    running.sandbox.guard.faults.clear()


def expect_in_dns(replica: Replica, host: str, address: str) -> None:
    def found() -> list[str]:
        return in_dns(replica.sandbox, [host])[host]

    until(
        lambda: found() == [address],
        lambda: f"{host} is at {found()}, not {address}:\n{replica.output()}",
        _CONVERGE_SECONDS,
    )


def calls_about(sandbox: Sandbox, host: str) -> list[Call]:
    label = host.split(".", maxsplit=1)[0]
    return [
        call
        for call in sandbox.calls()
        if f"name={label}&" in call.query
        or f"/{label}/" in call.path
        or (isinstance(call.body, dict) and call.body.get("name") == label)
    ]


def expect_calls(sandbox: Sandbox, host: str, *methods: str) -> None:
    """Expect exactly these calls about a host until its record is published."""
    made = calls_about(sandbox, host)
    assert [call.method for call in made] == list(methods), [call.line for call in made]


def history(replica: Replica, host: str) -> list[tuple[str, str]]:
    """Return the history of a host with the reasons, oldest first."""
    store = Store(f"sqlite:///{replica.log.parent / 'hetzner-dyndns.db'}")
    try:
        entries = store.history.find(Hostname.parse(host))
    finally:
        store.close()
    return [(entry.event, entry.why) for entry in reversed(entries)]


def expect_published(replica: Replica, host: str) -> None:
    """Wait until the record is published and its action has ended."""

    def state() -> str:
        store = Store(f"sqlite:///{replica.log.parent / 'hetzner-dyndns.db'}")
        try:
            return store.records.of(Hostname.parse(host))[RecordType.A].state.value
        finally:
            store.close()

    until(lambda: state() == "published", lambda: f"{host} is {state()}", _CONVERGE_SECONDS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_reported_and_the_update_published_later(replica: Replica, case: Case) -> None:
    host = f"{case.name}.example.com"
    replica.sandbox.fail(**case.fault)
    assert replica.update(host, "198.51.100.7") == (503, "911\n")
    expect_in_dns(replica, host, "198.51.100.7")
    expect_published(replica, host)
    expect_calls(replica.sandbox, host, *case.calls)
    first, last = history(replica, host)
    assert first[0] == "postponed"
    assert last[1].endswith("done at attempt 2"), last


@pytest.mark.parametrize("fault", [{**READ, "status": 503}, {**WRITE, "after": True}])
def test_the_json_protocol_sends_retry_after(replica: Replica, fault: dict[str, Any]) -> None:
    replica.sandbox.fail(**fault)
    host = "extra1.example.com" if "after" in fault else "extra2.example.com"
    url = f"http://127.0.0.1:{replica.port}/update"
    answer = replica.session.post(url, json={"fqdn": host, "ip": "198.51.100.1"}, timeout=20)
    assert answer.status_code == 503
    assert answer.json()["code"] == "unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    expect_in_dns(replica, host, "198.51.100.1")


def test_the_last_update_wins_after_refused_connections(replica: Replica, sandbox: Sandbox) -> None:
    host = "extra3.example.com"
    http_port, dns_port = sandbox.http_port, sandbox.dns_port
    sandbox.stop()
    try:
        for last in range(1, 4):
            assert replica.update(host, f"198.51.100.{last}") == (503, "911\n")
    finally:
        sandbox.start(http_port=http_port, dns_port=dns_port)
    expect_in_dns(replica, host, "198.51.100.3")
    expect_published(replica, host)
    expect_calls(sandbox, host, "GET", "POST")
    assert [event for event, _ in history(replica, host)] == ["postponed", "created"]


def test_a_hanging_hetzner_is_answered_within_ten_seconds(replica: Replica) -> None:
    host = "extra4.example.com"
    replica.sandbox.delay(seconds=30, count=1, **READ)
    assert replica.update(host, "198.51.100.2", seconds=10) == (503, "911\n")
    expect_in_dns(replica, host, "198.51.100.2")
    expect_published(replica, host)
    expect_calls(replica.sandbox, host, "GET", "GET", "POST")


def test_a_slow_hetzner_is_waited_for(replica: Replica) -> None:
    host = "extra5.example.com"
    replica.sandbox.delay(seconds=1)
    assert replica.update(host, "198.51.100.3") == (200, "good 198.51.100.3\n")
    expect_in_dns(replica, host, "198.51.100.3")
    expect_calls(replica.sandbox, host, "GET", "POST")
    assert [event for event, _ in history(replica, host)] == ["created"]


def test_a_failed_action_is_repeated_until_dns_is_right(replica: Replica) -> None:
    host = "extra6.example.com"
    replica.sandbox.actions_end("error", count=2)
    assert replica.update(host, "198.51.100.4") == (200, "good 198.51.100.4\n")
    expect_in_dns(replica, host, "198.51.100.4")
    expect_published(replica, host)
    expect_calls(replica.sandbox, host, "GET", "POST", "GET", "POST", "GET", "POST")
    assert "Hetzner could not publish the record" in replica.output()
    created, failed = history(replica, host)
    assert created[0] == "created"
    assert failed == ("postponed", failed[1])
    assert "Hetzner could not publish the record" in failed[1]


def test_an_endless_action_is_given_up_and_repeated(replica: Replica) -> None:
    host = "extra7.example.com"
    replica.sandbox.actions_end("never")
    assert replica.update(host, "198.51.100.5") == (200, "good 198.51.100.5\n")
    assert replica.update(host, "198.51.100.5") == (200, "nochg 198.51.100.5\n")
    let_time_pass(replica, host)
    expect_in_dns(replica, host, "198.51.100.5")
    expect_published(replica, host)
    expect_calls(replica.sandbox, host, "GET", "POST", "GET", "POST")
    assert [event for event, _ in history(replica, host)] == ["created", "postponed"]


def let_time_pass(replica: Replica, host: str) -> None:
    """Change the start of an action to an hour ago."""
    path = str(replica.log.parent / "hetzner-dyndns.db")
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as store:
        past = "UPDATE records SET accepted_at = accepted_at - 3600 WHERE host = ?"
        assert store.execute(past, [host]).rowcount == 1


def test_unchanged_addresses_are_answered_while_hetzner_hangs(replica: Replica) -> None:
    assert replica.update("extra8.example.com", "198.51.100.5")[0] == 200
    replica.sandbox.delay(seconds=30, **READ)
    assert replica.update("extra8.example.com", "198.51.100.5") == (200, "nochg 198.51.100.5\n")


def test_many_faults_at_once_lose_no_update(replica: Replica) -> None:
    for case in CASES:
        replica.sandbox.fail(**case.fault)
    replica.sandbox.delay(seconds=1, count=5)
    replica.sandbox.delay(seconds=30, count=1, **WRITE)
    replica.sandbox.actions_end("error", count=3)
    desired = {f"extra{number}.example.com": f"198.51.100.{number}" for number in range(10, 24)}
    for host, address in desired.items():
        assert replica.update(host, address)[0] in (200, 503)
    for host, address in desired.items():
        expect_in_dns(replica, host, address)
    # A failed action leaves DNS outdated although the API is correct; it must be repeated.
    for host in desired:
        expect_published(replica, host)
