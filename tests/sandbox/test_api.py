"""The HTTP behaviour of the sandbox: tokens, headers, statuses and errors."""

from __future__ import annotations

import socket

import pytest
import requests

from sandbox import DEMO_TOKEN, Sandbox
from tests.sandbox.conftest import Caller, Clock

RRSETS = "/zones/example.com/rrsets"
HOME = f"{RRSETS}/home/A"
NEW = {"name": "home", "type": "A", "records": [{"value": "192.0.2.1"}]}
ONE = {"records": [{"value": "192.0.2.1"}]}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        f"Bearer {'x' * 64}",
        f"Bearer {DEMO_TOKEN[:32]}",
        f"Bearer {DEMO_TOKEN}x",
        f"Basic {DEMO_TOKEN}",
        DEMO_TOKEN,
    ],
)
def test_a_wrong_token_gets_hetzners_very_bytes_and_no_limit(
    sandbox: Sandbox, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = requests.get(f"{sandbox.http_url}/zones", headers=headers, timeout=10)
    assert answer.status_code == 401
    assert answer.content == (
        b'{"error":{"code":"unauthorized","details":null,'
        b'"message":"the token you have provided is invalid"}}\n'
    )
    assert not {"ratelimit-limit", "x-correlation-id"} & {name.lower() for name in answer.headers}
    assert [call.token_index for call in sandbox.calls()] == [None]


@pytest.mark.parametrize("path", ["/zones", "/zones/none.example", "/nowhere"])
def test_every_other_answer_has_limit_and_correlation_id(caller: Caller, path: str) -> None:
    headers = caller.request("GET", path).headers
    assert {"ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"} <= set(headers)
    assert len(headers["X-Correlation-Id"]) == 32
    assert headers["Vary"] == "Accept-Encoding"
    assert headers["Content-Type"] == "application/json"


def test_limit_headers_are_in_lower_case(caller: Caller) -> None:
    names = list(caller.request("GET", "/zones").raw.headers)
    assert [name for name in names if "limit" in name.lower()] == [
        "ratelimit-limit",
        "ratelimit-remaining",
        "ratelimit-reset",
    ]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", "//zones", 404, "not_found"),
        ("GET", "/zones/", 404, "not_found"),
        ("GET", "/servers/actions/7", 404, "not_found"),
        ("PATCH", "/zones", 405, "method_not_allowed"),
        ("PATCH", HOME, 404, "not_found"),
        ("GET", "/zones/example.com/actions/7", 410, "deprecated_api_endpoint"),
        ("PUT", f"{HOME}/actions/set_records", 405, "method_not_allowed"),
        ("GET", "/zones/actions/seven", 404, "not_found"),
        ("GET", "/zones/none.example/rrsets", 404, "not_found"),
        ("GET", f"{RRSETS}/home/a", 404, "not_found"),
        ("POST", f"{RRSETS}/home/SPF/actions/add_records", 404, "not_found"),
    ],
)
def test_unknown_paths_and_methods_get_hetzners_error_shape(
    caller: Caller, method: str, path: str, status: int, code: str
) -> None:
    answer = caller.request(method, path, ONE if "records" in path else None)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert set(answer.json()["error"]) == {"code", "message", "details"}


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_body_without_a_json_object_is_a_json_error(caller: Caller, data: bytes) -> None:
    answer = caller.session.post(caller.base + RRSETS, data=data, timeout=10)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "json_error")


def test_an_absent_zone_is_404_or_an_empty_list(caller: Caller) -> None:
    assert caller.is_refused("GET", "/zones/none.example") == (404, "not_found")
    assert caller.get("/zones?name=none.example")["zones"] == []
    assert caller.request("GET", "/zones/none.example").json() == {
        "error": {"code": "not_found", "message": "Zone not found", "details": None}
    }


def test_an_absent_rrset_is_404_or_an_empty_list(caller: Caller) -> None:
    assert caller.is_refused("GET", HOME) == (404, "not_found")
    assert caller.get(f"{RRSETS}?name=home&type=A&type=AAAA")["rrsets"] == []


