"""When Hetzner refuses an update permanently, the caller gets an error, the operator a hint."""

from __future__ import annotations

from typing import Callable, Mapping, NamedTuple

import pytest

from sandbox import Sandbox
from tests.http.conftest import READ_ONLY as READ_ONLY_TOKEN, Console, Serve
from tests.http.operator import Operator
from tests.http.service import (
    HOME,
    NOWHERE,
    READ_ONLY,
    Host,
    Service,
    basic,
    key_of,
    record,
    refused,
    said,
    told,
)
from tests.http.test_operator_pages import operator

__all__ = ["operator"]

REFUSED = (502, "hetzner_refused")


class Obstacle(NamedTuple):
    """A problem that only the operator can fix."""

    words: tuple[str, ...]  # in the answer: the problem, or the hint
    put: Callable[[Sandbox, Console], None] = lambda _sandbox, _console: None
    variables: Mapping[str, str] = {}
    host: str = HOME


def fault(status: int, code: str, **more: object) -> Callable[[Sandbox, Console], None]:
    return lambda sandbox, _: sandbox.fail(status, code, count=None, **more)


def protect(sandbox: Sandbox, console: Console) -> None:
    sandbox.publish(HOME, "A", "198.51.100.9")
    path = "/zones/example.com/rrsets/home/A/actions/change_protection"
    console.changes("POST", path, {"change": True})


def make_secondary(_: Sandbox, console: Console) -> None:
    nameservers = [{"address": "198.51.100.53"}]
    zone = {"name": "example.invalid", "mode": "secondary", "primary_nameservers": nameservers}
    console.changes("POST", "/zones", zone)


RRSETS = "/zones/example.com/rrsets"
OBSTACLES: dict[str, Obstacle] = {
    "a token of nobody": Obstacle(("HETZNER_TOKEN",), variables={"HETZNER_TOKEN": "z" * 64}),
    "a token of the old DNS API": Obstacle(
        ("32 characters", "old DNS API", "Read & Write", "console.hetzner.com"),
        variables={"HETZNER_TOKEN": "z" * 32},
    ),
    "a token that may only read": Obstacle(
        ("Read & Write",), variables={"HETZNER_TOKEN": READ_ONLY_TOKEN}, host=READ_ONLY
    ),
    "a read-only token answered with 403": Obstacle(
        ("Read & Write",), fault(403, "token_readonly", method="POST")
    ),
    "forbidden": Obstacle(("Read & Write",), fault(403, "forbidden")),
    "a protected record": Obstacle(("protection",), protect),
    "a CNAME": Obstacle(
        ("CNAME", "delete"), lambda sandbox, _: sandbox.publish(HOME, "CNAME", "other.example.org.")
    ),
    "a secondary zone": Obstacle(("secondary", "primary server"), make_secondary, host=NOWHERE),
    "a zone that became secondary": Obstacle(
        ("secondary",), fault(422, "incorrect_zone_mode", path=RRSETS)
    ),
    "the quota of records": Obstacle(
        ("limit",), fault(403, "resource_limit_exceeded", path=RRSETS, method="POST")
    ),
    "input Hetzner won't take": Obstacle(
        ("invalid_input",), fault(422, "invalid_input", path=RRSETS, method="POST")
    ),
    "an endpoint that was retired": Obstacle(
        ("update hetzner-dyndns",), fault(410, "deprecated_api_endpoint")
    ),
    "a code nobody knows": Obstacle(("teapot",), fault(418, "teapot", path=RRSETS)),
}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_the_operator_learns_what_to_change(
    serve: Serve, console: Console, obstacle: Obstacle
) -> None:
    service = serve(**obstacle.variables)
    obstacle.put(service.sandbox, console)
    answer = service.host(obstacle.host).updates("198.51.100.1")
    assert refused(answer) == REFUSED
    sentence = answer.get_json()["error"]
    assert [word for word in obstacle.words if word not in sentence] == []
    assert obstacle.variables.get("HETZNER_TOKEN", "-no-token-") not in sentence
    assert service.states() == {(obstacle.host, "A"): ("198.51.100.1", "refused")}


