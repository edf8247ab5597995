from __future__ import annotations

import ipaddress

import pytest

from backend.errors import BadAddress
from backend.model import Prefix


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("2001:db8:1:2::/64", "2001:db8:1:2::/64"),  # a Fritz!Box that sends the prefix of its LAN
        ("2001:db8:1::/56", "2001:db8:1::/56"),  # a Fritz!Box that sends the prefix delegated to it
        ("2001:db8:1:ff00::/60", "2001:db8:1:ff00::/60"),
        ("2001:db8:1:fffc::/62", "2001:db8:1:fffc::/62"),
        ("2001:db8:1::/48", "2001:db8:1::/48"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:2", "2001:db8:1:2::/64"),
        (" 2001:DB8:1:2::/64 ", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6/64", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3:4:5:6/128", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::/56", "2001:db8:1:2::/64"),  # a subnet within the /56
        ("fd00:1:2:3::/64", "fd00:1:2:3::/64"),
    ],
)
def test_a_prefix_is_read_as_routers_write_it(text: str, network: str) -> None:
    assert str(Prefix.parse(text)) == network


@pytest.mark.parametrize(
    "text",
    [
        *("", "/64", "nonsense", "198.51.100.0/24", "2001:db8:1", "2001:db8:1:2::/x"),
        *("2001:db8:1:2::/-1", "2001:db8:1:2::/129", "2001:db8:1:2::/64/64", "2001:db8::/6 4"),
        *("::", "::/0", "::/64", "::1/64", "2001:db8::/0/0", "::ffff:198.51.100.1/96"),
        *("fe80::/64", "fe80::1%eth0/64", "2001:db8::%1/64", "ff02::/64", "2001:db8:1:2::/٦٤"),
    ],
)
def test_an_invalid_prefix_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        Prefix.parse(text)


@pytest.mark.parametrize(
    ("prefix", "part", "address"),
    [
        ("2001:db8:1:2::/64", "::211:32ff:fe11:2233", "2001:db8:1:2:211:32ff:fe11:2233"),
        ("2001:db8:1:2::/64", "::5", "2001:db8:1:2::5"),
        ("2001:db8:1:2::/64", "2001:db8:7:7::5", "2001:db8:1:2::5"),
        ("2001:db8:1:2::/64", "::3:0:0:0:5", "2001:db8:1:2::5"),
        # With a shorter prefix, the host part includes the subnet number.
        ("2001:db8:1:200::/56", "::5", "2001:db8:1:200::5"),
        ("2001:db8:1:200::/56", "::3:0:0:0:5", "2001:db8:1:203::5"),
        ("2001:db8:1:200::/56", "2001:db8:7:703::5", "2001:db8:1:203::5"),
        ("2001:db8:1:f0::/60", "2001:db8:7:703::5", "2001:db8:1:f3::5"),
        ("2001:db8:1:fc::/62", "2001:db8:7:703::5", "2001:db8:1:ff::5"),
    ],
)
def test_a_host_part_is_kept_in_another_network(prefix: str, part: str, address: str) -> None:
    assert Prefix.parse(prefix).address_of(ipaddress.IPv6Address(part)) == address