def test_an_rrset_lives_from_201_to_201(caller: Caller) -> None:
    created = caller.request("POST", RRSETS, NEW)
    assert created.status_code == 201
    assert created.json()["rrset"] == {
        "id": "home/A",
        "name": "home",
        "type": "A",
        "ttl": None,
        "labels": {},
        "protection": {"change": False},
        "records": [{"value": "192.0.2.1", "comment": ""}],
        "zone": 53091,
    }
    assert created.json()["action"]["command"] == "create_rrset"
    assert caller.get(HOME)["rrset"] == created.json()["rrset"]
    assert caller.get("/zones/example.com")["zone"]["record_count"] == 5
    assert caller.request("DELETE", HOME).status_code == 201
    assert caller.get("/zones/example.com")["zone"]["record_count"] == 4


@pytest.mark.parametrize(
    ("path", "body", "status", "command"),
    [
        ("set_records", ONE, 201, "set_rrset_records"),
        ("add_records", {"records": [{"value": "192.0.2.9"}]}, 201, "add_rrset_records"),
        ("remove_records", ONE, 201, "remove_rrset_records"),
        (
            "update_records",
            {"records": [{"value": "192.0.2.1", "comment": "x"}]},
            200,
            "update_rrset_records",
        ),
        ("change_ttl", {"ttl": None}, 201, "change_rrset_ttl"),
        ("change_protection", {"change": True}, 201, "change_rrset_protection"),
    ],
)
def test_each_rrset_action_has_its_status_and_command(
    caller: Caller, path: str, body: object, status: int, command: str
) -> None:
    caller.change("POST", RRSETS, NEW)
    answer = caller.request("POST", f"{HOME}/actions/{path}", body)
    assert (answer.status_code, answer.json()["action"]["command"]) == (status, command)
    action = answer.json()["action"]
    for where in ("/actions", "/zones/actions"):
        assert caller.get(f"{where}/{action['id']}")["action"] == action
        assert action in caller.get(f"{where}?id={action['id']}")["actions"]
    assert action in caller.get(f"/zones/example.com/actions?id={action['id']}")["actions"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("set_records", {"records": [{"value": "192.0.2.1"}], "ttl": 60}, 422, "invalid_input"),
        ("set_records", {"records": []}, 422, "invalid_input"),
        ("set_records", {}, 422, "invalid_input"),
        ("add_records", {**ONE, "ttl": 59}, 422, "invalid_input"),
        ("add_records", ONE, 422, "invalid_input"),
        ("update_records", ONE, 422, "invalid_input"),
        ("change_ttl", {}, 422, "invalid_input"),
        ("change_ttl", {"ttl": 59}, 422, "invalid_input"),
        ("change_protection", {}, 422, "invalid_input"),
        ("change_protection", {"change": 1}, 422, "invalid_input"),
    ],
)
def test_wrong_rrset_actions_are_refused(
    caller: Caller, path: str, body: object, status: int, code: str
) -> None:
    caller.change("POST", RRSETS, NEW)
    assert caller.is_refused("POST", f"{HOME}/actions/{path}", body) == (status, code)


def test_a_null_comment_is_an_empty_one(caller: Caller) -> None:
    caller.change("POST", RRSETS, {**NEW, "records": [{"value": "192.0.2.1", "comment": None}]})
    assert caller.get(HOME)["rrset"]["records"] == [{"value": "192.0.2.1", "comment": ""}]
    records = [{"value": "192.0.2.2", "comment": None}]
    caller.change("POST", f"{HOME}/actions/set_records", {"records": records})
    assert caller.get(HOME)["rrset"]["records"] == [{"value": "192.0.2.2", "comment": ""}]


def test_null_labels_set_and_change_none(caller: Caller) -> None:
    caller.change("POST", RRSETS, {**NEW, "labels": None})
    assert caller.get(HOME)["rrset"]["labels"] == {}
    for path, field in (("/zones/example.com", "zone"), (HOME, "rrset")):
        caller.change("PUT", path, {"labels": {"a": "b"}})
        assert caller.change("PUT", path, {"labels": None})[field]["labels"] == {"a": "b"}


