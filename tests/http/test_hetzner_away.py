"""While Hetzner is unavailable or busy, an update is stored and published later."""

from __future__ import annotations

from typing import Any, Iterator

import pytest

from sandbox import Sandbox
from tests.http.conftest import Serve
from tests.http.service import (
    CREATE,
    HOME,
    LIST,
    NAS,
    Host,
    Router,
    Service,
    reading,
    record,
    refused,
    said,
    setting,
    told,
)

UNAVAILABLE = (503, "unavailable")
RRSETS = "/zones/example.com/rrsets"
STAGES: dict[str, dict[str, str]] = {
    "listing the zones": {"path": "/zones"},
    "reading the name": {"path": RRSETS, "method": "GET"},
    "creating the record": {"path": RRSETS, "method": "POST"},
}
FAULTS: dict[str, dict[str, Any]] = {
    "500": {"status": 500},
    "502 with a page": {"status": 502, "html": True},
    "502": {"status": 502, "code": "bad_gateway"},
    "503": {"status": 503, "code": "unavailable"},
    "504": {"status": 504, "code": "timeout"},
    "a code of tomorrow": {"status": 500, "code": "unheard_of"},
    "maintenance": {"status": 403, "code": "maintenance"},
    "locked": {"status": 423, "code": "locked"},
    "conflict": {"status": 409, "code": "conflict"},
    "too many requests": {"status": 429, "code": "rate_limit_exceeded"},
    "a page with 200": {"html": True},
    "a page with 404": {"status": 404, "html": True},
    "a page with 401": {"status": 401, "html": True},
    "a redirect to the console": {"location": "https://console.hetzner.com/"},
    "a redirect with JSON": {"status": 302, "location": "/", "body": "{}"},
    "no body": {"body": ""},
    "half an object": {"body": '{"zones":[{"name":"example.com"'},
    "a list": {"body": "[]"},
    "null": {"body": "null"},
    "an empty object": {"body": "{}"},
    "an error of another shape": {"status": 404, "body": '{"error":"not found"}'},
    "an error code that is a number": {"status": 404, "body": '{"error":{"code":404}}'},
    "another shape": {"body": '{"zones":5,"rrsets":5,"action":5,"meta":5}'},
    "nested without end": {"body": "[" * 20000},
    "a connection that breaks": {"drop": True},
}


# unit/hetzner tests each fault; these tests cover one fault of each kind at every stage.
FAMILIES = ("503", "a page with 200", "another shape", "a connection that breaks")
CASES = {
    f"{fault}, {stage}": (FAULTS[fault], STAGES[stage])
    for fault in FAULTS
    for stage in STAGES
    if fault in FAMILIES or stage == "reading the name"
}


@pytest.mark.parametrize(("fault", "stage"), CASES.values(), ids=CASES.keys())
def test_the_update_is_kept_and_the_next_request_publishes_it(
    service: Service, host: Host, fault: dict[str, Any], stage: dict[str, str]
) -> None:
    service.sandbox.fail(**fault, **stage)
    answer = host.updates("198.51.100.1")
    assert refused(answer) == UNAVAILABLE
    assert service.states() == {(HOME, "A"): ("198.51.100.1", "pending")}
    assert service.sandbox.records(HOME, "A") == []
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]


@pytest.mark.parametrize("fault", FAMILIES)
def test_a_router_gets_911(service: Service, router: Router, fault: str) -> None:
    service.sandbox.fail(**FAULTS[fault])
    assert said(router.updates(myip="198.51.100.1")) == (503, b"911\n")
    assert said(router.updates(myip="198.51.100.1")) == (200, b"good 198.51.100.1\n")


def test_a_failed_change_is_never_taken_for_success(
    service: Service, host: Host, router: Router
) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(503, count=None)
    for _ in range(3):
        assert refused(host.updates("198.51.100.2")) == UNAVAILABLE
        assert said(router.updates(myip="198.51.100.2")) == (503, b"911\n")
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]


