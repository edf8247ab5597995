"""The visibility of zones, the end of actions, and the time when DNS serves a change."""

from __future__ import annotations

import threading
import tracemalloc
import weakref

import pytest

from sandbox.refusal import ApiError
from sandbox.shapes import action_shape
from sandbox.zone import SOA, Edit, Record, RRSet, Zone
from sandbox.zonedata import Zones
from tests.sandbox.conftest import Clock

MINE, THEIRS = "mine", "theirs"


@pytest.fixture
def zones(clock: Clock) -> Zones:
    zones = Zones(clock, action_seconds=4)
    zones.add(Zone(name="example.com"))
    return zones


def home(value: str) -> Edit:
    rrset = RRSet("home", "A", (Record(value),))
    return lambda zone: zone.put(rrset)


def served(zones: Zones) -> list[str]:
    rrset = zones.published()["example.com"].rrsets.get(("home", "A"))
    return list(rrset.values) if rrset else []


def refused(call: object, *arguments: object) -> str:
    with pytest.raises(ApiError) as caught:
        call(*arguments)  # type: ignore[operator]
    return caught.value.code


def test_an_action_runs_gets_half_way_and_succeeds(zones: Zones, clock: Clock) -> None:
    action = zones.change(MINE, "example.com", "set_rrset_records", home("192.0.2.1"))
    seen = []
    for _ in range(3):
        shape = action_shape(action, clock())
        seen.append((shape["status"], shape["progress"], shape["finished"]))
        clock.advance(2)
    assert seen == [
        ("running", 0, None),
        ("running", 50, None),
        ("success", 100, "2027-01-15T08:00:04Z"),
    ]
    assert action_shape(action, clock())["resources"] == [{"id": 53091, "type": "zone"}]


def test_action_ids_exceed_32_bits_and_are_unique(zones: Zones) -> None:
    first = zones.change(MINE, "example.com", "x", home("192.0.2.1")).id
    zones.clear()
    zones.add(Zone(name="example.com"))
    assert 2**32 < first < zones.change(MINE, "example.com", "x", home("192.0.2.1")).id


def test_dns_shows_a_write_after_its_action(zones: Zones, clock: Clock) -> None:
    zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    assert zones.find(MINE, "example.com").get(("home", "A")).values == ("192.0.2.1",)
    assert served(zones) == []
    assert zones.status(zones.find(MINE, "example.com")) == "updating"
    clock.advance(4)
    assert served(zones) == ["192.0.2.1"]
    assert zones.status(zones.find(MINE, "example.com")) == "ok"


def test_publish_wins_over_pending_writes(zones: Zones, clock: Clock) -> None:
    zones.add(Zone(name="other.example"))
    zones.change(MINE, "other.example", "x", home("192.0.2.7"))
    zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    clock.advance(2)
    zones.change(MINE, "example.com", "x", lambda zone: zone.set_ttl(("home", "A"), 60))
    zones.publish("example.com", home("192.0.2.9"))
    seen = []
    for _ in range(3):
        seen.append(served(zones))
        clock.advance(2)
    assert seen == [["192.0.2.9"]] * 3
    assert zones.published()["other.example"].get(("home", "A")).values == ("192.0.2.7",)


def test_a_failed_action_stays_unpublished_until_another_succeeds(
    zones: Zones, clock: Clock
) -> None:
    zones.foresee("error")
    action = zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    clock.advance(4)
    assert served(zones) == []
    assert zones.status(zones.find(MINE, "example.com")) == "error"
    assert action_shape(action, clock())["error"] == {
        "code": "action_failed",
        "message": "Action failed",
    }
    zones.change(MINE, "example.com", "x", lambda zone: zone.set_ttl(("home", "A"), 60))
    clock.advance(4)
    assert served(zones) == ["192.0.2.1"]
    assert zones.status(zones.find(MINE, "example.com")) == "ok"


def test_an_endless_action_keeps_running(zones: Zones, clock: Clock) -> None:
    zones.foresee("never", 2)
    actions = [zones.change(MINE, "example.com", "x", home("192.0.2.1")) for _ in range(3)]
    clock.advance(1e6)
    assert [a.status(clock()) for a in actions] == ["running", "running", "success"]
    assert action_shape(actions[0], clock())["progress"] == 50


def test_the_serial_moves_with_records_and_not_with_labels(zones: Zones) -> None:
    def serial() -> str:
        return zones.find(MINE, "example.com").rrsets[SOA].values[0].split()[2]

    before = serial()
    zones.amend(MINE, "example.com", lambda zone: zone.label(SOA, {"a": "b"}))
    assert serial() == before
    zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    assert int(serial()) == int(before) + 1


