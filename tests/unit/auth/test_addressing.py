from __future__ import annotations

import pytest

from backend.auth.addresses import parse, read
from backend.errors import BadAddress
from backend.model import Address, Prefix

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
        ("::1", "::1"),
    ],
)
def test_a_prefix_length_after_an_address_is_ignored(text: str, address: str) -> None:
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


@pytest.mark.parametrize(
    ("texts", "prefixes", "addresses", "prefix"),
    [
        (("198.51.100.1",), (), ("198.51.100.1",), None),
        (("x", "198.51.100.1", "fe80::1"), (), ("198.51.100.1",), None),
        (("198.51.100.1",), ("x",), ("198.51.100.1",), None),
        (("x",), ("2001:db8:1:2::/64",), (), PREFIX),
        (("198.51.100.1", "2001:db8:1:2::/64"), (), ("198.51.100.1",), PREFIX),
        (("2001:db8:9::/64",), ("2001:db8:1:2::/64",), (), PREFIX),
        ((), ("2001:db8:1:2::5/64", "2001:db8:9::/64"), (), PREFIX),
    ],
)
def test_valid_addresses_are_separated_from_invalid_ones(
    texts: tuple[str, ...],
    prefixes: tuple[str, ...],
    addresses: tuple[str, ...],
    prefix: Prefix | None,
) -> None:
    assert read(texts, prefixes) == (tuple(map(Address.parse, addresses)), prefix)


@pytest.mark.parametrize(
    ("texts", "prefixes"), [(("x", "fe80::1"), ()), ((), ("x",)), (("x",), "y")]
)
def test_invalid_texts_alone_are_an_error(
    texts: tuple[str, ...], prefixes: tuple[str, ...]
) -> None:
    with pytest.raises(BadAddress):
        read(texts, prefixes)
