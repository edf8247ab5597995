"""The control API, through HTTP and from Python."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
import requests

from sandbox import Sandbox
from tests.sandbox.conftest import Caller, Clock

RRSETS = "/zones/example.com/rrsets"
NEW = {"name": "home", "type": "A", "records": [{"value": "192.0.2.1"}]}


def control(sandbox: Sandbox, method: str, name: str, body: object = None) -> requests.Response:
    url = f"http://{sandbox.host}:{sandbox.http_port}/_sandbox/{name}"
    return requests.request(method, url, json=body, timeout=10)


def send_order(sandbox: Sandbox, name: str, body: object = None) -> None:
    answer = control(sandbox, "POST", name, body)
    assert (answer.status_code, answer.json()) == (200, {"done": True})


def test_calls_are_listed_in_order_without_control_calls(sandbox: Sandbox, caller: Caller) -> None:
    caller.get(f"{RRSETS}?name=home&type=A")
    caller.change("POST", RRSETS, NEW)
    caller.session.post(f"{caller.base}/zones", data=b"{no json", timeout=10)
    assert [(call.line, call.status, call.body) for call in sandbox.calls()] == [
        ("GET /zones/example.com/rrsets?name=home&type=A", 200, None),
        ("POST /zones/example.com/rrsets", 201, NEW),
        ("POST /zones", 400, "{no json"),
    ]
    listed = control(sandbox, "GET", "calls").json()
    assert [(call["method"], call["path"], call["query"]) for call in listed] == [
        ("GET", RRSETS, "name=home&type=A"),
        ("POST", RRSETS, ""),
        ("POST", "/zones", ""),
    ]
    assert control(sandbox, "DELETE", "calls").json() == {"done": True}
    assert sandbox.calls() == []


def test_the_list_of_calls_is_limited(
    sandbox: Sandbox, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.journal.MOST_CALLS", 2)
    for page in "123":
        caller.get(f"/zones?page={page}")
    assert [call.query for call in sandbox.calls()] == ["page=2", "page=3"]
    assert [call.status for call in sandbox.calls()] == [200, 200]


def test_a_reset_restores_the_initial_state(sandbox: Sandbox, caller: Caller) -> None:
    caller.change("POST", RRSETS, NEW)
    caller.change("DELETE", "/zones/example.com")
    sandbox.fail(500, count=None)
    sandbox.actions_end("error")
    send_order(sandbox, "reset")
    assert caller.get(RRSETS)["meta"]["pagination"]["total_entries"] == 2
    assert [call.line for call in sandbox.calls()] == ["GET /zones/example.com/rrsets"]


@pytest.mark.parametrize(
    ("order", "status", "code"),
    [
        ({"status": 423}, 423, "locked"),
        ({"status": 409, "code": "conflict"}, 409, "conflict"),
        ({"status": 403, "code": "maintenance"}, 403, "maintenance"),
        ({"status": 429}, 429, "rate_limit_exceeded"),
        ({"status": 500}, 500, "server_error"),
        ({"status": 503}, 503, "unavailable"),
        ({"status": 504}, 504, "timeout"),
        ({"status": 418}, 418, "server_error"),
    ],
)
def test_an_ordered_fault_fails_the_next_call_only(
    sandbox: Sandbox, caller: Caller, order: dict[str, Any], status: int, code: str
) -> None:
    send_order(sandbox, "fail", order)
    assert caller.is_refused("POST", RRSETS, NEW) == (status, code)
    assert sandbox.records("home.example.com", "A") == []
    caller.change("POST", RRSETS, NEW)
    assert [call.status for call in sandbox.calls()] == [status, 201]


def test_failures_are_counted_and_meant_for_methods_and_paths(
    sandbox: Sandbox, caller: Caller
) -> None:
    send_order(
        sandbox, "fail", {"status": 503, "count": 2, "path": "/zones/*/rrsets", "method": "post"}
    )
    assert caller.get(RRSETS)
    assert caller.get("/zones")
    statuses = [caller.request("POST", RRSETS, NEW).status_code for _ in range(3)]
    assert statuses == [503, 503, 201]


def test_failures_without_a_count_last_until_the_reset(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "fail", {"status": 502, "count": None})
    assert {caller.request("GET", "/zones").status_code for _ in range(5)} == {502}
    sandbox.reset()
    assert caller.get("/zones")


def test_removing_failures_changes_nothing_else(sandbox: Sandbox, caller: Caller) -> None:
    caller.change("POST", RRSETS, NEW)
    send_order(sandbox, "fail", {"status": 502, "count": None})
    assert caller.request("GET", "/zones").status_code == 502
    assert control(sandbox, "DELETE", "fail").json() == {"done": True}
    assert caller.get("/zones")
    assert sandbox.records("home.example.com", "A") == ["192.0.2.1"]
    assert [call.status for call in sandbox.calls()] == [201, 502, 200]


def test_failures_are_served_the_oldest_first(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.fail(500)
    sandbox.fail(503)
    assert [caller.request("GET", "/zones").status_code for _ in range(3)] == [500, 503, 200]


def test_faults_can_be_html_redirects_torn_bodies_and_headers(
    sandbox: Sandbox, caller: Caller
) -> None:
    send_order(sandbox, "fail", {"html": True})
    page = caller.request("GET", "/zones")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!DOCTYPE html>")
    send_order(sandbox, "fail", {"location": "https://console.hetzner.com/"})
    moved = caller.request("GET", "/zones")
    assert (moved.status_code, moved.headers["Location"]) == (301, "https://console.hetzner.com/")
    send_order(sandbox, "fail", {"status": 201, "body": '{"action":{"id'})
    torn = caller.request("POST", RRSETS, NEW)
    assert (torn.status_code, torn.text) == (201, '{"action":{"id')
    assert torn.headers["Content-Type"] == "application/json"
    headers = {"Retry-After": "7", "ratelimit-remaining": "0"}
    send_order(sandbox, "fail", {"status": 429, "headers": headers})
    busy = caller.request("GET", "/zones")
    assert (busy.headers["Retry-After"], busy.headers["ratelimit-remaining"]) == ("7", "0")
    assert busy.headers["ratelimit-limit"] == "3600"


def test_a_dropped_call_has_no_answer_and_no_effect(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "fail", {"drop": True})
    with pytest.raises(requests.ConnectionError):
        caller.request("POST", RRSETS, NEW)
    assert sandbox.records("home.example.com", "A") == []
    assert [call.status for call in sandbox.calls()] == [None]


def test_a_fault_after_a_call_leaves_the_change(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "fail", {"after": True})
    with pytest.raises(requests.ConnectionError):
        caller.request("POST", RRSETS, NEW)
    assert sandbox.records("home.example.com", "A") == ["192.0.2.1"]
    send_order(sandbox, "fail", {"after": True, "status": 504})
    assert caller.is_refused("DELETE", f"{RRSETS}/home/A") == (504, "timeout")
    assert sandbox.records("home.example.com", "A") == []
    assert [call.status for call in sandbox.calls()] == [None, 504]


class HeldCall:
    """A call that the sandbox holds until its delay is removed, possibly without an answer."""

    _status: int | None = None

    def __init__(self, sandbox: Sandbox, method: str, path: str, body: object = None) -> None:
        self._caller = Caller(sandbox)
        self._thread = threading.Thread(target=self._request, args=[method, path, body])
        before = len(sandbox.calls())
        self._thread.start()
        while len(sandbox.calls()) == before:
            self._thread.join(0.001)

    def expect_no_answer(self) -> None:
        assert self._wait() is None
        assert isinstance(self._error, requests.ConnectionError)

    def status(self) -> int | None:
        return self._wait()

    def _wait(self) -> int | None:
        self._thread.join(10)
        self._caller.session.close()
        return self._status

    def _request(self, method: str, path: str, body: object) -> None:
        try:
            self._status = self._caller.request(method, path, body, timeout=60).status_code
        except requests.RequestException as error:
            self._error = error


def test_a_delay_holds_matching_calls_back_as_often_as_ordered(
    sandbox: Sandbox, caller: Caller
) -> None:
    send_order(sandbox, "delay", {"seconds": 60, "path": "/zones/*", "count": 1})
    assert caller.get("/zones")
    held = HeldCall(sandbox, "GET", "/zones/example.com")
    assert caller.get("/zones/example.com")
    assert [call.status for call in sandbox.calls()] == [200, None, 200]
    sandbox.reset()
    held.expect_no_answer()


def test_a_short_delay_ends_by_itself(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.delay(0.01)
    assert caller.get("/zones")
    (call,) = sandbox.calls()
    assert call.ended is not None


def test_a_delay_without_a_count_lasts_until_the_reset(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.delay(60)
    held = [HeldCall(sandbox, "POST", RRSETS, NEW) for _ in range(2)]
    sandbox.reset()
    for call in held:
        call.expect_no_answer()
    assert caller.get(RRSETS)["meta"]["pagination"]["total_entries"] == 2


def test_the_newest_matching_delay_counts(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "delay", {"seconds": 60})
    send_order(sandbox, "delay", {"seconds": 0, "path": "/zones"})
    assert caller.get("/zones")
    held = HeldCall(sandbox, "GET", "/zones/example.com")
    send_order(sandbox, "delay", {"seconds": 0})
    assert caller.get("/zones/example.com")
    sandbox.reset()
    held.expect_no_answer()


def test_an_older_delay_applies_after_a_counted_newer_one(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "delay", {"seconds": 60})
    send_order(sandbox, "delay", {"seconds": 0, "count": 1})
    assert caller.get("/zones")
    held = HeldCall(sandbox, "GET", "/zones")
    sandbox.reset()
    held.expect_no_answer()


def test_removing_a_delay_releases_the_held_calls(sandbox: Sandbox, caller: Caller) -> None:
    send_order(sandbox, "fail", {"status": 503, "method": "DELETE"})
    send_order(sandbox, "delay", {"seconds": 60})
    held = HeldCall(sandbox, "POST", RRSETS, NEW)
    assert control(sandbox, "DELETE", "delay").json() == {"done": True}
    assert held.status() == 201
    assert sandbox.records("home.example.com", "A") == ["192.0.2.1"]
    assert caller.get("/zones")
    assert caller.is_refused("DELETE", f"{RRSETS}/home/A") == (503, "unavailable")


def test_a_stopped_sandbox_drops_held_calls(sandbox: Sandbox) -> None:
    sandbox.delay(60)
    held = HeldCall(sandbox, "POST", RRSETS, NEW)
    sandbox.stop()
    held.expect_no_answer()
    deadline = time.monotonic() + 10
    while sandbox.calls()[0].ended is None:
        assert time.monotonic() < deadline, "the call is still held"
    assert sandbox.records("home.example.com", "A") == []
    sandbox.start()


def test_it_shows_whether_calls_overlapped() -> None:
    with Sandbox() as sandbox:
        sandbox.delay(60)
        held = [HeldCall(sandbox, "POST", RRSETS, NEW) for _ in range(2)]
        assert [call.ended for call in sandbox.calls()] == [None, None]
        sandbox.reset()
        for call in held:
            call.expect_no_answer()
        caller = Caller(sandbox)
        caller.get("/zones")
        caller.get("/zones")
        caller.session.close()
        first, second = sandbox.calls()
        assert first.ended is not None
        assert first.started < first.ended <= second.started


def test_the_next_actions_end_as_ordered(sandbox: Sandbox, caller: Caller, clock: Clock) -> None:
    send_order(sandbox, "actions", {"outcome": "error"})
    send_order(sandbox, "actions", {"outcome": "never", "count": 1})
    ids = [caller.change("POST", RRSETS, {**NEW, "name": name})["action"]["id"] for name in "abc"]
    clock.advance(100)
    ends = [caller.get(f"/actions/{number}")["action"] for number in ids]
    assert [action["status"] for action in ends] == ["error", "running", "success"]
    assert sandbox.answer("a.example.com", "A") == ["192.0.2.1"]


def test_a_failed_action_may_lack_words(sandbox: Sandbox, caller: Caller, clock: Clock) -> None:
    send_order(sandbox, "actions", {"outcome": "error", "code": "", "message": ""})
    action = caller.change("POST", RRSETS, NEW)["action"]
    clock.advance(100)
    shown = caller.get(f"/actions/{action['id']}")["action"]
    assert (shown["status"], shown["error"]) == ("error", {"code": "", "message": ""})


@pytest.mark.parametrize(
    ("delegation", "delegated"),
    [("lame", 2), ("partially-valid", 4), ("unknown", 0), ("unregistered", 0), ("valid", 3)],
)
def test_a_zone_shows_the_ordered_delegation(
    sandbox: Sandbox, caller: Caller, delegation: str, delegated: int
) -> None:
    send_order(sandbox, "zone", {"name": "example.com", "delegation": delegation})
    servers = caller.get("/zones/example.com")["zone"]["authoritative_nameservers"]
    assert (servers["delegation_status"], len(servers["delegated"])) == (delegation, delegated)


def test_a_zone_shows_the_ordered_status(sandbox: Sandbox, caller: Caller) -> None:
    def shown() -> str:
        return caller.get("/zones/example.com")["zone"]["status"]

    send_order(sandbox, "zone", {"name": "example.com", "status": "error"})
    caller.change("POST", RRSETS, NEW)
    assert shown() == "error"
    send_order(sandbox, "zone", {"name": "example.com", "status": None})
    assert shown() == "updating"
    sandbox.show_zone("example.com", status="error")
    sandbox.reset()
    assert shown() == "ok"


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("fail", {}, "set at least one of"),
        ("fail", {"after": False}, "set at least one of"),
        ("fail", {"status": 99}, "between 200 and 599"),
        ("fail", {"status": "503"}, "'status' must be of type int"),
        ("fail", {"status": True}, "'status' must be of type int"),
        ("fail", {"status": 503, "count": 0}, "count must be at least 1"),
        ("fail", {"status": 503, "colour": "red"}, "there is no field 'colour'"),
        ("fail", {"status": 503, "headers": {"Retry-After": 7}}, "headers"),
        ("fail", {"status": 503, "headers": {"X": "a\r\nb"}}, "of one line: X"),
        ("fail", [], "not a JSON object"),
        ("delay", {}, "'seconds' is missing"),
        ("delay", {"seconds": -1}, "between 0 and 3600"),
        ("delay", {"seconds": "1"}, "'seconds' must be of type int or float"),
        ("actions", {}, "'outcome' is missing"),
        ("actions", {"outcome": "maybe"}, "must be one of success, error, never"),
        ("actions", {"outcome": "error", "count": -1}, "at least 1"),
        ("zone", {}, "'name' is missing"),
        ("zone", {"name": "example.net"}, "there is no zone 'example.net'"),
        ("zone", {"name": "example.com", "status": "good"}, "one of ok, updating, error"),
        ("zone", {"name": "example.com", "delegation": "bad"}, "must be one of valid, "),
    ],
)
def test_an_invalid_order_is_refused_with_an_explanation(
    sandbox: Sandbox, caller: Caller, name: str, body: object, message: str
) -> None:
    answer = control(sandbox, "POST", name, body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert caller.get("/zones")


def test_an_unknown_control_route_is_reported(sandbox: Sandbox) -> None:
    assert control(sandbox, "GET", "nothing").status_code == 404
    assert control(sandbox, "GET", "fail").status_code == 405
