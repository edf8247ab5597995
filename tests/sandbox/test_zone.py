"""The rules for changes of a zone; each change returns a new zone."""

from __future__ import annotations

from typing import Callable

import pytest

from sandbox.refusal import ApiError
from sandbox.shelves import Key
from sandbox.zone import NS, SOA, Record, RRSet, Zone, fresh

HOME = ("home", "A")
EMPTY = fresh(Zone(name="example.com"))
ZONE = EMPTY.create(RRSet("home", "A", (Record("192.0.2.1", "router"),), ttl=60))
LOCKED = ZONE.protect(HOME, on=True)
ONE, TWO = (Record("192.0.2.1"),), (Record("192.0.2.2"),)


def serial(zone: Zone) -> int:
    return int(zone.rrsets[SOA].values[0].split()[2])


def refusal(change: Callable[..., Zone], *arguments: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        change(*arguments)
    return caught.value


def test_a_new_primary_zone_has_soa_and_three_nameservers() -> None:
    assert {key: len(rrset.records) for key, rrset in EMPTY.rrsets.items()} == {
        ("@", "SOA"): 1,
        ("@", "NS"): 3,
    }
    assert list(fresh(Zone(name="example.com", mode="secondary")).rrsets) == []


def test_record_count_counts_records_and_not_rrsets() -> None:
    assert (EMPTY.record_count, ZONE.record_count) == (4, 5)


def test_a_change_leaves_the_old_zone_as_it_was() -> None:
    ZONE.set_records(HOME, TWO)
    assert ZONE.get(HOME).values == ("192.0.2.1",)


def test_set_records_overwrites_values_and_comments_and_keeps_the_ttl() -> None:
    rrset = ZONE.set_records(HOME, ONE).get(HOME)
    assert (rrset.records, rrset.ttl) == ((Record("192.0.2.1", ""),), 60)


def test_set_records_does_not_create() -> None:
    assert refusal(EMPTY.set_records, HOME, ONE).code == "not_found"


def test_add_records_creates_and_then_appends() -> None:
    zone = EMPTY.add_records(HOME, ONE, 120).add_records(HOME, TWO, None)
    assert zone.get(HOME).values == ("192.0.2.1", "192.0.2.2")
    assert zone.get(HOME).ttl == 120


def test_add_records_refuses_a_differing_ttl() -> None:
    error = refusal(ZONE.add_records, HOME, TWO, 61)
    assert error.code == "invalid_input"
    assert "has differing record TTLs" in str(error)


def test_add_records_refuses_a_duplicate_and_names_its_place() -> None:
    error = refusal(ZONE.add_records, HOME, ONE, None)
    assert (error.code, str(error)) == ("invalid_input", "duplicate value '192.0.2.1'")
    assert error.details is not None
    assert error.details["fields"][0]["name"] == "records[0].records[1].value"  # type: ignore[index]


def test_removing_the_last_record_removes_the_rrset() -> None:
    both = ZONE.add_records(HOME, TWO, None)
    assert both.remove_records(HOME, ONE).get(HOME).values == ("192.0.2.2",)
    assert HOME not in both.remove_records(HOME, ONE + TWO).rrsets


def test_remove_records_refuses_a_value_that_is_not_there() -> None:
    assert refusal(ZONE.remove_records, HOME, TWO).code == "invalid_input"
    assert refusal(EMPTY.remove_records, HOME, ONE).code == "not_found"


def test_comment_changes_comments_only() -> None:
    both = ZONE.add_records(HOME, TWO, None).comment(HOME, (Record("192.0.2.2", "new"),))
    assert both.get(HOME).records == (Record("192.0.2.1", "router"), Record("192.0.2.2", "new"))
    assert refusal(ZONE.comment, HOME, TWO).code == "invalid_input"


def test_an_rrset_is_created_once_only() -> None:
    assert refusal(ZONE.create, RRSet("home", "A", TWO)).code == "uniqueness_error"
    assert ZONE.create(RRSet("home", "AAAA", (Record("2001:db8::1"),)))


def test_a_cname_excludes_other_records_of_its_name() -> None:
    alias = RRSet("www", "CNAME", (Record("home"),))
    assert refusal(ZONE.create, RRSet("home", "CNAME", (Record("www"),))).code == "invalid_input"
    with_alias = ZONE.create(alias)
    assert refusal(with_alias.create, RRSet("www", "A", ONE)).code == "invalid_input"
    assert refusal(with_alias.add_records, ("www", "A"), ONE, None).code == "invalid_input"


def test_protection_blocks_every_change_of_records_and_is_lifted_again() -> None:
    for change, arguments in (
        (LOCKED.set_records, (HOME, TWO)),
        (LOCKED.add_records, (HOME, TWO, None)),
        (LOCKED.remove_records, (HOME, ONE)),
        (LOCKED.comment, (HOME, ONE)),
        (LOCKED.set_ttl, (HOME, 90)),
        (LOCKED.delete, (HOME,)),
        (LOCKED.replace_rrsets, ([], 60)),
    ):
        error = refusal(change, *arguments)
        assert (error.status, error.code) == (423, "protected")
    assert LOCKED.label(HOME, {"a": "b"}).get(HOME).labels == {"a": "b"}
    assert LOCKED.protect(HOME, on=False).delete(HOME)


@pytest.mark.parametrize("key", [SOA, NS])
def test_apex_soa_and_ns_stay(key: Key) -> None:
    assert refusal(ZONE.delete, key).code == "invalid_input"
    assert refusal(ZONE.remove_records, key, ZONE.get(key).records).code == "invalid_input"


def test_other_ns_records_may_be_deleted() -> None:
    delegation = RRSet("sub", "NS", (Record("ns.example.net."),))
    assert ZONE.create(delegation).delete(delegation.key).rrsets == ZONE.rrsets


def test_the_serial_moves_on_and_wraps() -> None:
    assert serial(ZONE.next_serial()) == serial(ZONE) + 1
    last = RRSet(*SOA, (Record(f"a. b. {2**32 - 1} 1 1 1 60"),))
    assert serial(ZONE.put(last).next_serial()) == 0


def test_zone_calls_depend_on_the_zones_mode() -> None:
    assert ZONE.require("primary") is ZONE
    error = refusal(ZONE.require, "secondary")
    assert (error.status, error.code) == (422, "incorrect_zone_mode")
