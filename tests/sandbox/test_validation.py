"""Invalid bodies are refused, and each refusal names the field."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from sandbox.rdata import canonical
from sandbox.refusal import ApiError
from sandbox.validation import TYPES, Input, zone_faults

GOOD: dict[str, Any] = {"name": "home", "type": "A", "records": [{"value": "192.0.2.1"}]}
FIELDS = ("name", "type", "ttl", "records", "labels")


def faults(body: dict[str, Any]) -> list[str]:
    """Return the fields for which an RRSet with this body is refused."""
    reading = Input(body, *FIELDS)
    reading.rrset("example.com")
    if not reading.faults:
        reading.check()
        return []
    with pytest.raises(ApiError) as caught:
        reading.check()
    assert (caught.value.status, caught.value.code) == (422, "invalid_input")
    fields = caught.value.body()["error"]["details"]["fields"]  # type: ignore[index]
    return [field["name"] for field in fields]


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"name": "@"},
        {"name": "*"},
        {"name": "*.sub"},
        {"name": "a.b.c"},
        {"name": "_dmarc"},
        {"name": "xn--4bi"},
        {"name": "notexample"},
        {"ttl": 60},
        {"ttl": 2**31 - 1},
        {"ttl": None},
        {"labels": {"example.com/my": "label", "just-a-key": ""}},
        {"labels": None},
        {"records": [{"value": "192.0.2.1", "comment": None}]},
        {"records": [{"value": "192.168.0.1", "comment": "private"}, {"value": "127.0.0.1"}]},
        {"records": [{"value": f"192.0.2.{number}"} for number in range(50)]},
        {"type": "AAAA", "records": [{"value": "2001:DB8:0::1"}]},
    ],
)
def test_good_rrsets_are_accepted(change: dict[str, Any]) -> None:
    assert faults({**GOOD, **change}) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Home"}, "name"),
        ({"name": "home."}, "name"),
        ({"name": "home.example.com"}, "name"),
        ({"name": "example.com"}, "name"),
        ({"name": "home.example.com."}, "name"),
        ({"name": ""}, "name"),
        ({"name": "héim"}, "name"),
        ({"name": "a..b"}, "name"),
        ({"name": "a.*"}, "name"),
        ({"name": "-a"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": ".".join(["a" * 60] * 5)}, "name"),
        ({"name": 7}, "name"),
        ({"type": "SPF"}, "type"),
        ({"type": "a"}, "type"),
        ({"type": None}, "type"),
        ({"ttl": 59}, "ttl"),
        ({"ttl": 2**31}, "ttl"),
        ({"ttl": "60"}, "ttl"),
        ({"ttl": True}, "ttl"),
        ({"ttl": 60.0}, "ttl"),
        ({"records": []}, "records"),
        ({"records": None}, "records"),
        ({"records": "192.0.2.1"}, "records"),
        ({"records": ["192.0.2.1"]}, "records[0]"),
        ({"records": [{}]}, "records[0].value"),
        ({"records": [{"value": ""}]}, "records[0].value"),
        ({"records": [{"value": 1}]}, "records[0].value"),
        ({"records": [{"value": "2001:db8::1"}]}, "records[0].value"),
        ({"records": [{"value": "192.0.2.1."}]}, "records[0].value"),
        ({"records": [{"value": "192.0.2.300"}]}, "records[0].value"),
        ({"records": [{"value": "192.0.2.1", "comment": 1}]}, "records[0].comment"),
        ({"records": [{"value": "192.0.2.1", "ttl": 60}]}, "records[0].ttl"),
        ({"records": [{"value": "192.0.2.1"}] * 2}, "records"),
        ({"records": [{"value": f"192.0.2.{number}"} for number in range(51)]}, "records"),
        ({"type": "AAAA"}, "records[0].value"),
        ({"type": "AAAA", "records": [{"value": "fe80::1%eth0"}]}, "records[0].value"),
        ({"type": "AAAA", "records": [{"value": "::1"}, {"value": "0::1"}]}, "records"),
        ({"type": "CNAME", "records": [{"value": "a"}, {"value": "b"}]}, "records"),
        ({"labels": {"-": "x"}}, "labels"),
        ({"labels": {"a": "b c"}}, "labels"),
        ({"labels": {"a": 1}}, "labels"),
        ({"labels": {"hetzner.cloud/a": ""}}, "labels"),
        ({"labels": []}, "labels"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_bad_rrsets_are_refused_with_the_field_named(change: dict[str, Any], field: str) -> None:
    assert field in faults({**GOOD, **change})


def test_all_faults_are_reported_at_once() -> None:
    assert faults({"ttl": 1, "colour": "red"}) == ["colour", "name", "type", "records", "ttl"]


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        ("AAAA", "2001:DB8:0:0::01", "2001:db8::1"),
        ("CAA", '0 issue "letsencrypt.org"', None),
        ("CNAME", "www.example.net.", None),
        ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118", None),
        ("HINFO", '"ARM64" "Linux"', None),
        ("HTTPS", "1 . alpn=h2", None),
        ("MX", "10 mail", None),
        ("NS", "ns1.example.net.", None),
        ("PTR", "home.example.com.", None),
        ("RP", "admin.example.com. .", None),
        ("SOA", "a. b. 1 2 3 4 60", None),
        ("SRV", "1 2 443 home", None),
        ("SVCB", "1 . alpn=h2", None),
        ("TLSA", "3 1 1 " + "ab" * 32, None),
        ("TXT", '"a; b" "c"', None),
    ],
)
def test_values_of_every_type_are_stored(kind: str, value: str, stored: str) -> None:
    assert canonical(kind, value) == (stored or value)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("CAA", "nonsense"),
        ("CNAME", "two names"),
        ("CNAME", "a..b"),
        ("DS", "1"),
        ("HTTPS", "x"),
        ("MX", "mail"),
        ("MX", "70000 mail"),
        ("NS", "n\ns"),
        ("SOA", "a. b. 1 2 3 4"),
        ("SRV", "1 2 443"),
        ("TLSA", "zz"),
        ("TXT", "unquoted"),
        ("TXT", '"one" 60 IN A'),
    ],
)
def test_invalid_values_are_refused(kind: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        canonical(kind, value)


@pytest.mark.parametrize("name", ["example.com", "xn--mnchen-3ya.de", "example.co.uk", "x.org.nz"])
def test_a_label_below_a_public_suffix_may_be_a_zone(name: str) -> None:
    assert zone_faults(name) == []


@pytest.mark.parametrize(
    "name", ["com", "Example.com", "example.com.", "home.example.com", "a_b", "ex ample.com", "..."]
)
def test_other_names_may_not_be_zones(name: str) -> None:
    assert zone_faults(name)


@settings(deadline=None)
@given(kind=st.sampled_from(TYPES), value=st.text(max_size=60))
def test_any_text_is_either_a_value_or_refused(kind: str, value: str) -> None:
    with contextlib.suppress(ValueError):
        assert canonical(kind, canonical(kind, value)) == canonical(kind, value)


@settings(deadline=None)
@given(
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from([*FIELDS, "value", "comment"]), inner, max_size=5)
        ),
    )
)
def test_any_json_is_either_an_rrset_or_refused(body: object) -> None:
    faults(body if isinstance(body, dict) else {"records": body})
