"""DELETE /update and offline=YES: a host's records are removed; its next update creates them."""

from __future__ import annotations

import pytest

from tests.http.conftest import Console
from tests.http.service import (
    CREATE,
    HOME,
    LIST,
    NAS,
    OPERATOR,
    PEER,
    Host,
    Router,
    Service,
    basic,
    reading,
    record,
    refused,
    said,
    told,
)


def deleting(kind: str) -> str:
    return f"DELETE /zones/example.com/rrsets/home/{kind}"


def removed(*types: str, status: str = "deleted") -> dict[str, object]:
    return {"status": status, "fqdn": HOME, "types": list(types)}


@pytest.fixture
def both(service: Service, router: Router) -> Service:
    """The host has an address of each family."""
    router.updates(myip="198.51.100.1,2001:db8::5")
    service.calls()
    return service


def test_a_host_that_leaves_loses_both_records(both: Service, host: Host) -> None:
    assert told(host.leaves()) == (200, removed("A", "AAAA"))
    assert sorted(both.calls()) == [deleting("A"), deleting("AAAA"), reading("home")]
    assert both.sandbox.records(HOME, "A") == both.sandbox.records(HOME, "AAAA") == []


@pytest.mark.parametrize(("kind", "kept"), [("A", "AAAA"), ("AAAA", "A")])
def test_a_removal_may_be_of_one_type(both: Service, host: Host, kind: str, kept: str) -> None:
    assert told(host.leaves(type=kind.lower())) == (200, removed(kind))
    assert both.calls() == [reading("home"), deleting(kind)]
    assert both.sandbox.records(HOME, kind) == []
    assert len(both.sandbox.records(HOME, kept)) == 1


def test_what_is_gone_already_costs_no_call(both: Service, host: Host) -> None:
    host.leaves()
    both.calls()
    assert told(host.leaves()) == (200, removed("A", "AAAA", status="unchanged"))
    assert both.calls() == []


def test_what_never_was_is_looked_up_once(service: Service, host: Host) -> None:
    assert told(host.leaves()) == (200, removed("A", "AAAA", status="unchanged"))
    assert service.calls() == [LIST, reading("home")]
    host.leaves()
    assert service.calls() == []


def test_deleting_an_already_deleted_record_succeeds(both: Service, host: Host) -> None:
    both.sandbox.publish(HOME, "A")
    assert told(host.leaves()) == (200, removed("A", "AAAA"))
    assert both.calls() == [reading("home"), deleting("AAAA")]


def test_a_record_deleted_after_the_read_is_no_failure(both: Service, host: Host) -> None:
    both.sandbox.fail(404, "not_found", path="*/home/A", method="DELETE")
    assert host.leaves(type="A").status_code == 200


def test_the_next_update_brings_the_record_back(both: Service, host: Host) -> None:
    host.leaves()
    both.calls()
    assert told(host.updates("198.51.100.1")) == (200, record("created", "198.51.100.1"))
    assert both.calls() == [reading("home"), CREATE]
    assert both.sandbox.records(HOME, "A") == ["198.51.100.1"]


@pytest.mark.parametrize("ip", ["nonsense", "198.51.100.1"])
def test_a_removal_with_an_address_is_refused(both: Service, host: Host, ip: str) -> None:
    assert refused(host.leaves(ip=ip)) == (400, "bad_request")
    assert both.sandbox.records(HOME, "A") != []


def test_other_hosts_keep_their_records(both: Service, host: Host) -> None:
    both.host(NAS).updates("198.51.100.9")
    host.leaves()
    assert both.sandbox.records(NAS, "A") == ["198.51.100.9"]


def test_a_removal_may_come_as_a_form_and_with_url(both: Service, host: Host) -> None:
    answer = both.asks("DELETE", "/update", data={"url": HOME}, headers=host.headers)
    assert told(answer) == (200, removed("A", "AAAA"))


def test_the_operator_may_remove(both: Service) -> None:
    headers = {"Authorization": basic(*OPERATOR)}
    answer = both.asks("DELETE", "/update", json={"fqdn": HOME}, headers=headers)
    assert told(answer) == (200, removed("A", "AAAA"))