def test_add_records_creates_under_names_that_may_be_created_only(caller: Caller) -> None:
    for name in ("Home", "home.example.com"):
        refusal = caller.is_refused("POST", f"{RRSETS}/{name}/A/actions/add_records", ONE)
        assert refusal == (422, "invalid_input")
    caller.change("POST", f"{HOME}/actions/add_records", {**ONE, "ttl": 60})
    assert caller.get(HOME)["rrset"]["ttl"] == 60


def test_put_replaces_labels_and_refuses_records(caller: Caller) -> None:
    caller.change("POST", RRSETS, {**NEW, "labels": {"old": ""}})
    rrset = caller.change("PUT", HOME, {"labels": {"new": "1"}})["rrset"]
    assert rrset["labels"] == {"new": "1"}
    assert caller.request("PUT", HOME, ONE).json()["error"] == {
        "code": "invalid_input",
        "message": "can't update records with this endpoint",
        "details": None,
    }
    assert caller.is_refused("PUT", HOME, {"ttl": 60}) == (422, "invalid_input")


def test_apex_wildcard_and_zone_id_work_in_paths(caller: Caller) -> None:
    zone = caller.get("/zones/example.com")["zone"]["id"]
    for name in ("@", "*", "*.deep"):
        caller.change("POST", f"/zones/{zone}/rrsets", {**NEW, "name": name})
        assert caller.get(f"/zones/{zone}/rrsets/{name}/A")["rrset"]["name"] == name
    assert caller.get(f"/zones/{zone}/rrsets/%40/A")["rrset"]["id"] == "@/A"


def test_records_come_in_no_certain_order(caller: Caller) -> None:
    records = [{"value": f"192.0.2.{number}"} for number in range(50)]
    caller.change("POST", RRSETS, {**NEW, "records": records})
    orders = [
        [record["value"] for record in caller.get(HOME)["rrset"]["records"]] for _ in range(2)
    ]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1])


def test_lists_are_filtered_sorted_and_paged(caller: Caller, sandbox: Sandbox) -> None:
    for number in range(7):
        sandbox.publish(f"h{number}.example.com", "A", "192.0.2.1")
        sandbox.publish(f"h{number}.example.com", "AAAA", "2001:db8::1")
    answer = caller.get(f"{RRSETS}?type=A&type=CNAME&sort=name:desc&per_page=3&page=2")
    assert [rrset["name"] for rrset in answer["rrsets"]] == ["h3", "h2", "h1"]
    assert answer["meta"]["pagination"] == {
        "page": 2,
        "per_page": 3,
        "previous_page": 1,
        "next_page": 3,
        "last_page": 3,
        "total_entries": 7,
    }
    names = [rrset["id"] for rrset in caller.get(f"{RRSETS}?name=h1&sort=id")["rrsets"]]
    assert names == ["h1/A", "h1/AAAA"]
    assert caller.get(f"{RRSETS}?per_page=100")["meta"]["pagination"]["per_page"] == 100
    assert caller.get("/zones?per_page=100")["meta"]["pagination"]["per_page"] == 50


def test_rrsets_are_sorted_by_the_order_of_their_creation(caller: Caller, sandbox: Sandbox) -> None:
    for name in ("b", "a", "c", "b"):
        sandbox.publish(f"{name}.example.com", "A", "192.0.2.1")

    def names(direction: str) -> list[str]:
        answer = caller.get(f"{RRSETS}?type=A&sort=created:{direction}")
        return [rrset["name"] for rrset in answer["rrsets"]]

    assert names("asc") == ["b", "a", "c"]
    assert names("desc") == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("query", "pages"),
    [
        ("name=@", {"last": "page=1&per_page=25"}),
        (
            "type=NS&type=SOA&page=2&per_page=1",
            {"prev": "page=1&per_page=1", "last": "page=2&per_page=1"},
        ),
        ("per_page=1", {"next": "page=2&per_page=1", "last": "page=2&per_page=1"}),
    ],
)
def test_links_lead_to_other_pages_without_filters(
    caller: Caller, query: str, pages: dict[str, str]
) -> None:
    links = caller.request("GET", f"{RRSETS}?{query}").links
    base = f"{caller.base}{RRSETS}?"
    assert {name: link["url"] for name, link in links.items()} == {
        name: base + page for name, page in pages.items()
    }


