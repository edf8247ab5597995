"""POST /update: answers to valid requests, and their calls to Hetzner."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.conftest import Console, Serve
from tests.http.service import (
    APEX,
    CREATE,
    DEEP,
    EMOJI,
    HOME,
    LIST,
    NAS,
    OPERATOR,
    UNICODE,
    WILDCARD,
    Host,
    Service,
    basic,
    key_of,
    reading,
    record,
    setting,
    told,
)


def test_the_first_update_lists_zones_and_creates_the_record(
    service: Service, host: Host, console: Console
) -> None:
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))
    assert service.calls() == [LIST, reading("home"), CREATE]
    assert console.shows(HOME) == {"ttl": 21600, "records": {"198.51.100.1": ""}}


def test_a_change_sets_the_record(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.calls()
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))
    assert service.calls() == [setting("home")]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.2"]


def test_an_unchanged_address_costs_no_call(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    service.calls()
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert service.calls() == []


def test_a_record_that_exists_at_hetzner_is_unchanged(service: Service, host: Host) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.1")
    assert told(host.updates("198.51.100.1")) == (200, record("unchanged", "198.51.100.1"))
    assert service.calls() == [LIST, reading("home")]


def test_one_address_replaces_several(service: Service, host: Host) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.1", "198.51.100.2")
    assert told(host.updates("198.51.100.1")) == (200, record("updated", "198.51.100.1"))
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]


def test_the_families_are_independent(service: Service, host: Host) -> None:
    host.updates("198.51.100.1")
    assert told(host.updates("2001:db8::5")) == (200, record("created", "2001:db8::5"))
    service.calls()
    host.updates("2001:db8::6")
    assert service.calls() == [setting("home", "AAAA")]
    assert service.sandbox.records(HOME, "A") == ["198.51.100.1"]
    assert service.sandbox.records(HOME, "AAAA") == ["2001:db8::6"]


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("2001:DB8:0:0:0:0:0:5", "2001:db8::5"),
        ("::ffff:198.51.100.1", "198.51.100.1"),
        (" 198.51.100.1 ", "198.51.100.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("127.0.0.1", "127.0.0.1"),
        ("100.64.0.1", "100.64.0.1"),
        ("fd00::5", "fd00::5"),
        ("203.0.113.9", "203.0.113.9"),
    ],
)
def test_an_address_is_answered_in_its_canonical_spelling(
    host: Host, sent: str, answered: str
) -> None:
    assert told(host.updates(sent)) == (200, record("created", answered))


@pytest.mark.parametrize(
    "spelling", ["HOME.Example.COM", "home.example.com.", " home.example.com ", "Home.example.com."]
)
def test_a_name_is_answered_in_its_canonical_spelling(host: Host, spelling: str) -> None:
    answer = host.updates("198.51.100.1", fqdn=spelling)
    assert told(answer) == (200, record("created", "198.51.100.1"))


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("größe.example.com", UNICODE),
        ("GRÖSSE.example.com".replace("SS", "ẞ"), UNICODE),
        (UNICODE, UNICODE),
        ("👋.example.com", EMOJI),
        (EMOJI.upper(), EMOJI),
    ],
)
def test_a_unicode_name_matches_its_registered_punycode(
    service: Service, spelling: str, name: str
) -> None:
    answer = service.host(name).updates("198.51.100.1", fqdn=spelling)
    assert told(answer) == (200, record("created", "198.51.100.1", name))
    assert service.sandbox.records(name, "A") == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("name", "owner"),
    [(APEX, "@"), (WILDCARD, "*.home"), (DEEP, "a.b.c")],
    ids=["apex", "wildcard", "deep"],
)
def test_apex_wildcard_and_deep_names_are_updated(service: Service, name: str, owner: str) -> None:
    host = service.host(name)
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1", name))
    assert told(host.updates("198.51.100.2")) == (200, record("updated", "198.51.100.2", name))
    calls = service.calls()
    assert calls[2] == CREATE
    assert calls[-1] == setting(owner)
    assert service.sandbox.records(name, "A") == ["198.51.100.2"]


def test_without_an_ip_the_callers_address_is_set(host: Host) -> None:
    answer = host.sends("POST", peer="203.0.113.50")
    assert told(answer) == (200, record("created", "203.0.113.50"))


@pytest.mark.parametrize("ip", ["", "  "])
def test_an_empty_ip_counts_as_missing(host: Host, ip: str) -> None:
    answer = host.sends("POST", peer="203.0.113.50", ip=ip)
    assert told(answer) == (200, record("created", "203.0.113.50"))


@pytest.mark.parametrize(
    ("ip", "type_"), [("198.51.100.1", "A"), ("198.51.100.1", "a"), ("2001:db8::5", " AAAA ")]
)
def test_a_type_that_fits_the_address_is_accepted(host: Host, ip: str, type_: str) -> None:
    assert told(host.updates(ip, type=type_)) == (200, record("created", ip))


def test_url_is_an_alias_of_fqdn(service: Service, host: Host) -> None:
    body = {"url": HOME, "ip": "198.51.100.1"}
    answer = service.asks("POST", "/update", json=body, headers=host.headers)
    assert told(answer) == (200, record("created", "198.51.100.1"))


def test_unknown_fields_are_ignored(host: Host) -> None:
    answer = host.updates("198.51.100.1", ttl=60, client={"version": 2})
    assert told(answer) == (200, record("created", "198.51.100.1"))


# The request of `Invoke-WebRequest -Method Post -Body @{ fqdn='host.example.com' }`.
POWERSHELL: dict[str, Any] = {
    "data": b"fqdn=home.example.com",
    "content_type": "application/x-www-form-urlencoded",
    "headers": {
        "X-Pre-Shared-Key": key_of(HOME),
        "User-Agent": "Mozilla/5.0 (Windows NT; Windows NT 10.0) WindowsPowerShell/5.1.19041",
    },
}
JSON_BODY = b'{"fqdn":"home.example.com"}'


@pytest.mark.parametrize(
    "options",
    [
        POWERSHELL,
        {**POWERSHELL, "data": b"url=home.example.com"},
        {**POWERSHELL, "data": b"fqdn=HOME.example.com.&ip=&type=A"},
        {**POWERSHELL, "data": {"fqdn": HOME}, "content_type": "multipart/form-data"},
        {**POWERSHELL, "content_type": "application/x-www-form-urlencoded; charset=utf-8"},
        # `curl -d` without a header sends JSON with the type of a form.
        {**POWERSHELL, "data": JSON_BODY},
        {**POWERSHELL, "data": JSON_BODY, "content_type": "application/json"},
        {**POWERSHELL, "data": JSON_BODY, "content_type": "application/json; charset=utf-8"},
        {**POWERSHELL, "data": JSON_BODY, "content_type": "text/plain"},
        {**POWERSHELL, "data": JSON_BODY, "content_type": None},
    ],
    ids=[
        "the README's PowerShell line",
        "a form with url",
        "a form with empty fields",
        "a multipart form",
        "a form with a charset",
        "JSON called a form",
        "JSON",
        "JSON with a charset",
        "JSON called text",
        "JSON without a type",
    ],
)
def test_the_content_decides_how_a_body_is_read(service: Service, options: dict[str, Any]) -> None:
    answer = service.asks("POST", "/update", peer="203.0.113.50", **options)
    assert told(answer) == (200, record("created", "203.0.113.50"))


@pytest.mark.parametrize("user", ["home", "HOME", HOME, f"{HOME}.", "Home.Example.com"])
def test_a_host_may_log_in_instead_of_sending_its_key(service: Service, user: str) -> None:
    answer = service.asks(
        "POST",
        "/update",
        json={"fqdn": HOME, "ip": "198.51.100.1"},
        headers={"Authorization": basic(user, key_of(HOME))},
    )
    assert told(answer) == (200, record("created", "198.51.100.1"))


@pytest.mark.parametrize("name", [HOME, NAS])
def test_the_operator_may_update_every_registered_host(service: Service, name: str) -> None:
    answer = service.asks(
        "POST",
        "/update",
        json={"fqdn": name, "ip": "198.51.100.1"},
        headers={"Authorization": basic(*OPERATOR)},
    )
    assert told(answer) == (200, record("created", "198.51.100.1", name))


def test_a_new_record_gets_record_ttl(serve: Serve, console: Console) -> None:
    serve(RECORD_TTL="120").host().updates("198.51.100.1")
    assert console.shows(HOME)["ttl"] == 120


@pytest.mark.parametrize("ttl", [None, 60, 86400])
def test_an_existing_ttl_is_kept(service: Service, console: Console, ttl: int | None) -> None:
    service.sandbox.publish(HOME, "A", "198.51.100.1", ttl=ttl)
    service.host().updates("198.51.100.2")
    assert console.shows(HOME) == {"ttl": ttl, "records": {"198.51.100.2": ""}}


@pytest.mark.parametrize("before", [None, 60, 86400])
def test_record_ttl_changes_an_existing_ttl(
    serve: Serve, console: Console, before: int | None
) -> None:
    service = serve(RECORD_TTL="300")
    service.sandbox.publish(HOME, "A", "198.51.100.1", ttl=before)
    assert told(service.host().updates("198.51.100.2")) == (200, record("updated", "198.51.100.2"))
    path = "/zones/example.com/rrsets/home/A/actions/change_ttl"
    assert service.calls() == [LIST, reading("home"), setting("home"), f"POST {path}"]
    assert console.shows(HOME) == {"ttl": 300, "records": {"198.51.100.2": ""}}


def test_a_correct_ttl_costs_no_call(serve: Serve) -> None:
    service = serve(RECORD_TTL="300")
    service.sandbox.publish(HOME, "A", "198.51.100.1", ttl=300)
    service.host().updates("198.51.100.2")
    assert service.calls() == [LIST, reading("home"), setting("home")]


def test_an_existing_comment_is_kept(service: Service, console: Console) -> None:
    body = {
        "name": "home",
        "type": "A",
        "records": [{"value": "198.51.100.1", "comment": "the cellar"}],
    }
    console.changes("POST", "/zones/example.com/rrsets", body)
    service.host().updates("198.51.100.2")
    assert console.shows(HOME)["records"] == {"198.51.100.2": "the cellar"}