def test_a_protected_record_stays(both: Service, host: Host, console: Console) -> None:
    path = "/zones/example.com/rrsets/home/A/actions/change_protection"
    console.changes("POST", path, {"change": True})
    assert refused(host.leaves(type="A")) == (502, "hetzner_refused")
    assert both.sandbox.records(HOME, "A") == ["198.51.100.1"]


def test_a_removal_while_hetzner_is_away_is_kept(both: Service, host: Host) -> None:
    both.sandbox.fail(503)
    assert refused(host.leaves()) == (503, "unavailable")
    assert both.states() == {(HOME, "A"): (None, "pending"), (HOME, "AAAA"): (None, "pending")}


@pytest.mark.parametrize("value", ["YES", "yes", "Yes"])
def test_offline_removes_both_records(both: Service, router: Router, value: str) -> None:
    assert said(router.asks("GET", {"hostname": HOME, "offline": value})) == (200, b"good\n")
    assert sorted(both.calls()) == [deleting("A"), deleting("AAAA"), reading("home")]
    assert both.sandbox.records(HOME, "A") == both.sandbox.records(HOME, "AAAA") == []


def test_offline_again_is_still_good_and_costs_no_call(both: Service, router: Router) -> None:
    router.updates(offline="YES")
    both.calls()
    assert said(router.updates(offline="YES")) == (200, b"good\n")
    assert both.calls() == []


def test_offline_wins_over_an_address(both: Service, router: Router) -> None:
    assert said(router.updates(offline="YES", myip="198.51.100.1")) == (200, b"good\n")
    assert both.sandbox.records(HOME, "A") == []


@pytest.mark.parametrize("value", ["NO", "no", "", "NOCHG"])
def test_any_other_word_for_offline_is_ignored(both: Service, router: Router, value: str) -> None:
    answer = router.updates(offline=value, myip="198.51.100.1")
    assert said(answer) == (200, b"nochg 198.51.100.1\n")
    assert both.calls() == []


OFFLINE: list[str] = [f"hostname={HOME}&offline=YES&offline=YES", f"hostname={HOME}&offline=YES%20"]


@pytest.mark.parametrize("query", OFFLINE, ids=["twice", "with a blank"])
def test_offline_never_publishes_an_address(both: Service, router: Router, query: str) -> None:
    router.asks("GET", query, peer="203.0.113.50")
    assert both.sandbox.records(HOME, "A") != ["203.0.113.50"]


def test_after_offline_an_update_brings_the_record_back(both: Service, router: Router) -> None:
    router.updates(offline="YES")
    assert said(router.updates(myip="198.51.100.1")) == (200, b"good 198.51.100.1\n")
    assert both.sandbox.records(HOME, "A") == ["198.51.100.1"]


@pytest.mark.parametrize("protocol", ["dyndns2", "json"])
def test_the_history_shows_removal_and_return(
    both: Service, host: Host, router: Router, protocol: str
) -> None:
    if protocol == "json":
        host.leaves()
        host.updates("198.51.100.1")
    else:
        router.updates(offline="YES")
        router.updates(myip="198.51.100.1")
    told = [
        tuple(row[name] for name in ("event", "type", "old", "new", "protocol", "source"))
        for row in both.rows("history")
    ]
    assert told[2:] == [
        ("deleted", "A", "198.51.100.1", None, protocol, PEER),
        ("deleted", "AAAA", "2001:db8::5", None, protocol, PEER),
        ("created", "A", None, "198.51.100.1", protocol, PEER),
    ]


def test_an_offline_request_while_hetzner_is_away_is_kept(both: Service, router: Router) -> None:
    both.sandbox.fail(503)
    assert said(router.updates(offline="YES")) == (503, b"911\n")
    assert both.states() == {(HOME, "A"): (None, "pending"), (HOME, "AAAA"): (None, "pending")}


def test_offline_with_a_wrong_key_removes_nothing(both: Service, router: Router) -> None:
    router.headers = {"Authorization": basic("home", "wrong")}
    assert said(router.updates(offline="YES")) == (401, b"badauth\n")
    assert both.sandbox.records(HOME, "A") == ["198.51.100.1"]