def test_reverting_a_failed_change_calls_hetzner(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.sandbox.fail(503, path="*/set_records")
    host.updates("198.51.100.2")
    service.calls()
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    # No process polled its action meanwhile, and the action may have failed.
    assert service.calls() == [reading("home"), setting("home")]


def test_a_redirect_is_not_followed(service: Service, host: Host) -> None:
    location = f"{service.sandbox.http_url}/actions"
    service.sandbox.fail(location=location, path=RRSETS, method="POST")
    answer = host.updates("198.51.100.1")
    assert refused(answer) == UNAVAILABLE
    assert "HETZNER_API_URL" in answer.get_json()["error"]
    assert service.calls() == [LIST, reading("home"), CREATE]


@pytest.mark.parametrize(("said_by_hetzner", "told_to_caller"), [("17", "17"), ("0", "1")])
def test_hetzners_retry_after_is_passed_on(
    service: Service, host: Host, said_by_hetzner: str, told_to_caller: str
) -> None:
    service.sandbox.fail(429, headers={"Retry-After": said_by_hetzner})
    assert host.updates("198.51.100.1").headers["Retry-After"] == told_to_caller


def test_a_write_whose_answer_was_lost_is_repeated(service: Service, host: Host) -> None:
    """The action of the lost write may fail: DNS would then lack the record that the API shows."""
    service.sandbox.actions_end("error")
    service.sandbox.fail(after=True, path=RRSETS, method="POST")
    assert refused(host.updates("198.51.100.1")) == UNAVAILABLE
    service.calls()
    assert host.updates("198.51.100.1").status_code == 200
    assert service.calls() == [reading("home"), setting("home")]
    history = [(row["event"], row["new"]) for row in service.rows("history")]
    assert history == [("postponed", "198.51.100.1"), ("unchanged", "198.51.100.1")]


def test_a_failed_family_is_reported_and_the_other_kept(service: Service, router: Router) -> None:
    service.sandbox.publish(HOME, "AAAA", "2001:db8::9")
    service.sandbox.fail(503, path="*/AAAA/actions/set_records")
    answer = router.updates(myip="198.51.100.1,2001:db8::5")
    assert said(answer) == (503, b"911\n")
    assert service.states() == {
        (HOME, "A"): ("198.51.100.1", "publishing"),
        (HOME, "AAAA"): ("2001:db8::5", "pending"),
    }
    answer = router.updates(myip="198.51.100.1,2001:db8::5")
    assert said(answer) == (200, b"good 198.51.100.1,2001:db8::5\n")


def test_a_repeated_failure_is_reported_once(service: Service, host: Host) -> None:
    service.sandbox.fail(503, count=None)
    for _ in range(3):
        host.updates("198.51.100.1")
    assert [row["event"] for row in service.rows("history")] == ["postponed"]


def test_other_hosts_are_not_held_up(service: Service, host: Host) -> None:
    service.sandbox.fail(503, path=RRSETS, method="GET")
    host.updates("198.51.100.1")
    answer = service.host(NAS).updates("198.51.100.1")
    assert told(answer) == (200, record("created", "198.51.100.1", NAS))


@pytest.fixture
def sandbox_of_its_own() -> Iterator[Sandbox]:
    sandbox = Sandbox(["example.com"])
    sandbox.start()
    yield sandbox
    sandbox.stop()


def test_hetzner_may_go_away_and_come_back(sandbox_of_its_own: Sandbox, serve: Serve) -> None:
    sandbox = sandbox_of_its_own
    service = serve(HETZNER_TOKEN=sandbox.token, HETZNER_API_URL=sandbox.http_url)
    host, router = service.host(), service.router()
    host.updates("198.51.100.1")
    sandbox.stop()
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert refused(host.updates("198.51.100.2")) == UNAVAILABLE
    assert said(router.updates(myip="198.51.100.2")) == (503, b"911\n")
    sandbox.start(http_port=sandbox.http_port, dns_port=sandbox.dns_port)
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))
    assert sandbox.records(HOME, "A") == ["198.51.100.2"]