def test_rrsets_are_sorted_by_type_then_name(caller: Caller) -> None:
    for name, kind, value in (
        ("b", "A", "192.0.2.1"),
        ("a", "AAAA", "::1"),
        ("a", "A", "192.0.2.1"),
    ):
        caller.change("POST", RRSETS, {"name": name, "type": kind, "records": [{"value": value}]})
    assert [rrset["id"] for rrset in caller.get(RRSETS)["rrsets"]] == [
        "a/A",
        "b/A",
        "a/AAAA",
        "@/NS",
        "@/SOA",
    ]


def test_a_new_zone_is_not_known_to_be_delegated(caller: Caller) -> None:
    caller.change("POST", "/zones", {"name": "example.org", "mode": "primary"})
    servers = caller.get("/zones/example.org")["zone"]["authoritative_nameservers"]
    assert len(servers.pop("assigned")) == 3
    assert servers == {
        "delegated": [],
        "delegation_last_check": None,
        "delegation_status": "unknown",
    }


def test_a_zone_may_be_created_from_records_alone(caller: Caller) -> None:
    text = "$TTL 7200\nwww IN A 192.0.2.1\n"
    zone = {"name": "example.org", "mode": "primary", "zonefile": text}
    assert caller.change("POST", "/zones", zone)["zone"]["record_count"] == 5
    refusal = caller.is_refused(
        "POST", "/zones/example.org/actions/import_zonefile", {"zonefile": text}
    )
    assert refusal == (422, "invalid_input")


def test_a_protected_rrset_blocks_an_import(caller: Caller) -> None:
    caller.change("POST", RRSETS, NEW)
    caller.change("POST", f"{HOME}/actions/change_protection", {"change": True})
    text = caller.get("/zones/example.com/zonefile")
    refusal = caller.is_refused("POST", "/zones/example.com/actions/import_zonefile", text)
    assert refusal == (423, "protected")


def test_zones_are_filtered_by_mode_and_label(caller: Caller) -> None:
    servers = [{"address": "192.0.2.53"}]
    second = {"name": "example.net", "mode": "secondary", "primary_nameservers": servers}
    caller.change("POST", "/zones", {**second, "labels": {"env": "test"}})
    for query in ("mode=secondary", "label_selector=env%3Dtest", "sort=id:desc&per_page=1"):
        assert [zone["name"] for zone in caller.get(f"/zones?{query}")["zones"]] == ["example.net"]
    assert caller.is_refused("GET", "/zones/example.net/rrsets") == (422, "incorrect_zone_mode")
    change = "/zones/example.com/actions/change_primary_nameservers"
    assert caller.is_refused("POST", change, {"primary_nameservers": servers}) == (
        422,
        "incorrect_zone_mode",
    )


@pytest.mark.parametrize(
    "change",
    [
        {"name": "home.example.org"},
        {"mode": "tertiary"},
        {"ttl": 59},
        {"primary_nameservers": [{"address": "ns1"}]},
        {"primary_nameservers": [{}]},
        {"primary_nameservers": [{"address": "192.0.2.53", "port": True}]},
        {"rrsets": [{"name": "A.", "type": "A", "records": []}]},
        {"rrsets": [NEW, {**NEW, "type": "CNAME", "records": [{"value": "www"}]}]},
        {"zonefile": "nonsense"},
        {"zonefile": "", "rrsets": []},
    ],
)
def test_wrong_zones_are_refused(caller: Caller, change: dict[str, object]) -> None:
    zone = {"name": "example.org", "mode": "primary", **change}
    assert caller.is_refused("POST", "/zones", zone) == (422, "invalid_input")
    assert caller.get("/zones?name=example.org")["zones"] == []


