"""All calls of the sandbox and their answers conform to Hetzner's OpenAPI document."""

from __future__ import annotations

from typing import Any, Dict, Iterator, Tuple
from urllib.parse import urlsplit

import pytest
import requests

from sandbox import Sandbox
from sandbox.controls import STATUSES
from sandbox.shapes import DELEGATED
from tests.contract.openapi import (
    Mismatch,
    check_request,
    check_response,
    find_operation,
    needs_document,
    operations,
)

pytestmark = needs_document

READER = "readonly" * 8
Answer = Tuple[int, Dict[str, Any]]


class Judged:
    """Checks all calls and answers against the document; `seen` has the operations called."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {sandbox.token}"
        self.seen = set()

    def calls(self, method: str, path: str, body: object | None = None) -> dict[str, Any]:
        """Make a documented call that must succeed."""
        parts = urlsplit(path)
        check_request(method, parts.path, parts.query, body)
        status, answer = self.check(method, path, body)
        assert 200 <= status < 300, answer
        return answer

    def check(self, method: str, path: str, body: object | None = None) -> Answer:
        """Make a call that may be invalid; its answer must still be documented."""
        response = self.session.request(method, self.sandbox.http_url + path, json=body)
        answer = response.json()
        where = urlsplit(path).path
        check_response(method, where, response.status_code, answer)
        self.seen.add((method, find_operation(method, where).template))
        return response.status_code, answer


@pytest.fixture
def judged() -> Iterator[Judged]:
    with Sandbox(["example.com"], read_only_tokens=[READER], action_seconds=0) as sandbox:
        judged = Judged(sandbox)
        yield judged
        judged.session.close()


def _zone_calls(judged: Judged) -> None:
    server = {"address": "192.0.2.53", "tsig_key": "a2V5", "tsig_algorithm": "hmac-sha256"}
    second = {"name": "example.net", "mode": "secondary", "primary_nameservers": [server]}
    judged.calls("POST", "/zones", second)
    change = "/zones/example.net/actions/change_primary_nameservers"
    judged.calls("POST", change, {"primary_nameservers": [{"address": "2001:db8::53"}]})
    www = {"name": "www", "type": "A", "records": [{"value": "192.0.2.1", "comment": "web"}]}
    first = {"name": "example.org", "mode": "primary", "ttl": 600, "rrsets": [www]}
    zone = judged.calls("POST", "/zones", {**first, "labels": {"env": "test"}})["zone"]
    judged.calls("GET", "/zones?sort=name:desc&label_selector=env&mode=primary&per_page=1")
    judged.calls("GET", f"/zones/{zone['id']}")
    judged.calls("PUT", "/zones/example.org", {"labels": {"env": "prod"}})
    judged.calls("POST", "/zones/example.org/actions/change_ttl", {"ttl": 7200})
    judged.calls("POST", "/zones/example.org/actions/change_protection", {"delete": False})
    text = judged.calls("GET", "/zones/example.org/zonefile")
    judged.calls("POST", "/zones/example.org/actions/import_zonefile", text)
    judged.calls("DELETE", "/zones/example.org")


def _rrset_calls(judged: Judged) -> None:
    home, actions = "/zones/example.com/rrsets/home/A", "/zones/example.com/rrsets/home/A/actions"
    one, two = {"value": "192.0.2.1", "comment": "one"}, {"value": "192.0.2.2", "comment": "two"}
    new = {"name": "home", "type": "A", "ttl": None, "records": [one], "labels": {"a": "b"}}
    judged.calls("POST", "/zones/example.com/rrsets", new)
    judged.calls("GET", "/zones/example.com/rrsets?name=home&type=A&type=AAAA&per_page=100")
    judged.calls("GET", home)
    judged.calls("GET", "/zones/example.com/rrsets/@/SOA")
    judged.calls("PUT", home, {"labels": {}})
    judged.calls("POST", f"{actions}/change_protection", {"change": False})
    judged.calls("POST", f"{actions}/change_ttl", {"ttl": None})
    judged.calls("POST", f"{actions}/set_records", {"records": [one]})
    judged.calls("POST", f"{actions}/add_records", {"records": [two]})
    judged.calls("POST", f"{actions}/update_records", {"records": [one, two]})
    judged.calls("POST", f"{actions}/remove_records", {"records": [{"value": "192.0.2.2"}]})
    judged.calls("DELETE", home)


def _action_calls(judged: Judged) -> None:
    judged.sandbox.actions_end("error")
    label = {"records": [{"value": "192.0.2.1"}]}
    add = "/zones/example.com/rrsets/x/A/actions/add_records"
    action = judged.calls("POST", add, label)["action"]
    judged.calls("GET", f"/actions?id={action['id']}&id=1")
    judged.calls("GET", f"/actions/{action['id']}")
    judged.calls("GET", f"/zones/actions?id={action['id']}&status=error&sort=finished:desc")
    judged.calls("GET", f"/zones/actions/{action['id']}")
    judged.calls("GET", "/zones/example.com/actions?sort=started&page=1&per_page=50")
    assert judged.check("GET", f"/zones/example.com/actions/{action['id']}")[0] == 410


def test_every_documented_operation_is_answered_as_documented(judged: Judged) -> None:
    _zone_calls(judged)
    _rrset_calls(judged)
    _action_calls(judged)
    assert judged.seen == set(operations())


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("delegation", DELEGATED)
def test_a_zone_may_have_each_status_and_delegation(
    judged: Judged, status: str | None, delegation: str
) -> None:
    judged.sandbox.show_zone("example.com", status=status, delegation=delegation)
    judged.calls("GET", "/zones/example.com")


@pytest.mark.parametrize(
    ("method", "path", "body", "refusal"),
    [
        ("GET", "/zones/nowhere.example", None, (404, "not_found")),
        ("GET", "/zones/example.com/rrsets/none/A", None, (404, "not_found")),
        ("GET", "/actions/7", None, (404, "not_found")),
        ("GET", "/actions", None, (422, "invalid_input")),
        ("GET", "/zones?page=x", None, (422, "invalid_input")),
        ("POST", "/zones", {"name": "EXAMPLE.COM", "mode": "primary"}, (422, "invalid_input")),
        ("POST", "/zones", {"name": "example.com", "mode": "primary"}, (409, "uniqueness_error")),
        ("POST", "/zones", [], (400, "json_error")),
        ("POST", "/zones/example.com/rrsets", {}, (422, "invalid_input")),
        ("PUT", "/zones/example.com/rrsets/@/NS", {"records": []}, (422, "invalid_input")),
    ],
)
def test_every_refusal_has_the_documented_shape(
    judged: Judged, method: str, path: str, body: object, refusal: tuple[int, str]
) -> None:
    status, answer = judged.check(method, path, body)
    assert (status, answer["error"]["code"]) == refusal


@pytest.mark.parametrize("status", [401, 403, 409, 410, 412, 423, 429, 500, 502, 503, 504])
def test_ordered_failures_have_the_documented_shape(judged: Judged, status: int) -> None:
    judged.sandbox.fail(status)
    assert judged.check("GET", "/zones")[0] == status


@pytest.mark.parametrize("token", ["x" * 64, READER])
def test_insufficient_tokens_get_the_documented_error(judged: Judged, token: str) -> None:
    judged.session.headers["Authorization"] = f"Bearer {token}"
    assert judged.check("DELETE", "/zones/example.com")[0] == 401


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ttl": 59}, "ttl"),
        ({"ttl": "60"}, "ttl"),
        ({"type": "SPF"}, "type"),
        ({"colour": "red"}, "colour"),
        ({"records": [{"comment": "no value"}]}, "value"),
    ],
)
def test_the_checker_refuses_an_undocumented_rrset(
    judged: Judged, change: dict[str, object], message: str
) -> None:
    good = judged.calls("GET", "/zones/example.com/rrsets/@/NS")["rrset"]
    path = "/zones/example.com/rrsets/@/NS"
    check_response("GET", path, 200, {"rrset": good})
    with pytest.raises(Mismatch, match=message):
        check_response("GET", path, 200, {"rrset": {**good, **change}})


def test_the_checker_refuses_an_incomplete_answer(
    judged: Judged,
) -> None:
    zone = judged.calls("GET", "/zones/example.com")["zone"]
    for key in ("id", "ttl", "created", "mode"):
        less = {name: value for name, value in zone.items() if name != key}
        with pytest.raises(Mismatch):
            check_response("GET", "/zones/example.com", 200, {"zone": less})
    with pytest.raises(Mismatch, match="204 is not documented"):
        check_response("DELETE", "/zones/example.com", 204, None)
    with pytest.raises(Mismatch, match="date-time"):
        check_response("GET", "/zones/1", 200, {"zone": {**zone, "created": "yesterday"}})
    with pytest.raises(Mismatch, match="message"):
        check_response("GET", "/zones", 404, {"error": {"code": "not_found"}})


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        ("GET", "/servers", "", None),
        ("PATCH", "/zones/example.com", "", {}),
        ("GET", "/zones", "colour=red", None),
        ("GET", "/zones", "per_page=51", None),
        ("GET", "/zones", "name=a&name=b", None),
        ("GET", "/zones", "", {"body": "on a GET"}),
        ("GET", "/zones/example.com/rrsets", "per_page=101", None),
        ("GET", "/zones/example.com/rrsets", "type=SPF", None),
        ("GET", "/zones/example.com/rrsets/home/a", "", None),
        ("GET", "/actions", "", None),
        ("GET", "/actions/seven", "", None),
        ("POST", "/zones/example.com/rrsets", "", None),
        ("POST", "/zones/example.com/rrsets", "", {"name": "home", "type": "A"}),
        ("POST", "/zones/example.com/rrsets/h/A/actions/set_records", "", {"records": []}),
        ("POST", "/zones/example.com/rrsets/h/A/actions/change_ttl", "", {}),
        ("PUT", "/zones/example.com/rrsets/h/A", "", {"records": [{"value": "192.0.2.1"}]}),
    ],
)
def test_the_checker_refuses_an_undocumented_request(
    method: str, path: str, query: str, body: object
) -> None:
    with pytest.raises(Mismatch):
        check_request(method, path, query, body)