@pytest.mark.parametrize("obstacle", OBSTACLES.values(), ids=OBSTACLES.keys())
def test_a_router_gets_dnserr(serve: Serve, console: Console, obstacle: Obstacle) -> None:
    service = serve(**obstacle.variables)
    obstacle.put(service.sandbox, console)
    headers = {"Authorization": basic(obstacle.host, key_of(obstacle.host))}
    query = {"hostname": obstacle.host, "myip": "198.51.100.1"}
    answer = service.asks("GET", "/nic/update", query_string=query, headers=headers)
    assert said(answer) == (502, b"dnserr\n")


def test_the_message_of_hetzner_never_carries_the_token_on(service: Service, host: Host) -> None:
    token = service.sandbox.token
    message = (
        f'{{"error":{{"code":"forbidden","message":"no {token} \\u001b[31m","details":null}}}}'
    )
    service.sandbox.fail(403, body=message)
    answer = host.updates("198.51.100.1")
    assert refused(answer) == REFUSED
    assert token not in answer.get_json()["error"]
    assert "\x1b" not in answer.get_json()["error"]


def test_what_was_refused_is_published_when_the_operator_retries(
    service: Service, host: Host, operator: Operator
) -> None:
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    assert refused(host.updates("198.51.100.1")) == REFUSED
    service.sandbox.publish(HOME, "CNAME")
    operator.presses(HOME, "retry")
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))


def test_a_refusal_is_never_taken_for_success_later(service: Service, host: Host) -> None:
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    for _ in range(3):
        assert refused(host.updates("198.51.100.1")) == REFUSED
        assert said(service.router().updates(myip="198.51.100.1")) == (502, b"dnserr\n")


def test_a_refused_write_is_not_repeated_by_the_host(service: Service, host: Host) -> None:
    service.sandbox.fail(423, "protected", count=None, method="POST")
    first = host.updates("198.51.100.1")
    assert refused(first) == REFUSED
    service.calls()
    for _ in range(3):
        again = host.updates("198.51.100.1")
        assert refused(again) == REFUSED
        assert "lift the change protection" in again.get_json()["error"].lower()
        assert said(service.router().updates(myip="198.51.100.1")) == (502, b"dnserr\n")
    assert service.calls() == []
    assert host.updates("198.51.100.2").status_code == 502
    assert service.calls() != [], "another address may be accepted"


def test_a_repeated_refusal_is_reported_once(service: Service, host: Host) -> None:
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    for _ in range(3):
        host.updates("198.51.100.1")
    assert [row["event"] for row in service.rows("history")] == ["refused"]


def test_a_host_that_is_refused_still_may_want_another_address(
    service: Service, host: Host
) -> None:
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    host.updates("198.51.100.1")
    assert refused(host.updates("198.51.100.2")) == REFUSED
    assert service.states() == {(HOME, "A"): ("198.51.100.2", "refused")}


def test_one_family_may_be_refused_while_the_other_is_published(
    service: Service, console: Console
) -> None:
    service.sandbox.publish(HOME, "AAAA", "2001:db8::9")
    path = "/zones/example.com/rrsets/home/AAAA/actions/change_protection"
    console.changes("POST", path, {"change": True})
    answer = service.router().updates(myip="198.51.100.1,2001:db8::5")
    assert said(answer) == (502, b"dnserr\n")
    assert service.states() == {
        (HOME, "A"): ("198.51.100.1", "publishing"),
        (HOME, "AAAA"): ("2001:db8::5", "refused"),
    }


def test_the_refusal_of_one_host_is_none_of_another(service: Service, host: Host) -> None:
    service.sandbox.publish(HOME, "CNAME", "other.example.org.")
    host.updates("198.51.100.1")
    answer = service.host("nas.example.com").updates("198.51.100.1")
    assert told(answer) == (200, record("created", "198.51.100.1", "nas.example.com"))
