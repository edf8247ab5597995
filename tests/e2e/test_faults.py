"""Hetzner fails in every way it can: what the caller is told, and that nothing is lost."""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, List, NamedTuple

import pytest

from sandbox import Sandbox
from tests.e2e.cluster import Replica, in_dns, until

_CONVERGE_SECONDS = 60.0

pytestmark = pytest.mark.real()


class Case(NamedTuple):
    """A fault, the answer to the update that runs into it, and what it may cost in all."""

    name: str
    fault: Dict[str, Any]
    answer: str
    most_calls: int


READ = {"method": "GET", "path": "/zones/*/rrsets"}
WRITE = {"method": "POST", "path": "/zones/*/rrsets*"}
CASES = (
    Case(
        "429-with-retry-after", {**READ, "status": 429, "headers": {"Retry-After": "2"}}, "911", 6
    ),
    Case("429-without-headers", {**WRITE, "status": 429}, "911", 6),
    Case("locked", {**WRITE, "status": 423, "code": "locked"}, "911", 6),
    Case("conflict", {**WRITE, "status": 409, "code": "conflict"}, "911", 6),
    Case("500", {**READ, "status": 500}, "911", 6),
    Case("502", {**WRITE, "status": 502}, "911", 6),
    Case("503", {**READ, "status": 503}, "911", 6),
    Case("504", {**WRITE, "status": 504}, "911", 6),
    Case("html-with-200", {**READ, "html": True}, "911", 6),
    Case("html-with-200-to-a-write", {**WRITE, "html": True}, "911", 6),
    Case("301", {**WRITE, "location": "https://console.hetzner.com/"}, "911", 6),
    Case("truncated-json", {**READ, "body": '{"rrsets": ['}, "911", 6),
    Case("json-of-another-shape", {**READ, "body": '{"hello": [1]}'}, "911", 6),
    Case("connection-closed", {**READ, "drop": True}, "911", 6),
    Case("201-lost-on-the-way-back", {**WRITE, "after": True}, "911", 6),
    Case("write-not-carried-out-and-no-answer", {**WRITE, "drop": True}, "911", 6),
)


def hosts() -> List[str]:
    named = [f"{case.name.lower()}.example.com" for case in CASES]
    return [*named, *(f"extra{number}.example.com" for number in range(20))]


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
    assert "Traceback" not in replica.said()
    assert exit_code == 0


@pytest.fixture
def replica(running: Replica) -> Iterator[Replica]:
    running.sandbox.reset()
    # The list of zones is no part of what a fault costs.
    assert running.updates("extra0.example.com", f"10.9.9.{time.time_ns() % 250}")[0] == 200
    running.sandbox.forget_calls()
    yield running
    running.sandbox.reset()


def expect_in_dns(replica: Replica, host: str, address: str) -> None:
    def found() -> List[str]:
        return in_dns(replica.sandbox, [host])[host]

    until(
        lambda: found() == [address],
        lambda: f"{host} is at {found()}, not {address}:\n{replica.said()}",
        _CONVERGE_SECONDS,
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_told_and_the_wish_is_fulfilled_without_being_asked_again(
    replica: Replica, case: Case
) -> None:
    host = f"{case.name.lower()}.example.com"
    replica.sandbox.fail(**case.fault)
    status, body = replica.updates(host, "198.51.100.7")
    assert (status, body) == (503, f"{case.answer}\n")
    expect_in_dns(replica, host, "198.51.100.7")
    about_it = [
        call
        for call in replica.sandbox.calls()
        if host.split(".", maxsplit=1)[0] in f"{call.line}{call.body}"
    ]
    assert len(about_it) <= case.most_calls


def test_hetzner_away_altogether_loses_no_wish_and_the_last_one_wins(
    replica: Replica, sandbox: Sandbox
) -> None:
    http_port, dns_port = sandbox.http_port, sandbox.dns_port
    sandbox.stop()
    try:
        for last in range(1, 4):
            assert replica.updates("extra1.example.com", f"198.51.100.{last}")[0] == 503
    finally:
        sandbox.start(http_port=http_port, dns_port=dns_port)
    expect_in_dns(replica, "extra1.example.com", "198.51.100.3")


def test_a_hanging_hetzner_is_answered_within_ten_seconds(replica: Replica) -> None:
    replica.sandbox.delay(seconds=30, **READ)
    started = time.monotonic()
    status, body = replica.updates("extra2.example.com", "198.51.100.2", seconds=10)
    assert (status, body) == (503, "911\n"), time.monotonic() - started
    replica.sandbox.reset()
    expect_in_dns(replica, "extra2.example.com", "198.51.100.2")


def test_a_slow_hetzner_is_waited_for(replica: Replica) -> None:
    replica.sandbox.delay(seconds=1)
    assert replica.updates("extra3.example.com", "198.51.100.3") == (200, "good 198.51.100.3\n")
    replica.sandbox.reset()


def test_an_action_that_fails_is_written_again_until_the_dns_has_it(replica: Replica) -> None:
    replica.sandbox.actions_end("error", count=1)
    assert replica.updates("extra4.example.com", "198.51.100.4") == (200, "good 198.51.100.4\n")
    expect_in_dns(replica, "extra4.example.com", "198.51.100.4")
    assert "Hetzner could not publish it" in replica.said()


def test_unchanged_addresses_are_answered_while_hetzner_hangs(replica: Replica) -> None:
    assert replica.updates("extra5.example.com", "198.51.100.5")[0] == 200
    replica.sandbox.delay(seconds=30, **READ)
    assert replica.updates("extra5.example.com", "198.51.100.5") == (200, "nochg 198.51.100.5\n")


def test_many_faults_at_once_lose_nothing(replica: Replica) -> None:
    for case in CASES:
        replica.sandbox.fail(**case.fault)
    wanted = {f"extra{number}.example.com": f"198.51.100.{number}" for number in range(6, 20)}
    for host, address in wanted.items():
        status, _ = replica.updates(host, address)
        assert status in (200, 503)
    for host, address in wanted.items():
        expect_in_dns(replica, host, address)
