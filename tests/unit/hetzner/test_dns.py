from __future__ import annotations

from typing import Any, Mapping

import pytest

from backend.errors import ChangeRefused, CnameInTheWay, HetznerUnreachable
from backend.hetzner.client import AlreadyExists, HetznerMalformed, NotFound
from backend.hetzner.dns import ActionState, Hetzner, Location, RRSet, Written, Zone, read_rrset
from backend.model import Address, Change, Deadline, DesiredRecord, RecordType
from tests.unit.fakes import Call, ScriptedApi

ZONE = Zone("example.com", "primary", Hetzner(ScriptedApi(), 60))
HOME = Location(ZONE, "home")
RRSETS = "/zones/example.com/rrsets"
HOME_A = f"{RRSETS}/home/A"
IPV4 = Address.parse("198.51.100.7")
IPV6 = Address.parse("2001:db8::7")
GONE = DesiredRecord(RecordType.A, None)
ASKED = (("name", "home"), ("type", "A"), ("type", "AAAA"), ("type", "CNAME"))


def action(number: int) -> dict[str, Any]:
    return {"action": {"id": number, "status": "running", "error": None}}


def page(*names: str, following: int | None = None) -> dict[str, Any]:
    zones = [{"id": 1, "name": name, "mode": "primary", "ttl": 3600} for name in names]
    return {"zones": zones, "meta": {"pagination": {"next_page": following}}}


def rrset(kind: str, *values: str, name: str = "home") -> dict[str, Any]:
    records = [{"value": value, "comment": ""} for value in values]
    return {"id": f"{name}/{kind}", "name": name, "type": kind, "ttl": 60, "records": records}


def found(*values: str, ttl: int | None = 3600) -> RRSet:
    return read_rrset({"records": [{"value": value} for value in values], "ttl": ttl})


def desired(address: Address) -> DesiredRecord:
    return DesiredRecord(address.type, address)


def put(
    api: ScriptedApi,
    seen: RRSet | None,
    chosen_ttl: int | None = None,
    *,
    rewrite: bool = False,
) -> list[int]:
    hetzner = Hetzner(api, ttl=21600, chosen_ttl=chosen_ttl)
    written = hetzner.put(HOME, desired(IPV4), seen, Deadline(5), rewrite=rewrite)
    return list(written.actions)


def creates(ttl: int = 21600) -> Call:
    body = {"name": "home", "type": "A", "ttl": ttl, "records": [{"value": "198.51.100.7"}]}
    return Call("POST", RRSETS, body=body)


def sets(**record: str) -> Call:
    body = {"records": [{"value": "198.51.100.7", **record}]}
    return Call("POST", f"{HOME_A}/actions/set_records", body=body)


def changes_ttl(ttl: int) -> Call:
    return Call("POST", f"{HOME_A}/actions/change_ttl", body={"ttl": ttl})


def test_zones_are_listed_to_the_last_page() -> None:
    api = ScriptedApi(page("a.example", "b.example", following=2), page("c.example"))
    hetzner = Hetzner(api, 60)
    zones = hetzner.zones(Deadline(5))
    assert zones == [Zone(f"{name}.example", "primary", hetzner) for name in "abc"]
    assert api.calls == [
        Call("GET", "/zones", (("page", "1"), ("per_page", "50"))),
        Call("GET", "/zones", (("page", "2"), ("per_page", "50"))),
    ]


@pytest.mark.parametrize("servers", [None, "x", [], {}, {"delegation_status": None}])
def test_a_zone_without_delegation_is_listed(servers: object) -> None:
    answer = page("a.example")
    answer["zones"][0]["authoritative_nameservers"] = servers
    (zone,) = Hetzner(ScriptedApi(answer), 60).zones(Deadline(5))
    assert (zone.name, zone.delegation) == ("a.example", "")


