"""Zone files in BIND format."""

from __future__ import annotations

import pytest

from sandbox.refusal import ApiError
from sandbox.zone import Record, RRSet, Zone, fresh
from sandbox.zonefile import export, parse, parse_complete

ZONE = fresh(Zone(name="example.com"))
# The example of Hetzner's documentation, with more of the syntax that BIND allows.
TEXT = """$ORIGIN\texample.com.
$TTL\t7200

@\tIN\tSOA\thydrogen.ns.hetzner.com. dns.hetzner.com. (
    2024010100 86400  ; serial, refresh
    10800 3600000 3600 )

@\tIN\t10800\tNS\thydrogen.ns.hetzner.com. ; Some comment.
@\tIN\t10800\tNS\toxygen.ns.hetzner.com.
@\tIN\t10800\tNS\thelium.ns.hetzner.de.
www 60 IN A 192.0.2.1
    IN AAAA 2001:DB8::1
text.example.com. TXT "a; b" "c"
$ORIGIN sub.example.com.
deep A 192.0.2.2
@ A 192.0.2.3
"""


def test_a_zone_file_is_read() -> None:
    ttl, rrsets = parse(TEXT, ZONE)
    assert ttl == 7200
    assert {rrset.key: (rrset.ttl, rrset.values) for rrset in rrsets} == {
        ("@", "SOA"): (
            None,
            ("hydrogen.ns.hetzner.com. dns.hetzner.com. 2024010100 86400 10800 3600000 3600",),
        ),
        ("@", "NS"): (
            10800,
            ("hydrogen.ns.hetzner.com.", "oxygen.ns.hetzner.com.", "helium.ns.hetzner.de."),
        ),
        ("www", "A"): (60, ("192.0.2.1",)),
        ("www", "AAAA"): (None, ("2001:db8::1",)),
        ("text", "TXT"): (None, ('"a; b" "c"',)),
        ("deep.sub", "A"): (None, ("192.0.2.2",)),
        ("sub", "A"): (None, ("192.0.2.3",)),
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(\n    2024010100 86400", "(2024010100\n 86400"),
        ("3600 )", "3600)"),
        ("3600 )", "3600);the end"),
        ("3600 )", "3600\n)"),
        ("3600 )", "3600 () )"),
        ("3600 )", "3600 ; :)\n)"),
    ],
)
def test_parentheses_need_no_blanks_around_them(old: str, new: str) -> None:
    assert old in TEXT
    assert parse(TEXT.replace(old, new), ZONE) == parse(TEXT, ZONE)


def test_quoted_parentheses_are_text() -> None:
    _, rrsets = parse(TEXT.replace('"a; b" "c"', '"a (b" "(" ")"'), ZONE)
    assert {rrset.key: rrset.values for rrset in rrsets}["text", "TXT"] == ('"a (b" "(" ")"',)


def test_an_exported_zone_file_can_be_imported() -> None:
    zone = ZONE.create(
        RRSet("www", "A", (Record("192.0.2.1", "web"), Record("192.0.2.2")), ttl=60),
        RRSet("*", "HINFO", (Record('"ARM64" "Linux"'),)),
    )
    text = export(zone)
    assert text.startswith("$ORIGIN\texample.com.\n$TTL\t3600\n\n@\tIN\tSOA\t")
    assert "www\tIN\t60\tA\t192.0.2.1 ; web\n" in text
    ttl, rrsets = parse(text, zone)
    read = ZONE.replace_rrsets(rrsets, ttl)
    assert read.record_count == zone.record_count
    assert read.get(("www", "A")).records == (Record("192.0.2.1"), Record("192.0.2.2"))
    assert export(read) == text.replace(" ; web", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("www 60 IN A 192.0.2.1", "www 60 IN A 192.0.2.300", "line 11"),
        ("www 60 IN A 192.0.2.1", "www 10 IN A 192.0.2.1", "line 11: a TTL must be"),
        ("www 60 IN A 192.0.2.1", "www 60 IN SPF x", "line 11: unknown type SPF"),
        ("www 60 IN A 192.0.2.1", "www 60", "line 11"),
        ("www 60 IN A 192.0.2.1", "w_w! A 192.0.2.1", "line 11"),
        ("www 60 IN A 192.0.2.1", "www.example.net. A 192.0.2.1", "not in the zone"),
        ("www 60 IN A 192.0.2.1", "@ A 192.0.2.3\n@ A 192.0.2.3", "duplicate value"),
        ('"a; b" "c"', '"a', "line 13"),
        ("$TTL\t7200", "$TTL", "line 2"),
        ("helium.ns.hetzner.de.", "ns.example.net.", "assigned nameservers"),
        ("SOA", "TXT", "."),
    ],
)
def test_a_wrong_zone_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    with pytest.raises(ApiError, match=message) as caught:
        parse_complete(TEXT.replace(old, new), ZONE)
    assert caught.value.code == "invalid_input"


def test_only_a_complete_zone_file_needs_a_soa() -> None:
    text = "www A 192.0.2.1\n"
    assert [rrset.key for rrset in parse(text, ZONE)[1]] == [("www", "A")]
    with pytest.raises(ApiError, match="no SOA"):
        parse_complete(text, ZONE)
