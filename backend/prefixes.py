"""An IPv6 prefix, and the address that a host has in it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from backend.errors import BadAddress

_LAN = 64  # RFC 4291 §2.5.4: the prefix of a network that hosts are in
_WIDTH = 128


@dataclass(frozen=True)
class Prefix:
    """The network bits of addresses: what a provider changes, and the host can't know."""

    network: ipaddress.IPv6Network

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read a prefix as routers write it; without a length it is that of a LAN, 64 bits.

        A Fritz!Box sends its LAN as ``2001:db8:1:2::/64``, and elsewhere the whole range it was
        given, ``2001:db8:1::/56`` (cromefire/fritzbox-cloudflare-dyndns pull request 11); others
        leave out the last colons. What is set beyond 64 bits is cut off, and an address that
        names a LAN counts as one whatever length is written behind it.

        Raises:
            BadAddress: it is none, or one that no host on the internet is in.

        """
        address, _, length = text.strip().partition("/")
        if "%" in address:
            raise BadAddress("Not a prefix: leave out zone indices.")
        if address.count(":") == 3 and "::" not in address:  # noqa: PLR2004
            address += "::"
        lan = _network(address, _LAN)
        given = _network(address, _length(length)) if length else lan
        network = given if given.network_address == lan.network_address else lan
        if network.is_unspecified or not int(network.network_address):
            raise BadAddress("Not a prefix: it has no network part.")
        if network.is_link_local or network.is_multicast:
            raise BadAddress(f"{network} is no network that hosts on the internet are in.")
        return cls(network)

    def address_of(self, host_part: ipaddress.IPv6Address) -> str:
        """Return the address of a host: the network's bits, and the host's for the others.

        A prefix that is shorter than a LAN's takes the number of the LAN from the host part.
        """
        bits = int(self.network.network_address) | int(host_part) & int(self.network.hostmask)
        return str(ipaddress.IPv6Address(bits))

    def __str__(self) -> str:
        return str(self.network)


def _network(address: str, length: int) -> ipaddress.IPv6Network:
    try:
        return ipaddress.IPv6Network(f"{address}/{length}", strict=False)
    except ValueError:
        raise BadAddress("Not an IPv6 prefix: write it as in 2001:db8:1:2::/64.") from None


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= _WIDTH):  # noqa: PLR2004
        raise BadAddress("Not a prefix: its length must be from 0 to 128.")
    return min(int(text), _LAN)