def test_an_answer_forges_no_log_line_and_controls_no_terminal() -> None:
    forged = "x\r\n2026-11-30T00:00:00Z ERROR \x1b[2J"
    servers = {"delegation_status": forged}
    zone = {"name": forged, "mode": forged, "status": forged, "authoritative_nameservers": servers}
    api = ScriptedApi({"zones": [zone], "meta": {"pagination": {"next_page": None}}})
    (listed,) = Hetzner(api, 60).zones(Deadline(5))
    shown = (listed.name, listed.mode, listed.status, listed.delegation, str(found(forged)))
    assert all(text.isprintable() for text in shown)


def test_the_delegation_does_not_affect_equality() -> None:
    zones = {Zone("a.example", "primary", ZONE.project, text) for text in ("", "valid", "lame")}
    assert len(zones) == 1


def test_an_endless_list_of_zones_is_cut_off() -> None:
    api = ScriptedApi(*(page("a.example", following=number) for number in range(2, 202)))
    assert len(Hetzner(api, 60).zones(Deadline(5))) == 200
    assert len(api.calls) == 200


@pytest.mark.parametrize("following", [0, 1, 3])
def test_a_page_that_does_not_follow_is_malformed(following: int) -> None:
    api = ScriptedApi(*[page("a.example", following=following)] * 3)
    with pytest.raises(HetznerMalformed):
        Hetzner(api, 60).zones(Deadline(5))
    assert len(api.calls) == 1


def test_one_call_reads_both_families() -> None:
    api = ScriptedApi({"rrsets": [rrset("AAAA", "2001:db8::1"), rrset("A", "198.51.100.1")]})
    read = Hetzner(api, 60).read(HOME, Deadline(5))
    assert read == {
        RecordType.A: found("198.51.100.1", ttl=60),
        RecordType.AAAA: found("2001:db8::1", ttl=60),
    }
    assert api.calls == [Call("GET", RRSETS, ASKED)]


def test_a_name_without_records_reads_as_empty() -> None:
    assert Hetzner(ScriptedApi({"rrsets": []}), 60).read(HOME, Deadline(5)) == {}


def test_records_of_another_name_are_ignored() -> None:
    api = ScriptedApi({"rrsets": [rrset("A", "198.51.100.1", name="nothome")]})
    assert Hetzner(api, 60).read(HOME, Deadline(5)) == {}


def test_a_cname_is_reported_with_zone_and_hint() -> None:
    api = ScriptedApi({"rrsets": [rrset("CNAME", "elsewhere.example.")]})
    with pytest.raises(CnameInTheWay, match=r"home in example\.com .* delete the CNAME"):
        Hetzner(api, 60).read(HOME, Deadline(5))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("@", "/zones/example.com/rrsets/@/A"),
        ("*.home", "/zones/example.com/rrsets/*.home/A"),
        ("a.b.c", "/zones/example.com/rrsets/a.b.c/A"),
    ],
)
def test_the_path_contains_apex_wildcard_and_deep_names_unescaped(name: str, path: str) -> None:
    api = ScriptedApi(action(7))
    Hetzner(api, 60).put(Location(ZONE, name), GONE, found("198.51.100.1"), Deadline(5))
    assert [(call.method, call.path) for call in api.calls] == [("DELETE", path)]


def test_a_new_record_gets_the_ttl() -> None:
    api = ScriptedApi(action(7))
    assert put(api, None) == [7]
    assert api.calls == [creates(ttl=21600)]


def test_an_ipv6_address_goes_into_an_aaaa_record() -> None:
    api = ScriptedApi(action(7))
    Hetzner(api, 60).put(HOME, desired(IPV6), found("2001:db8::1"), Deadline(5))
    body = {"records": [{"value": "2001:db8::7"}]}
    assert api.calls == [Call("POST", f"{RRSETS}/home/AAAA/actions/set_records", body=body)]