def test_each_token_sees_its_own_zones_and_those_without_one(clock: Clock) -> None:
    one, two, reader = "a" * 64, "b" * 64, "c" * 64
    zones = ["example.com", f"one.example={one}", f"two.example={two}"]
    with Sandbox(zones, [one, two], read_only_tokens=[reader], clock=clock) as sandbox:
        seen = {}
        for token in (one, two, reader):
            caller = Caller(sandbox, token)
            seen[token] = [zone["name"] for zone in caller.get("/zones")["zones"]]
            caller.session.close()
        assert seen == {
            one: ["example.com", "one.example"],
            two: ["example.com", "two.example"],
            reader: ["example.com"],
        }
        assert [call.token_index for call in sandbox.calls()] == [0, 1, 2]


def test_a_read_only_token_may_look_and_not_write(clock: Clock) -> None:
    reader = "c" * 64
    with Sandbox(read_only_tokens=[reader], clock=clock) as sandbox:
        caller = Caller(sandbox, reader)
        caller.get("/zones/example.com")
        assert caller.is_refused("POST", RRSETS, NEW) == (401, "token_readonly")
        assert sandbox.records("home.example.com", "A") == []
        caller.session.close()


def test_actions_are_found_by_id_by_zone_and_by_status(caller: Caller, clock: Clock) -> None:
    caller.change("POST", "/zones", {"name": "example.org", "mode": "primary"})
    clock.advance(10)
    first = caller.change("POST", RRSETS, NEW)["action"]["id"]
    second = caller.change("DELETE", HOME)["action"]["id"]
    here = caller.get("/zones/example.com/actions?sort=id:desc")["actions"]
    assert [action["id"] for action in here] == [second, first]
    everywhere = caller.get("/zones/actions")["actions"]
    assert [action["command"] for action in everywhere] == [
        "create_zone",
        "create_rrset",
        "delete_rrset",
    ]
    assert len(caller.get("/zones/actions?status=success")["actions"]) == 1
    assert len(caller.get("/zones/actions?status=success&status=running")["actions"]) == 3
    some = caller.get(f"/actions?id={first}&id={second}&id=7")["actions"]
    assert [action["id"] for action in some] == [first, second]
    assert caller.is_refused("GET", "/actions?id=seven") == (422, "invalid_input")
    assert caller.is_refused("GET", "/actions") == (422, "invalid_input")


def test_a_secondary_zone_keeps_its_nameservers(caller: Caller) -> None:
    server = {"address": "192.0.2.53", "tsig_key": "a2V5", "tsig_algorithm": "hmac-sha256"}
    zone = {"name": "example.net", "mode": "secondary", "primary_nameservers": [server]}
    caller.change("POST", "/zones", zone)
    shown = caller.get("/zones/example.net")["zone"]
    assert shown["primary_nameservers"] == [{**server, "port": 53}]
    assert shown["record_count"] == 0


def test_thousands_of_rrsets_are_listed_completely_in_pages_of_100(
    sandbox: Sandbox, caller: Caller
) -> None:
    hosts = [f"host{number}" for number in range(3000)]
    records = [{"value": "192.0.2.1"}]
    rrsets = [{"name": name, "type": "A", "records": records} for name in hosts]
    caller.change("POST", "/zones", {"name": "big.com", "mode": "primary", "rrsets": rrsets})
    listed: list[str] = []
    page: int | None = 1
    while page:
        answer = caller.get(f"/zones/big.com/rrsets?type=A&per_page=100&page={page}")
        listed += [rrset["name"] for rrset in answer["rrsets"]]
        page = answer["meta"]["pagination"]["next_page"]
    assert listed == sorted(hosts)
    assert len(sandbox.calls()) == 31


def test_expect_continue_is_answered_before_the_body(
    sandbox: Sandbox,
) -> None:
    with socket.create_connection((sandbox.host, sandbox.http_port), timeout=30) as connection:
        head = f"Host: x\r\nAuthorization: Bearer {sandbox.token}\r\nContent-Length: 2\r\n"
        connection.sendall(
            f"POST /v1/zones HTTP/1.1\r\n{head}Expect: 100-continue\r\n\r\n".encode()
        )
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(1000).startswith(b"HTTP/1.1 422 ")