def test_a_refused_write_has_no_effect_and_no_action(zones: Zones) -> None:
    before = zones.find(MINE, "example.com")
    assert refused(zones.change, MINE, "example.com", "x", lambda z: z.delete(SOA)) == (
        "invalid_input"
    )
    assert zones.find(MINE, "example.com") == before
    assert zones.actions(MINE) == []


def test_a_project_sees_its_own_and_shared_zones_only(zones: Zones) -> None:
    zones.add(Zone(name="mine.example", project=MINE))
    theirs = zones.add(Zone(name="theirs.example", project=THEIRS))
    assert [zone.name for zone in zones.visible(MINE)] == ["example.com", "mine.example"]
    for reference in ("theirs.example", str(theirs.id)):
        assert refused(zones.find, MINE, reference) == "not_found"
    action = zones.change(THEIRS, "theirs.example", "x", home("192.0.2.1"))
    assert refused(zones.action, MINE, action.id) == "not_found"
    assert zones.action(THEIRS, action.id) == action


def test_a_zone_name_is_taken_for_all_projects(zones: Zones) -> None:
    assert refused(zones.create, Zone(name="example.com", project=THEIRS)) == "uniqueness_error"


def test_dns_follows_a_new_and_a_deleted_zone_when_published(zones: Zones, clock: Clock) -> None:
    zones.create(Zone(name="example.org", project=MINE))
    assert set(zones.published()) == {"example.com"}
    clock.advance(4)
    assert set(zones.published()) == {"example.com", "example.org"}
    action = zones.delete(MINE, "example.org")
    assert refused(zones.find, MINE, "example.org") == "not_found"
    assert set(zones.published()) == {"example.com", "example.org"}
    clock.advance(4)
    assert set(zones.published()) == {"example.com"}
    assert zones.action(MINE, action.id).command == "delete_zone"


def test_a_zone_with_any_protection_is_not_deleted(
    zones: Zones,
) -> None:
    zones.add(Zone(name="guarded.example", protected=True))
    assert refused(zones.delete, MINE, "guarded.example") == "protected"
    zones.amend(MINE, "example.com", lambda zone: zone.protect(SOA, on=True))
    assert refused(zones.delete, MINE, "example.com") == "protected"


def test_writes_from_many_threads_are_all_kept(zones: Zones) -> None:
    def write(number: int) -> None:
        record = (Record(f"192.0.2.{number}"),)
        zones.change(
            MINE, "example.com", "x", lambda zone: zone.add_records(("home", "A"), record, None)
        )

    threads = [threading.Thread(target=write, args=[number]) for number in range(1, 41)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(zones.find(MINE, "example.com").get(("home", "A")).records) == 40
    assert len({action.id for action in zones.actions(MINE)}) == 40


def test_the_longest_matching_zone_holds_a_name(zones: Zones) -> None:
    zones.add(Zone(name="sub.example.com"))
    assert zones.zone_of("a.b.sub.example.com")[1] == "a.b"
    assert zones.zone_of("sub.example.com")[1] == "@"
    assert zones.zone_of("notexample.com.example.com")[0].name == "example.com"
    with pytest.raises(KeyError):
        zones.zone_of("notexample.com")


def test_thousands_of_pending_writes_take_little_memory(zones: Zones) -> None:
    hosts = [RRSet(f"host{number}", "A", (Record("192.0.2.1"),)) for number in range(5000)]
    zones.publish("example.com", lambda zone: zone.put(*hosts))
    tracemalloc.start()
    for _ in range(200):
        zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A copy of the zone's dictionary would take 300 kB per write.
    assert grown < 200 * 20_000


def test_an_ended_action_releases_its_copy_of_the_zone(zones: Zones, clock: Clock) -> None:
    zones.change(MINE, "example.com", "x", home("192.0.2.1"))
    overtaken = weakref.ref(zones.find(MINE, "example.com"))
    zones.change(MINE, "example.com", "x", home("192.0.2.2"))
    clock.advance(4)
    assert served(zones) == ["192.0.2.2"]
    assert overtaken() is None


def test_the_number_of_stored_actions_is_limited(
    zones: Zones, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sandbox.zonedata.MOST_ACTIONS", 2)
    first, *others = (zones.change(MINE, "example.com", "x", home(f"192.0.2.{n}")) for n in "123")
    assert zones.actions(MINE) == others
    assert refused(zones.action, MINE, first.id) == "not_found"
    clock.advance(4)
    assert served(zones) == ["192.0.2.3"]
    assert zones.status(zones.find(MINE, "example.com")) == "ok"


def test_a_zone_is_found_by_name_or_id(zones: Zones) -> None:
    assert zones.find(MINE, "53091") == zones.find(MINE, "example.com")
    for unknown in ("0", "053091", "53092", "9" * 5000, "\u0665", "com", ""):
        assert refused(zones.find, MINE, unknown) == "not_found"