def test_a_changed_record_keeps_its_ttl() -> None:
    api = ScriptedApi(action(7))
    assert put(api, found("198.51.100.1", ttl=60)) == [7]
    assert api.calls == [sets()]


@pytest.mark.parametrize("values", [("198.51.100.7", "198.51.100.8"), ("198.51.100.8", "nonsense")])
def test_a_record_with_several_addresses_is_replaced(values: list[str]) -> None:
    api = ScriptedApi(action(7))
    put(api, found(*values))
    assert api.calls == [sets()]


@pytest.mark.parametrize(
    ("records", "comment"),
    [
        ({"198.51.100.7": "same", "198.51.100.1": "replaced", "198.51.100.2": "x"}, "same"),
        ({"198.51.100.2": "x", "198.51.100.7": "", "198.51.100.1": "replaced"}, ""),
        ({"198.51.100.2": "x", "198.51.100.1": "replaced"}, "replaced"),
        ({"198.51.100.2": "x", "198.51.100.1": ""}, ""),
        ({"198.51.100.3": "y", "198.51.100.2": "x"}, "y"),
        ({"198.51.100.3": "y", "198.51.100.2": ""}, "y"),
        ({"198.51.100.3": "y", "not an address": ""}, "y"),
    ],
)
def test_the_comment_of_the_same_or_the_replaced_address_is_kept(
    records: Mapping[str, str], comment: str
) -> None:
    api = ScriptedApi(action(7))
    rows = [{"value": value, "comment": text} for value, text in records.items()]
    rrset = read_rrset({"records": rows, "ttl": 60})
    replaced = Address.parse("198.51.100.1")
    written = Hetzner(api, 60).put(HOME, desired(IPV4), rrset, Deadline(5), replaced=replaced)
    assert written.comment == comment
    assert api.calls == [sets(comment=comment) if comment else sets()]


@pytest.mark.parametrize(
    ("address", "spelling"),
    [("198.51.100.7", "198.51.100.7"), ("2001:db8::7", "2001:0DB8:0:0:0:0:0:7")],
)
def test_a_correct_record_costs_no_call_in_any_spelling(address: str, spelling: str) -> None:
    api = ScriptedApi()
    written = Hetzner(api, 60).put(
        HOME, desired(Address.parse(address)), found(spelling), Deadline(5)
    )
    assert written == Written(Change.UNCHANGED, [])


def test_rewrite_writes_a_correct_record() -> None:
    api = ScriptedApi(action(7))
    assert put(api, found("198.51.100.7"), rewrite=True) == [7]
    assert api.calls == [sets()]


@pytest.mark.parametrize("ttl", [60, None])
def test_the_chosen_ttl_is_set_on_an_existing_record(ttl: int | None) -> None:
    api = ScriptedApi(action(7))
    assert put(api, found("198.51.100.7", ttl=ttl), chosen_ttl=300) == [7]
    assert api.calls == [changes_ttl(300)]


def test_address_and_ttl_are_changed_one_after_the_other() -> None:
    api = ScriptedApi(action(7), action(8))
    assert put(api, found("198.51.100.1", ttl=60), chosen_ttl=300) == [7, 8]
    assert api.calls == [sets(), changes_ttl(300)]


def test_the_chosen_ttl_costs_no_call() -> None:
    assert put(ScriptedApi(), found("198.51.100.7", ttl=300), chosen_ttl=300) == []


def test_a_comment_contains_only_characters_for_the_store() -> None:
    seen = rrset("A", "198.51.100.1")
    seen["records"][0]["comment"] = "the \0cellar\ud800"
    assert list(read_rrset(seen).comments.values()) == ["the cellar?"]


