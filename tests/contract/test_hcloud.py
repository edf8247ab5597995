"""Hetzner's official client works with the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, Iterator

import pytest

from backend.hetzner.client import CloudApi
from backend.hetzner.dns import CHALLENGE_COMMENT, Hetzner, Location
from backend.model import Deadline
from sandbox import Sandbox

hcloud = pytest.importorskip("hcloud", reason="the official client needs Python 3.10 or newer")
from hcloud.actions import ActionFailedException, ActionTimeoutException  # noqa: E402
from hcloud.zones import Zone, ZonePrimaryNameserver, ZoneRecord, ZoneRRSet  # noqa: E402

if TYPE_CHECKING:
    from hcloud import Client
    from hcloud.zones import BoundZoneRRSet

ZONE = Zone(name="example.com")
ACTION_SECONDS = 0.02


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(zones=["example.com"], action_seconds=ACTION_SECONDS) as sandbox:
        yield sandbox


@pytest.fixture
def client(sandbox: Sandbox) -> Client:
    return hcloud.Client(
        sandbox.token,
        api_endpoint=sandbox.http_url,
        poll_interval=ACTION_SECONDS / 2,
        poll_max_retries=500,
        timeout=10,
    )


@pytest.fixture
def home(client: Client) -> BoundZoneRRSet:
    created = client.zones.create_rrset(
        ZONE, name="home", type="A", ttl=60, records=[ZoneRecord("192.0.2.1", "router")]
    )
    created.action.wait_until_finished()
    return created.rrset


def refused(call: Callable[..., object], *arguments: object, **options: object) -> str:
    with pytest.raises(hcloud.APIException) as caught:
        call(*arguments, **options)
    return caught.value.code


def test_it_finds_zones_by_name_by_id_and_in_lists(client: Client) -> None:
    zone = client.zones.get("example.com")
    assert (zone.name, zone.mode, zone.status, zone.ttl) == ("example.com", "primary", "ok", 3600)
    assert zone.record_count == 4
    assert zone.authoritative_nameservers.delegation_status == "valid"
    assert client.zones.get(zone.id) == zone
    assert client.zones.get_all(name="example.com") == [zone]
    assert client.zones.get_all(name="example.net") == []


def test_a_new_rrset_is_in_dns_after_its_action(client: Client, sandbox: Sandbox) -> None:
    sandbox.actions_end("never")
    client.zones.create_rrset(ZONE, name="home", type="A", records=[ZoneRecord("192.0.2.1")])
    assert sandbox.answer("home.example.com", "A") == []
    rrset = client.zones.get_rrset(ZONE, "home", "A")
    assert [record.value for record in rrset.records] == ["192.0.2.1"]
    records = [ZoneRecord("192.0.2.2")]
    client.zones.set_rrset_records(rrset, records).wait_until_finished()
    assert sandbox.answer("home.example.com", "A") == ["192.0.2.2"]


def test_it_lists_the_rrsets_of_a_name(client: Client, home: BoundZoneRRSet) -> None:
    assert client.zones.get_rrset_all(ZONE, name="home", type=["A", "AAAA"]) == [home]
    assert client.zones.get_rrset_all(ZONE, name="none", type=["A", "AAAA"]) == []
    assert {rrset.id for rrset in client.zones.get_rrset_all(ZONE)} == {"@/SOA", "@/NS", "home/A"}


def test_it_pages_through_more_than_one_page(client: Client, sandbox: Sandbox) -> None:
    for number in range(120):
        sandbox.publish(f"host{number}.example.com", "A", "192.0.2.1")
    assert len(client.zones.get_rrset_all(ZONE, type=["A"])) == 120


def test_it_replaces_adds_comments_and_removes_records(
    client: Client, home: BoundZoneRRSet
) -> None:
    zones = client.zones
    for action in (
        zones.set_rrset_records(home, [ZoneRecord("192.0.2.2")]),
        zones.add_rrset_records(home, [ZoneRecord("192.0.2.3", "third")], ttl=60),
        zones.update_rrset_records(home, [ZoneRecord("192.0.2.2", "second")]),
    ):
        action.wait_until_finished()
        assert action.status == "success"
    records = zones.get_rrset(ZONE, "home", "A").records
    assert {record.value: record.comment for record in records} == {
        "192.0.2.2": "second",
        "192.0.2.3": "third",
    }
    zones.remove_rrset_records(home, [ZoneRecord("192.0.2.2"), ZoneRecord("192.0.2.3")])
    assert refused(zones.get_rrset, ZONE, "home", "A") == "not_found"


def test_it_shows_challenges_as_the_adapter_sets_them(client: Client, sandbox: Sandbox) -> None:
    hetzner = Hetzner(CloudApi(sandbox.token, sandbox.http_url, "test"), 600)
    (zone,) = hetzner.zones(Deadline(20))
    location = Location(zone, "_acme-challenge.home")
    for text in ('"one"', '"two"'):
        found = hetzner.read_texts(location, Deadline(20))
        action = hetzner.add_text(location, text, found, Deadline(20))
        client.actions.get_by_id(action).wait_until_finished()
    rrset = client.zones.get_rrset(ZONE, "_acme-challenge.home", "TXT")
    assert {record.value: record.comment for record in rrset.records} == {
        '"one"': CHALLENGE_COMMENT,
        '"two"': CHALLENGE_COMMENT,
    }
    assert rrset.ttl == 60
    hetzner.remove_texts(location, ['"one"'], Deadline(20))
    rrset = client.zones.get_rrset(ZONE, "_acme-challenge.home", "TXT")
    assert [record.value for record in rrset.records] == ['"two"']
    client.zones.remove_rrset_records(rrset, [ZoneRecord('"two"')])
    assert hetzner.read_texts(location, Deadline(20)).comments == {}


def test_it_changes_ttl_labels_and_protection(client: Client, home: BoundZoneRRSet) -> None:
    client.zones.change_rrset_ttl(home, None)
    client.zones.update_rrset(home, labels={"made-by": "dyndns"})
    client.zones.change_rrset_protection(home, change=True)
    rrset = client.zones.get_rrset(ZONE, "home", "A")
    assert rrset.ttl is None
    assert rrset.labels == {"made-by": "dyndns"}
    assert rrset.protection == {"change": True}
    assert client.zones.get_rrset_all(ZONE, label_selector="made-by=dyndns") == [rrset]
    assert refused(client.zones.set_rrset_records, home, [ZoneRecord("192.0.2.9")]) == "protected"


def test_it_deletes_an_rrset(client: Client, home: BoundZoneRRSet, sandbox: Sandbox) -> None:
    client.zones.delete_rrset(home).action.wait_until_finished()
    assert sandbox.answer("home.example.com", "A") == []


def test_different_obstacles_have_different_reports(client: Client, home: BoundZoneRRSet) -> None:
    zones, one = client.zones, [ZoneRecord("192.0.2.1")]
    absent = ZoneRRSet(name="none", type="A", zone=ZONE)
    assert refused(zones.create_rrset, ZONE, name="home", type="A", records=one) == (
        "uniqueness_error"
    )
    assert refused(zones.set_rrset_records, absent, one) == "not_found"
    assert refused(zones.add_rrset_records, home, one) == "invalid_input"
    assert refused(zones.get_rrset_all, Zone(name="example.net")) == "not_found"


def test_it_makes_labels_exports_imports_and_deletes_a_zone(client: Client) -> None:
    zones = client.zones
    rrset = ZoneRRSet(name="www", type="A", records=[ZoneRecord("192.0.2.1")])
    created = zones.create(name="example.org", mode="primary", ttl=600, rrsets=[rrset])
    created.action.wait_until_finished()
    zone = zones.update(created.zone, labels={"env": "test"})
    assert zone.labels == {"env": "test"}
    zones.change_ttl(zone, 900)
    zones.change_protection(zone, delete=True)
    assert refused(zones.delete, zone) == "protected"
    zones.change_protection(zone, delete=False)
    text = zones.export_zonefile(zone).zonefile
    assert "$TTL\t900" in text
    zones.import_zonefile(zone, text.replace("192.0.2.1", "192.0.2.2"))
    assert zones.get_rrset(zone, "www", "A").records[0].value == "192.0.2.2"
    zones.delete(zone).action.wait_until_finished()
    assert refused(zones.get, "example.org") == "not_found"


def test_it_finds_a_secondary_zone_closed_to_record_calls(client: Client) -> None:
    servers = [ZonePrimaryNameserver("192.0.2.53")]
    zone = client.zones.create(
        name="example.org", mode="secondary", primary_nameservers=servers
    ).zone
    more = [*servers, ZonePrimaryNameserver("192.0.2.54", port=5353)]
    client.zones.change_primary_nameservers(zone, more)
    assert [s.port for s in client.zones.get(zone.id).primary_nameservers] == [53, 5353]
    assert refused(client.zones.get_rrset_all, zone) == "incorrect_zone_mode"


def test_hcloud_follows_actions_to_success_error_and_no_end(
    client: Client, home: BoundZoneRRSet, sandbox: Sandbox
) -> None:
    sandbox.actions_end("error")
    action = client.zones.change_rrset_ttl(home, 120)
    assert (action.status, action.progress) == ("running", 0)
    with pytest.raises(ActionFailedException, match="Action failed"):
        action.wait_until_finished()
    sandbox.actions_end("never")
    with pytest.raises(ActionTimeoutException):
        client.zones.change_rrset_ttl(home, 180).wait_until_finished(max_retries=3)
    done = client.zones.change_rrset_ttl(home, 240)
    done.wait_until_finished()
    assert (done.status, done.progress, done.error) == ("success", 100, None)
    assert client.actions.get_by_id(done.id) == done
    assert done in client.zones.get_actions(ZONE)


def test_wrong_and_read_only_tokens_are_refused() -> None:
    reader = "readonly" * 8
    with Sandbox(read_only_tokens=[reader]) as sandbox:
        wrong = hcloud.Client("w" * 64, api_endpoint=sandbox.http_url, timeout=10)
        assert refused(wrong.zones.get_all) == "unauthorized"
        looking = hcloud.Client(reader, api_endpoint=sandbox.http_url, timeout=10)
        assert [zone.name for zone in looking.zones.get_all()] == ["example.com"]
        assert refused(looking.zones.delete, ZONE) == "token_readonly"
