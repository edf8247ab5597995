"""The zone and project that are chosen for a host, and when zones are listed."""

from __future__ import annotations

import pytest

from sandbox import Sandbox
from sandbox.zone import Zone
from tests.http.conftest import FIRST, SECOND, Console, Serve
from tests.http.service import (
    HOME,
    LAB,
    LIST,
    NOWHERE,
    OTHER,
    Service,
    reading,
    record,
    refused,
    setting,
    told,
)
from tests.http.waiting import until

BOTH = f"{FIRST},{SECOND}"
NOBODYS = "z" * 64


def tokens(sandbox: Sandbox) -> list[tuple[str, int | None]]:
    """Each call and the number of the token that made it."""
    return [(call.line, call.token_index) for call in sandbox.calls()]


def test_the_longest_matching_zone_wins(serve: Serve, sandbox: Sandbox) -> None:
    assert serve(HETZNER_TOKEN=BOTH).host(LAB).updates("198.51.100.1").status_code == 200
    assert tokens(sandbox) == [
        (LIST, 0),
        (LIST, 1),
        (reading("home", "lab.example.com"), 1),
        ("POST /zones/lab.example.com/rrsets", 1),
    ]


def test_a_shorter_zone_applies_without_the_longer_ones_token(
    serve: Serve, sandbox: Sandbox
) -> None:
    assert serve(HETZNER_TOKEN=FIRST).host(LAB).updates("198.51.100.1").status_code == 200
    assert tokens(sandbox)[-2] == (reading("home.lab"), 0)


@pytest.mark.parametrize("listed", [BOTH, f"{SECOND}, {FIRST}"])
def test_each_project_is_changed_by_its_own_token(
    serve: Serve, sandbox: Sandbox, listed: str
) -> None:
    service = serve(HETZNER_TOKEN=listed)
    assert service.host(OTHER).updates("198.51.100.1").status_code == 200
    assert service.host(HOME).updates("198.51.100.2").status_code == 200
    assert tokens(sandbox)[2:] == [
        (reading("home", "example.net"), 1),
        ("POST /zones/example.net/rrsets", 1),
        (reading("home"), 0),
        ("POST /zones/example.com/rrsets", 0),
    ]
    assert sandbox.records(OTHER, "A") == ["198.51.100.1"]
    assert sandbox.records(HOME, "A") == ["198.51.100.2"]


@pytest.mark.parametrize("listed", [f"{NOBODYS},{FIRST}", f"{FIRST},{NOBODYS}"])
def test_a_bad_token_leaves_the_zones_of_a_good_one(serve: Serve, listed: str) -> None:
    service = serve(HETZNER_TOKEN=listed)
    assert service.host(HOME).updates("198.51.100.1").status_code == 200
    # The zone of this one may be in the project of the bad token.
    assert refused(service.host(OTHER).updates("198.51.100.1")) == (502, "hetzner_refused")


def test_the_list_of_zones_is_read_to_its_end(service: Service, sandbox: Sandbox) -> None:
    for number in range(60):
        sandbox.zones.add(Zone(name=f"zone{number}.com", project=FIRST))
    sandbox.zones.add(Zone(name="example.invalid", project=FIRST))
    assert service.host(NOWHERE).updates("198.51.100.1").status_code == 200
    assert service.calls()[:2] == [LIST, "GET /zones?page=2&per_page=50"]


def test_all_hosts_share_one_list(service: Service) -> None:
    for name in (HOME, "nas.example.com", "a.b.c.example.com"):
        service.host(name).updates("198.51.100.1")
    assert service.calls().count(LIST) == 1


def test_a_zone_that_is_created_later_is_found(serve: Serve, console: Console) -> None:
    service = serve(ZONE_CACHE_TTL="1")
    host = service.host(NOWHERE)
    assert refused(host.updates("198.51.100.1")) == (404, "zone_not_found")
    console.changes("POST", "/zones", {"name": "example.invalid", "mode": "primary"})
    until(lambda: host.updates("198.51.100.1").status_code == 200, "the new zone")
    assert service.sandbox.records(NOWHERE, "A") == ["198.51.100.1"]


def test_a_zone_that_becomes_primary_is_used_by_every_worker(
    serve: Serve, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.hetzner.zones._MISS_PAUSE", 0.2)
    nameservers = [{"address": "198.51.100.53"}]
    zone = {"name": "example.invalid", "mode": "secondary", "primary_nameservers": nameservers}
    console.changes("POST", "/zones", zone)
    hosts = [serve().host(NOWHERE) for _ in range(2)]
    for host in hosts:
        assert refused(host.updates("198.51.100.1")) == (502, "hetzner_refused")
    console.changes("DELETE", "/zones/example.invalid")
    console.changes("POST", "/zones", {"name": "example.invalid", "mode": "primary"})
    until(lambda: hosts[0].updates("198.51.100.1").status_code == 200, "the first worker")
    # The other worker still has the old list.
    until(lambda: hosts[1].updates("198.51.100.2").status_code == 200, "the second worker")


def test_a_name_without_a_zone_does_not_relist_zones(service: Service) -> None:
    host = service.host(NOWHERE)
    for _ in range(5):
        assert refused(host.updates("198.51.100.1")) == (404, "zone_not_found")
    assert service.calls() == [LIST]


def test_a_zone_that_moves_to_another_project_is_followed(serve: Serve, console: Console) -> None:
    service = serve(HETZNER_TOKEN=BOTH)
    host = service.host()
    host.updates("198.51.100.1")
    console.changes("DELETE", "/zones/example.com", token=FIRST)
    zone = {"name": "example.com", "mode": "primary"}
    console.changes("POST", "/zones", zone, token=SECOND)
    assert told(host.updates("198.51.100.2")) == (200, record("created", "198.51.100.2"))
    assert service.calls() == [
        setting("home"),
        reading("home"),
        LIST,
        LIST,
        reading("home"),
        "POST /zones/example.com/rrsets",
    ]


def test_a_zone_that_is_gone_is_not_found(service: Service, console: Console) -> None:
    host = service.host()
    host.updates("198.51.100.1")
    console.changes("DELETE", "/zones/example.com")
    assert refused(host.updates("198.51.100.2")) == (404, "zone_not_found")


def test_an_old_list_serves_while_hetzner_gives_none(serve: Serve) -> None:
    service = serve(ZONE_CACHE_TTL="1")
    host = service.host()
    host.updates("198.51.100.1")
    service.calls()
    service.sandbox.fail(503, count=None, path="/zones")
    answers = []

    def has_asked_in_vain() -> bool:
        answers.append(host.updates(f"198.51.100.{len(answers) + 2}").status_code)
        return LIST in [call.line for call in service.sandbox.calls()]

    until(has_asked_in_vain, "the list to become old")
    assert set(answers) == {200}
