from __future__ import annotations

import ipaddress
import string

import idna
import pytest
from hypothesis import given, settings, strategies as st

from backend.errors import AddressMismatch, BadAddress, BadHostname, BadRecordType, MissingHostname
from backend.model import (
    Address,
    Change,
    DesiredRecord,
    Hostname,
    Outcome,
    RecordOutcome,
    RecordType,
)

from .fakes import host

_LONGEST = ".".join(["a" * 63] * 3 + ["b" * 57, "com"])  # 253 characters

# Characters of valid names and some invalid ones.
_NAMELIKE = st.text(
    alphabet=string.ascii_letters + string.digits + "-.*_ \n\t。üßſİ☕ⅷ\u00ad\u200d\u0661\ud800"
)


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [
        ("host.example.com", "host.example.com"),
        ("HOST.Example.COM", "host.example.com"),
        ("host.example.com.", "host.example.com"),
        (" \thost.example.com\r\n", "host.example.com"),
        ("a.b.c.d.example.com", "a.b.c.d.example.com"),
        ("example.com", "example.com"),
        ("my-host.example.com", "my-host.example.com"),
        ("4.example.com", "4.example.com"),
        ("123.45.example", "123.45.example"),
        ("*.home.example.com", "*.home.example.com"),
        ("a" * 63 + ".example.com", "a" * 63 + ".example.com"),
        (_LONGEST, _LONGEST),
        (_LONGEST + ".", _LONGEST),
        ("bücher.example.com", "xn--bcher-kva.example.com"),
        ("BÜCHER.Example.com", "xn--bcher-kva.example.com"),
        ("XN--BCHER-KVA.example.com", "xn--bcher-kva.example.com"),
        ("bu\u0308cher.example.com", "xn--bcher-kva.example.com"),  # as macOS writes it
        ("faß.example.com", "xn--fa-hia.example.com"),
        ("☕.example.com", "xn--53h.example.com"),
        ("host。example。com", "host.example.com"),
        ("*.bücher.example.com", "*.xn--bcher-kva.example.com"),
    ],
)
def test_a_host_name_has_one_spelling(given_text: str, canonical: str) -> None:
    assert Hostname.parse(given_text).text == canonical


@pytest.mark.parametrize(
    "text",
    [
        "host",
        "localhost.",
        ".",
        "..",
        ".example.com",
        "host..example.com",
        "host.example.com..",
        "-host.example.com",
        "host-.example.com",
        "my_host.example.com",
        "my host.example.com",
        "host\n.example.com",
        "host.example.com\x00",
        "a" * 64 + ".example.com",
        _LONGEST.replace("b", "bb", 1),
        "ü" * 63 + ".example.com",
        "“host.example.com”",
        "„host.example.com“",
        "«host.example.com",
        "host.example.com”",
        "198.51.100.7",
        "host.example.7",
        "2001:db8::1",
        "*",
        "*.",
        "*.com",
        "**.example.com",
        "*host.example.com",
        "host.*.example.com",
        "http://host.example.com",
        "host.example.com/",
        "host.example.com:80",
        "host@example.com",
        "\ud800.example.com",
        "xn--.example.com",
        "\u00ad.example.com",
    ],
)
def test_an_invalid_host_name_is_refused(text: str) -> None:
    with pytest.raises(BadHostname) as caught:
        Hostname.parse(text)
    assert not isinstance(caught.value, MissingHostname)


@pytest.mark.parametrize("text", ["", " ", "\t\r\n"])
def test_an_empty_host_name_is_a_missing_one(text: str) -> None:
    with pytest.raises(MissingHostname):
        Hostname.parse(text)


def test_a_far_too_long_name_is_refused_before_the_mapping(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Punycode would take seconds for the 5000 letters that a body may have before the login.
    mapped = []
    monkeypatch.setattr(idna, "uts46_remap", lambda text, **_: mapped.append(len(text)) or text)
    with pytest.raises(BadHostname):
        Hostname.parse("".join(map(chr, range(0x4E00, 0x4E00 + 1000))) + ".example.com")
    assert mapped == []


@settings(deadline=None)
@given(st.text() | _NAMELIKE | st.builds("{}.example.com".format, _NAMELIKE))
def test_any_text_becomes_a_canonical_host_name_or_is_refused(text: str) -> None:
    try:
        parsed = Hostname.parse(text)
    except BadHostname:
        return
    assert Hostname.parse(parsed.text) == parsed
    assert Hostname.parse(parsed.text.upper() + ".") == parsed
    assert parsed.text.isascii()
    assert len(parsed.text) <= 253
    assert all(0 < len(label) <= 63 for label in parsed.text.split("."))


@pytest.mark.parametrize(
    ("name", "label"),
    [("nas.example.com", "nas"), ("a.b.example.com", "a"), ("*.example.com", "*")],
)
def test_the_short_user_name_is_the_first_label(name: str, label: str) -> None:
    assert host(name).first_label == label


def test_host_names_are_shown_and_sorted_by_their_text() -> None:
    assert str(host("B.example.com")) == "b.example.com"
    assert min(host("b.example.com"), host("a.example.com")) == host("a.example.com")


@pytest.mark.parametrize(
    ("text", "canonical", "kind"),
    [
        ("198.51.100.7", "198.51.100.7", RecordType.A),
        (" 198.51.100.7\n", "198.51.100.7", RecordType.A),
        ("1.0.0.1", "1.0.0.1", RecordType.A),
        ("2001:db8::1", "2001:db8::1", RecordType.AAAA),
        ("2001:0DB8:0:0:0000:0:0:0001", "2001:db8::1", RecordType.AAAA),
        ("::ffff:198.51.100.7", "198.51.100.7", RecordType.A),
        ("::FFFF:C633:6407", "198.51.100.7", RecordType.A),
        ("64:ff9b::198.51.100.7", "64:ff9b::c633:6407", RecordType.AAAA),
        ("10.0.0.1", "10.0.0.1", RecordType.A),
        ("127.0.0.1", "127.0.0.1", RecordType.A),
        ("::1", "::1", RecordType.AAAA),
        ("fd00::1", "fd00::1", RecordType.AAAA),
    ],
)
def test_an_address_has_one_spelling_and_a_record_type(
    text: str, canonical: str, kind: RecordType
) -> None:
    address = Address.parse(text)
    assert (str(address), address.type) == (canonical, kind)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "router",
        "198.51.100",
        "198.51.100.7.8",
        "198.51.100.256",
        "198.51.100.7/32",
        "198.51.100.7:80",
        "[2001:db8::1]",
        "2001:db8::1::2",
        "2001:db8::g",
        "3325256711",
        "0xc6336407",
        "\uff1198.51.100.7",
        "010.0.0.1",
        "10.0.0.01",
        "::ffff:010.0.0.1",
        "fe80::1%eth0",
        "2001:db8::1%1",
        "198.51.100.7%eth0",
        "\ud800",
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match="Not an"):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (".".join("0000"), "unspecified"),
        ("0::0", "unspecified"),
        ("::ffff:0:0", "unspecified"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("169.254.7.8", "link-local"),
        ("::ffff:169.254.7.8", "link-local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "link-local"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("2001:db8:1:2::", "bare prefix"),
        ("::2", "a host part without a prefix"),
        ("::198.51.100.1", "a host part without a prefix"),
        ("0.1.2.3", "reserved"),
        ("2001:db8::", "bare prefix"),
    ],
)
def test_an_address_that_no_record_may_publish_is_refused(text: str, problem: str) -> None:
    with pytest.raises(BadAddress, match=f"can't be published.*{problem}"):
        Address.parse(text)


