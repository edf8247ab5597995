from __future__ import annotations

from ipaddress import IPv6Address
from typing import Sequence

import pytest

from backend.auth.addresses import parse, read, requested_update
from backend.errors import BadAddress
from backend.model import Address, Hostname, OwnSettings, Parameter, Prefix, UpdateRequest

HOST = Hostname("home.example.com")
PREFIX = Prefix.parse("2001:db8:1:2::/64")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("198.51.100.1/24", "198.51.100.1"),
        ("198.51.100.1/32", "198.51.100.1"),
        ("198.51.100.0/31", "198.51.100.0"),
        ("2001:db8::5", "2001:db8::5"),
        ("2001:db8::5/64", "2001:db8::5"),
        ("2001:db8::5/128", "2001:db8::5"),
        (" 2001:DB8::5/56 ", "2001:db8::5"),
        ("::ffff:198.51.100.1/128", "198.51.100.1"),
        ("[2001:db8::28]", "2001:db8::28"),
        ("2001:db8:1:2::/647656:3cff:fe47:1", "2001:db8:1:2:7656:3cff:fe47:1"),
        ("2001:db8:1:2::/64::7656:3cff:fe47:1", "2001:db8:1:2:7656:3cff:fe47:1"),
        ("2001:db8:1:2::/64:1", "2001:db8:1:2::1"),
        ("2001:db8:1::/562:0:0:0:5", "2001:db8:1:2::5"),
    ],
)
def test_addresses_are_read_as_devices_write_them(text: str, address: str) -> None:
    assert parse(text) == Address.parse(address)


@pytest.mark.parametrize(
    "text", ["2001:db8:1:2::/64", "2001:db8:1:2::", "2001:db8:1:2::/128", "2001:db8:1:2::/56"]
)
def test_an_address_without_a_host_part_is_a_prefix(text: str) -> None:
    assert parse(text) == PREFIX


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "/24", "nonsense/24", "198.51.100.1/33", "198.51.100.1/x", "198.51.100.1/"),
        *("198.51.100.0/24", "2001:db8::5:0/112", "::", "::/0", "::/64", "fe80::/64", "fe80::1/64"),
        *("fe80::1%eth0/64", "2001:db8::%1", "0.0.0.0/0", "0.1.2.3/8", "198.051.100.001/24"),
    ],
)
def test_unpublishable_texts_are_rejected(text: str) -> None:
    with pytest.raises(BadAddress):
        parse(text)


def asked(texts: Sequence[str], prefixes: Sequence[str] = ()) -> UpdateRequest:
    return UpdateRequest(
        "dyndns2",
        "203.0.113.250",
        (),
        addresses=tuple(Parameter("myip", text) for text in texts),
        prefixes=tuple(Parameter("ip6lanprefix", text) for text in prefixes),
        is_lenient=True,
    )


@pytest.mark.parametrize(
    ("texts", "prefixes", "found"),
    [
        (("198.51.100.1",), (), ("198.51.100.1",)),
        (("x", "198.51.100.1", "fe80::1"), (), ("198.51.100.1",)),
        (("198.51.100.1",), ("x",), ("198.51.100.1",)),
        (("x",), ("2001:db8:1:2::/64",), (PREFIX,)),
        (("198.51.100.1", "2001:db8:1:2::/64"), (), ("198.51.100.1", PREFIX)),
        (("::1",), (), ("::1",)),
        (("198.51.100.1", "::7"), (), ("198.51.100.1",)),
    ],
)
def test_valid_addresses_are_separated_from_invalid_ones(
    texts: tuple[str, ...], prefixes: tuple[str, ...], found: tuple[str | Prefix, ...]
) -> None:
    valid, problems = read(asked(texts, prefixes))
    assert valid == [one if isinstance(one, Prefix) else Address.parse(one) for one in found]
    assert len(problems) == len(texts) + len(prefixes) - len(found)


def test_the_first_parameter_for_a_prefix_counts() -> None:
    for asks in (
        asked(("2001:db8:9::/64",), ("2001:db8:1:2::/64",)),
        asked((), ("2001:db8:1:2::5/64", "2001:db8:9::/64")),
    ):
        assert requested_update(asks, HOST, OwnSettings())[0].prefix == PREFIX


@pytest.mark.parametrize(
    ("texts", "prefixes"), [(("x", "fe80::1"), ()), ((), ("x",)), (("x",), "y"), (("::7",), ())]
)
def test_invalid_texts_alone_are_an_error(
    texts: tuple[str, ...], prefixes: tuple[str, ...]
) -> None:
    with pytest.raises(BadAddress):
        read(asked(texts, prefixes))


def published(texts: Sequence[str], prefixes: Sequence[str] = (), part: str = "") -> list[str]:
    interface_id = IPv6Address(part) if part else None
    own = OwnSettings(interface_id=interface_id)
    update, _ = requested_update(asked(texts, prefixes), HOST, own)
    return [str(one.address) for one in update.desired]


@pytest.mark.parametrize("part", ["::7656:3cff:fe47:1", "::1", "::0:0:0:1"])
def test_a_host_part_is_joined_with_the_prefix_beside_it(part: str) -> None:
    expected = str(IPv6Address(int(IPv6Address("2001:db8:1:2::")) | int(IPv6Address(part))))
    assert published(("198.51.100.1", part), ("2001:db8:1:2::/64",)) == ["198.51.100.1", expected]


def test_the_configured_host_part_wins() -> None:
    assert published(("::7",), ("2001:db8:1:2::/64",), "::5") == ["2001:db8:1:2::5"]


def test_a_complete_address_wins_over_a_host_part() -> None:
    assert published(("::7", "2001:db8::9"), ("2001:db8:1:2::/64",)) == ["2001:db8::9"]


@pytest.mark.parametrize(
    ("texts", "addresses", "is_told"),
    [
        (("192.168.1.2", "198.51.100.1"), ["198.51.100.1"], False),
        (("fd00::1", "2001:db8::1", "100.64.0.1"), ["100.64.0.1", "2001:db8::1"], False),
        (("10.0.0.1", "192.168.1.2"), ["10.0.0.1"], False),
        (("198.51.100.1", "198.51.100.1"), ["198.51.100.1"], False),
        (("198.51.100.1", "198.51.100.2"), ["198.51.100.1"], True),
    ],
)
def test_of_several_addresses_one_that_others_reach_is_published(
    texts: tuple[str, ...], addresses: list[str], is_told: bool
) -> None:
    update, skipped = requested_update(asked(texts), HOST, OwnSettings())
    assert [str(one.address) for one in update.desired] == addresses
    assert bool(skipped) is is_told