@pytest.mark.parametrize("error", [AlreadyExists("quicker"), NotFound("gone")])
def test_a_record_that_was_changed_meanwhile_is_reported(error: Exception) -> None:
    for seen in (None, found("198.51.100.1")):
        with pytest.raises(type(error)):
            put(ScriptedApi(error), seen)


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), ValueError("x")])
def test_a_bug_is_not_reported_as_an_invalid_answer(error: Exception) -> None:
    for use in (
        lambda hetzner: hetzner.zones(Deadline(5)),
        lambda hetzner: hetzner.read(HOME, Deadline(5)),
        lambda hetzner: hetzner.actions([1], Deadline(5)),
        lambda hetzner: hetzner.put(HOME, GONE, found("198.51.100.1"), Deadline(5)),
    ):
        with pytest.raises(type(error)):
            use(Hetzner(ScriptedApi(error), 60))


def test_a_refusal_reaches_the_caller() -> None:
    with pytest.raises(ChangeRefused, match="protected"):
        put(ScriptedApi(ChangeRefused("protected")), found("198.51.100.1"))


def test_a_family_is_deleted_by_one_call() -> None:
    api = ScriptedApi(action(7))
    gone = DesiredRecord(RecordType.AAAA, None)
    written = Hetzner(api, 60).put(HOME, gone, found("2001:db8::1"), Deadline(5))
    assert written == Written(Change.DELETED, [7])
    assert api.calls == [Call("DELETE", f"{RRSETS}/home/AAAA")]


def test_deleting_a_missing_record_succeeds() -> None:
    hetzner = Hetzner(ScriptedApi(NotFound("gone")), 60)
    written = hetzner.put(HOME, GONE, found("198.51.100.1"), Deadline(5))
    assert written == Written(Change.UNCHANGED, [])


def test_one_call_reads_several_actions() -> None:
    api = ScriptedApi(
        {
            "actions": [
                {"id": 604989101982297, "status": "success", "error": None},
                {"id": 2, "status": "error", "error": {"code": "c", "message": "Action failed"}},
                {"id": 3, "status": "error", "error": {"code": "action_failed", "message": ""}},
                {"id": 4, "status": "running"},
            ]
        }
    )
    states = Hetzner(api, 60).actions([604989101982297, 2, 3, 4, 5], Deadline(5))
    assert states == {
        604989101982297: ActionState("success", ""),
        2: ActionState("error", "Action failed"),
        3: ActionState("error", "action_failed"),
        4: ActionState("running", ""),
    }
    ids = tuple(("id", str(number)) for number in (604989101982297, 2, 3, 4, 5))
    assert api.calls == [Call("GET", "/actions", ids)]


@pytest.mark.parametrize("answer", [{}, {"zones": None}, {"zones": [{}]}, {"zones": ["x"]}])
def test_a_list_of_zones_of_unknown_shape_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(HetznerUnreachable, match="in a form"):
        Hetzner(ScriptedApi(answer), 60).zones(Deadline(5))


@pytest.mark.parametrize(
    "answer",
    [{}, {"rrsets": None}, {"rrsets": [{"name": "home"}]}, {"rrsets": 7}, {"rrsets": ["home"]}],
)
def test_rrsets_of_unknown_shape_are_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(HetznerUnreachable, match="in a form"):
        Hetzner(ScriptedApi(answer), 60).read(HOME, Deadline(5))


@pytest.mark.parametrize("answer", [{}, {"action": None}, {"action": {}}, {"action": {"id": "x"}}])
def test_an_action_of_unknown_shape_is_an_error(answer: dict[str, Any]) -> None:
    with pytest.raises(HetznerUnreachable, match="in a form"):
        put(ScriptedApi(answer), None)


def test_an_rrset_is_shown_by_its_values() -> None:
    assert str(found("198.51.100.8", "198.51.100.7")) == "198.51.100.7, 198.51.100.8"


def test_an_api_without_zones_means_a_wrong_url() -> None:
    hetzner = Hetzner(ScriptedApi(NotFound("not found")), 60)
    with pytest.raises(HetznerUnreachable, match="HETZNER_API_URL"):
        hetzner.zones(Deadline(5))