@settings(deadline=None)
@given(
    st.text()
    | st.text(alphabet="0123456789abcdefABCDEFx.:%/ \n")
    | st.ip_addresses().map(str)
    | st.ip_addresses(v=6).map(lambda ip: ip.exploded.upper())
)
def test_any_text_is_an_address_in_canonical_form_or_refused(text: str) -> None:
    try:
        address = Address.parse(text)
    except BadAddress:
        return
    assert Address.parse(str(address)) == address
    assert str(ipaddress.ip_address(str(address))) == str(address)
    assert (address.type is RecordType.A) == ("." in str(address))


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_an_ipv4_mapped_address_is_treated_as_ipv4(
    ip: ipaddress.IPv4Address,
) -> None:
    def read(text: str) -> tuple[str, str]:
        try:
            return "is", str(Address.parse(text))
        except BadAddress as error:
            return "isn't", str(error)

    assert read(f"::ffff:{ip}") == read(str(ip))


@pytest.mark.parametrize(
    "text",
    [
        *("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.178.20"),
        *("127.0.0.1", "127.8.9.10", "100.64.0.1", "100.127.255.255"),
        *("::1", "fc00::1", "fd12:3456::1", "::ffff:192.168.178.20"),
    ],
)
def test_an_address_of_a_private_network_is_local(text: str) -> None:
    assert Address.parse(text).is_local


@pytest.mark.parametrize(
    "text",
    [
        *("9.255.255.255", "11.0.0.1", "172.15.0.1", "172.32.0.1", "192.169.0.1"),
        *("100.63.255.255", "100.128.0.1", "126.0.0.1", "128.0.0.1"),
        *("192.0.2.1", "198.51.100.1", "203.0.113.1"),  # documentation
        *("2001:db8::1", "2a01:4f8::1", "fe00::1"),
    ],
)
def test_any_other_address_is_not_local(text: str) -> None:
    assert not Address.parse(text).is_local


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(("A", RecordType.A), ("a", RecordType.A), (" a ", RecordType.A)),
        *(("AAAA", RecordType.AAAA), ("aaaa", RecordType.AAAA), ("AaAa\n", RecordType.AAAA)),
    ],
)
def test_a_record_type_is_read_in_any_case(text: str, kind: RecordType) -> None:
    assert RecordType.parse(text) is kind


@pytest.mark.parametrize("text", ["", "AA", "CNAME", "TXT", "A,AAAA", "\uff21", "RecordType.A"])
def test_any_other_record_type_is_refused(text: str) -> None:
    with pytest.raises(BadRecordType):
        RecordType.parse(text)


@pytest.mark.parametrize(
    ("kind", "text"), [(RecordType.A, "2001:db8::1"), (RecordType.AAAA, "198.51.100.7")]
)
def test_a_desired_record_must_match_the_type_of_its_address(kind: RecordType, text: str) -> None:
    with pytest.raises(AddressMismatch, match=kind.value):
        DesiredRecord(kind, Address.parse(text))


@pytest.mark.parametrize("kind", RecordType)
def test_an_update_may_have_no_records(kind: RecordType) -> None:
    assert DesiredRecord(kind, None).address is None


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ([Change.CREATED], True),
        ([Change.REPLACED], True),
        ([Change.DELETED], True),
        ([Change.UNCHANGED], False),
        ([Change.CACHED], False),
        ([Change.UNCHANGED, Change.REPLACED], True),
        ([Change.UNCHANGED, Change.CACHED], False),
        ([], False),
    ],
)
def test_an_outcome_is_a_change_when_any_record_changed(
    changes: tuple[Change, ...], changed: bool
) -> None:
    records = tuple(RecordOutcome(DesiredRecord(RecordType.A, None), change) for change in changes)
    assert Outcome(host(), records).changed is changed
